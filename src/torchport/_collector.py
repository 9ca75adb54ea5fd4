"""Keeps Python's collector from walking over everything that was there before, again and again, while an export makes many objects."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["set_aside"]


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Sets aside what the collector knows by now; it comes back on exit, and what is made meanwhile is collected as ever.

    A process with torch in it holds a few hundred thousand objects, and one full collection walks over all of them: a graph of some
    thousand nodes brings about several, each a tenth of a second. Where somebody has set objects aside already, or switched the collector
    off, nothing is done: what is theirs must stay so.

    Example:
        >>> with set_aside():
        ...     gc.get_freeze_count() > 0
        True
        >>> gc.get_freeze_count()
        0
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
