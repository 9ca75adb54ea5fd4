"""Turns the tracer's warnings into evidence: does a size decide, a constant, or a value that no example can settle?"""

from __future__ import annotations

import ast
import enum
import linecache
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.jit import TracerWarning  # type: ignore[attr-defined]  # public, but not in the hints
from torch.overrides import TorchFunctionMode

from torchport.capture._records import Evidence

__all__ = ["Origin", "Witness", "is_only_a_check", "origin_of"]

_TORCH = str(Path(torch.__file__).parent)
_TORCHPORT = str(Path(__file__).parents[1])
_CAPTURE = str(Path(__file__).parent)

_MESSENGERS = ("/warnings.py", "/contextlib.py", "/_evidence.py", "/_quiet.py", "/torch/_tensor.py", "/torch/overrides.py")
"""Files that stand between a conversion and the one who asked for it."""

_CONVERSIONS = frozenset({"__bool__", "__int__", "__float__", "__index__", "__complex__", "__array__", "item", "tolist", "numpy"})
_SIZE_READS = frozenset({"aten::size", "aten::sym_size", "aten::dim", "aten::numel", "aten::sym_numel", "aten::len", "prim::shape"})
_SHAPE_ONLY = frozenset({f"aten::{name}" for name in ("zeros_like", "ones_like", "empty_like", "new_zeros", "new_ones", "new_empty")})


class Origin(enum.Enum):
    """What a traced tensor was computed from."""

    CONSTANT = "constants and weights"
    SIZE = "sizes of the inputs"
    VALUE = "values of the inputs"


def origin_of(tensor: torch.Tensor, inputs: int) -> Origin:
    """What ``tensor`` was computed from, in the trace that is being recorded.

    Args:
        tensor: A tensor of the trace.
        inputs: The number of the model's inputs; what the trace takes beside them are weights.
    """
    # No public API reads a trace while it is recorded. Needed as long as torch.jit.trace and torch.onnx.export(dynamo=False) exist.
    start = torch._C._get_value_trace(tensor)  # type: ignore[attr-defined]
    pending, seen, found = [start], set(), Origin.CONSTANT
    while pending:
        value = pending.pop()
        if value.unique() in seen:
            continue
        seen.add(value.unique())
        node = value.node()
        kind = node.kind()
        if kind in _SIZE_READS or kind in _SHAPE_ONLY:
            found = Origin.SIZE
        elif kind == "prim::Param":
            tensors = [one.unique() for one in node.outputs() if one.type().kind() != "ClassType"]
            if value.unique() in tensors[:inputs]:
                return Origin.VALUE
        else:
            pending.extend(node.inputs())
    return found


def is_only_a_check(file: str, line: int) -> bool:
    """Whether the statement at ``line`` only refuses bad input: an ``assert``, or an ``if`` whose body only raises."""
    source = "".join(linecache.getlines(file))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and node.lineno <= line <= (node.end_lineno or node.lineno):
            return True
        if isinstance(node, ast.If) and node.test.lineno <= line <= (node.test.end_lineno or node.test.lineno):
            return not node.orelse and all(isinstance(one, ast.Raise) for one in node.body)
    return False


def _asked_by_torch(frame: FrameType | None) -> bool:
    """Whether torch's own Python code made the conversion: its modules check their inputs' sizes while they are traced."""
    while frame is not None and frame.f_code.co_filename.endswith(_MESSENGERS):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(_TORCH)


def _author_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the model's author; ``None`` where torch itself asked."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_CAPTURE) and not file.endswith(("_evidence.py", "_quiet.py")):
            return None
        if not file.startswith((_TORCH, _TORCHPORT, "<")) and not file.endswith(("/warnings.py", "/contextlib.py")):
            return frame
        frame = frame.f_back
    return None


class Witness(TorchFunctionMode):
    """Watches a trace: which tensors become Python numbers, and what the tracer says about it.

    Args:
        inputs: The number of the model's inputs.

    Example:
        >>> witness = Witness(inputs=1)
        >>> with listening(witness.hear), witness:
        ...     torch.jit.trace(model, (x,))
        >>> witness.evidence
        (Evidence(message='a tensor becomes a Python boolean, which depends on values of the inputs: `if x.sum() > 0:`', …),)
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self._inputs = inputs
        self._converting: list[torch.Tensor] = []
        self._found: dict[tuple[str | None, int | None, str], Evidence] = {}

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """What was found, in the order of the trace."""
        return tuple(self._found.values())

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", None) not in _CONVERSIONS or not args or not isinstance(args[0], torch.Tensor):
            return func(*args, **(kwargs or {}))
        self._converting.append(args[0])
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._converting.pop()

    def hear(self, message: Warning, category: type[Warning], filename: str, lineno: int) -> None:
        """Takes one warning, at the moment when it is given."""
        if not issubclass(category, TracerWarning):
            return
        frame = _author_frame(sys._getframe(1))
        by_torch = _asked_by_torch(sys._getframe(1))
        file, line = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else (filename, lineno)
        text = str(message).split(" might cause the trace", 1)[0].split("\n", 1)[0]
        decisive = False
        if text.startswith("Converting a tensor to a"):
            origin = self._origin()
            if origin is Origin.CONSTANT or (origin is Origin.SIZE and by_torch):
                return
            decisive = origin is Origin.VALUE and not is_only_a_check(file, line)
            what = text.removeprefix("Converting a tensor to ")
            text = f"a tensor becomes {what}, which depends on {origin.value}"
        elif by_torch and text.startswith(("Using len", "Iterating over")):
            return
        source = linecache.getline(file, line).strip()
        if source:
            text = f"{text}: `{source}`"
        self._found.setdefault((file, line, text), Evidence(text, file, line, decisive))

    def _origin(self) -> Origin:
        if not self._converting:
            return Origin.VALUE
        try:
            return origin_of(self._converting[-1], self._inputs)
        except (RuntimeError, AttributeError):
            return Origin.VALUE
