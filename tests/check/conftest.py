"""The bundles of the packaging tests are what is checked here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "packaging"))

from bundle_fixtures import bundle, exported, original  # noqa: F401 - fixtures
