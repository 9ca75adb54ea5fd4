"""Where an error of the user's own code came from."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Sequence
from pathlib import Path

__all__ = ["last_line"]


def last_line(error: BaseException) -> str | None:
    """The user's line that raised: the innermost one that is neither torchport's nor an installed package's nor the import machinery's."""
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    skipped = (str(Path(__file__).parent), str(importlib.__file__), "<frozen")
    for frame in reversed(frames):
        if not frame.filename.startswith(skipped) and "site-packages" not in frame.filename:
            return f"{frame.filename}:{frame.lineno}"
    return None
