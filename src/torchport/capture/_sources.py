"""Reads the author's source line from what the exporters write beside a node: a Python stack, in one of two spellings."""

from __future__ import annotations

import re
from pathlib import Path

import torch

__all__ = ["author_line", "is_authors"]

_TORCH = str(Path(torch.__file__).parent)
_TORCHPORT = str(Path(__file__).parents[1])
_MODELS = str(Path(__file__).parents[1] / "models")

_TRACEBACK = re.compile(r'File "([^"\n]+)", line (\d+)')
"""As Python prints it, the innermost frame last: what torch.export keeps."""

_RANGE = re.compile(r"^(?:# )?(\S[^\n]*?)\((\d+)\): ", re.MULTILINE)
"""As the tracer writes it, the innermost frame first."""


def is_authors(file: str) -> bool:
    """Whether a source file is the model author's: neither torch's nor torchport's (but the built-in models are models)."""
    return not file.startswith(("<", _TORCH)) and (not file.startswith(_TORCHPORT) or file.startswith(_MODELS))


def author_line(stack: str) -> tuple[str, int] | None:
    r"""The innermost line of the model's author.

    Example:
        >>> author_line("/home/me/model.py(8): forward\n/home/me/run.py(3): <module>\n")
        ('/home/me/model.py', 8)
    """
    frames = [*reversed(_TRACEBACK.findall(stack)), *_RANGE.findall(stack)]
    return next(((file, int(line)) for file, line in frames if is_authors(file)), None)
