"""Warnings that a model gives while its writes are watched belong to the model's own line, not to the watching."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

__all__ = ["warnings_of_the_model"]

_TORCHPORT = str(Path(__file__).parents[1])
_OVERRIDES = str(Path(torch.__file__).parent / "overrides.py")
_SKIPPED = (_TORCHPORT, str(Path(torch.__file__).parent), warnings.__file__)
_LOCK = threading.Lock()
_SHOWN: list[Any] = []
"""What `warnings.showwarning` was, for each user of the relay; the first one's is what shows."""


@contextlib.contextmanager
def warnings_of_the_model() -> Iterator[None]:
    """Gives every warning that names the watching as its place to the innermost line outside of torch and torchport instead.

    A mode puts frames between the model and torch; a warning that counts frames (``stacklevel``) ends in them. Which warnings are shown,
    how often, and which are errors stays what the user's filters say: ``warnings.catch_warnings`` would have each shown again.
    """
    with _LOCK:
        if not _SHOWN:
            _SHOWN.append(warnings.showwarning)
            warnings.showwarning = _relay
        else:
            _SHOWN.append(None)
    # What was told at a line of the watching once is new at another line of a model.
    for module in ("torchport.prepare._vault", "torch.overrides"):
        vars(sys.modules[module]).get("__warningregistry__", {}).clear()
    try:
        yield
    finally:
        with _LOCK:
            if len(_SHOWN) > 1:
                _SHOWN.pop()
            else:
                shown = _SHOWN.pop()
                if warnings.showwarning is _relay:
                    warnings.showwarning = shown


def _relay(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None) -> None:
    frame = _model_frame(sys._getframe(1)) if filename.startswith(_TORCHPORT) or filename == _OVERRIDES else None
    if frame is not None:
        registry = frame.f_globals.setdefault("__warningregistry__", {})
        where = (frame.f_code.co_filename, frame.f_lineno, str(frame.f_globals.get("__name__", "")))
        warnings.warn_explicit(message, category, *where, registry=registry)
    elif _SHOWN:
        _SHOWN[0](message, category, filename, lineno, file, line)


def _model_frame(frame: FrameType | None) -> FrameType | None:
    while frame is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back
    return frame
