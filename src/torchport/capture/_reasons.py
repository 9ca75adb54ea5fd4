"""Shortens torch's long error texts to the sentence that says why, with the line of the model."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import torch

__all__ = ["reason_of"]

_TORCH = str(Path(torch.__file__).parent)
_TORCHPORT = str(Path(__file__).parents[1])
_MAX = 400
_CUTS = (
    "The error above occurred when calling",
    "For more information, run with TORCH_LOGS",
    "For debugging consider passing",
    "Please see the documentation",
    "If you believe this is",
    "\n\nUser code:",
    "User Stack",
    "Caused by:",
    "⬆️",
)
_SCRIPT_LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def _model_line(error: BaseException) -> str | None:
    """The innermost line of the model in the traceback, or in the error's own text."""
    text = str(error)
    for match in _SCRIPT_LINE.finditer(text):
        if not match["file"].startswith((_TORCH, _TORCHPORT)):
            return f"{Path(match['file']).name}:{match['line']}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((_TORCH, _TORCHPORT, "<")) and "site-packages" not in frame.filename:
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return None


def reason_of(error: BaseException) -> str:
    r"""One short paragraph: the error's type, its first sentences, torch's suggested fix, the model's line.

    Example:
        >>> reason_of(RuntimeError("no such operator\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"))
        'RuntimeError: no such operator'
    """
    text = str(error)
    fixes = re.search(r"Suggested fixes:\s*((?:\n?  .+)+)", text)
    for cut in _CUTS:
        text = text.split(cut, 1)[0]
    text = text.split("Suggested fixes:", 1)[0]
    lines = [line.strip() for line in text.strip().splitlines()]
    kept: list[str] = []
    for line in lines:
        if line and not set(line) <= set("~^ -<>.HE") and not line.startswith(("File ", "at ", "#")):
            kept.append(line)
    short = " ".join(kept)
    if len(short) > _MAX:
        short = short[: _MAX - 1].rsplit(" ", 1)[0] + " …"
    parts = [f"{type(error).__name__}: {short}" if short else type(error).__name__]
    if fixes:
        parts.append("torch suggests " + "; ".join(line.strip() for line in fixes[1].strip().splitlines()))
    line_text = _model_line(error)
    if line_text:
        parts.append(f"at {line_text}")
    return ", ".join(parts)
