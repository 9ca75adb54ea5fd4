"""Keeps the warnings of third parties away from the user while their model runs here; what the model's own code says comes through."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["own_words_only"]

_IN_C = "(Triggered internally at "
"""How torch's C++ code ends its warnings: the line that they name is that of whoever called it."""


@contextlib.contextmanager
def own_words_only(*, verbose: bool = False) -> Iterator[None]:
    """Runs a block in which only the code of the user and of torchport warns: once for each place, under the user's own filters.

    What torch says of a call that this library makes (other sizes, another order, a fused kernel switched off) is nothing that the user
    did. Their own call of the model shows it all.

    Args:
        verbose: Let everything through.

    Example:
        >>> with own_words_only():
        ...     warnings.warn("(Triggered internally at somewhere)")
    """
    if verbose:
        yield
        return
    owner, told = threading.get_ident(), set[tuple[str, type[Warning], str, int]]()
    filters, show = list(warnings.filters), warnings.showwarning

    def hear(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
    ) -> None:
        key = (str(message), category, filename, lineno)
        if threading.get_ident() == owner and (key in told or _of_a_third_party(str(message), sys._getframe(1))):
            return
        with warnings.catch_warnings():
            warnings.filters[:] = filters  # type: ignore[index]  # a list, whatever the hints say
            warnings.showwarning = show
            warnings.warn_explicit(message, category, filename, lineno)
        told.add(key)  # where the user's filters make errors of warnings, each is one

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = hear
        yield


def _of_a_third_party(text: str, frame: FrameType | None) -> bool:
    """Whether the code that warned (not the line that the warning names) is neither the user's nor torchport's."""
    if _IN_C in text:
        return True
    while frame is not None and Path(frame.f_code.co_filename).name in ("warnings.py", "_py_warnings.py"):
        frame = frame.f_back
    file = "" if frame is None else frame.f_code.co_filename
    return file.startswith(_packages()) and not file.startswith(str(Path(__file__).parent))


def _packages() -> tuple[str, ...]:
    """Where installed packages and Python's own modules lie."""
    paths = sysconfig.get_paths()
    torch = getattr(sys.modules.get("torch"), "__file__", None)
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")} | ({str(Path(torch).parent)} if torch else set())
    return tuple(sorted(found))
