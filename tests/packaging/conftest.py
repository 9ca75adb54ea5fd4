"""The fixtures of packaging and checking stand in one file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bundle_fixtures import bundle, exported, original  # noqa: F401 - fixtures
