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

_OWN = ("/_evidence.py", "/_quiet.py", "/_packed.py", "/_pools.py")
"""Files of this folder that calls of the model pass through."""

_MESSENGERS = ("/warnings.py", "/contextlib.py", *_OWN, "/torch/_tensor.py", "/torch/overrides.py")
"""Files that stand between a conversion and the one who asked for it."""

_CONVERSIONS = frozenset({"__bool__", "__int__", "__float__", "__index__", "__complex__", "__array__", "item", "tolist", "numpy"})
"""Methods that make a Python number or a NumPy array of a tensor."""

_WATCHED = _CONVERSIONS | {"__len__", "__iter__"}
"""The tracer warns within these; the tensor in question is their first argument."""

_VERDICTS = {**dict.fromkeys(("equal", "allclose", "is_nonzero"), "a Python boolean"), "__dlpack__": "its numbers to another library"}
"""Functions that answer without a warning of the tracer, and what they give."""

_COUNTS = frozenset(
    f"aten::{name}"
    for name in ("nonzero", "nonzero_numpy", "masked_select", "argwhere", "unique_dim", "_unique", "_unique2", "unique_consecutive")
)
"""Operators whose answer is as large as values say."""

_FILLED = frozenset(
    f"aten::{name}{end}" for name in ("index_put", "masked_fill", "masked_scatter", "scatter", "index_add") for end in ("", "_")
)
"""Operators whose answer is as large as their first input, whatever else goes in."""

_RNN_CHECKS = frozenset({"check_input", "check_hidden_size", "check_forward_args", "get_expected_hidden_size"})
"""Methods of torch's recurrent layers that read the batch of a packed sequence as a number, to compare shapes."""

_SIZE_READS = frozenset({"aten::size", "aten::sym_size", "aten::dim", "aten::numel", "aten::sym_numel", "aten::len", "prim::shape"})
_SHAPE_ONLY = frozenset({f"aten::{name}" for name in ("zeros_like", "ones_like", "empty_like", "new_zeros", "new_ones", "new_empty")})


class Origin(enum.Enum):
    """What a traced tensor was computed from."""

    CONSTANT = "constants and weights"
    SIZE = "sizes of the inputs"
    COUNT = "how many values of the inputs meet a condition"
    VALUE = "values of the inputs"


def _value_of(tensor: torch.Tensor) -> Any:
    """The value that stands for ``tensor`` in the trace that is being recorded.

    No public API reads a trace while it is recorded. Needed as long as torch.jit.trace and torch.onnx.export(dynamo=False) exist.

    Raises:
        RuntimeError: Nothing is being traced, or the trace does not know the tensor.
    """
    return torch._C._get_value_trace(tensor)  # type: ignore[attr-defined]  # private, so not in the hints


def origin_of(tensor: torch.Tensor, inputs: int, plain: set[int] | None = None) -> Origin:
    """What ``tensor`` was computed from, in the trace that is being recorded.

    Args:
        tensor: A tensor of the trace.
        inputs: The number of the model's inputs; what the trace takes beside them are weights.
        plain: Values of this trace that are known not to be as large as values say; it grows.
    """
    plain = set() if plain is None else plain
    pending, seen, found = [_value_of(tensor)], set(), Origin.CONSTANT
    while pending:
        value = pending.pop()
        if value.unique() in seen:
            continue
        seen.add(value.unique())
        node = value.node()
        kind = node.kind()
        if kind in _SIZE_READS or kind in _SHAPE_ONLY:
            if found is not Origin.COUNT:
                found = Origin.COUNT if _as_large_as_values_say(next(iter(node.inputs())), plain) else Origin.SIZE
        elif kind == "prim::Param":
            tensors = [one.unique() for one in node.outputs() if one.type().kind() != "ClassType"]
            if value.unique() in tensors[:inputs]:
                return Origin.VALUE
        else:
            pending.extend(node.inputs())
    return found


def _as_large_as_values_say(start: Any, plain: set[int]) -> bool:
    """Whether a traced tensor may be as large as values say; what was walked in vain goes into ``plain``."""
    pending, seen = [start], set(plain)
    while pending:
        value = pending.pop()
        if value.unique() in seen:
            continue
        seen.add(value.unique())
        node = value.node()
        kind = node.kind()
        if kind in _COUNTS:
            return True
        if kind == "prim::ListConstruct" and any(str(one.type().dtype()) == "torch.bool" for one in _tensors(node)):
            return True  # an index by a mask; lists of truth values have no other use
        pending.extend(_tensors(node)[:1] if kind in _FILLED else [*_tensors(node), *_lists(node)])
    plain |= seen
    return False


def _tensors(node: Any) -> list[Any]:
    return [one for one in node.inputs() if one.type().kind() == "TensorType"]


def _lists(node: Any) -> list[Any]:
    return [one for one in node.inputs() if one.node().kind() == "prim::ListConstruct"]


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


def _asking_in_torch(frame: FrameType | None) -> FrameType | None:
    """The frame of torch's own Python code that made the conversion, if any did: its modules check sizes while they are traced."""
    while frame is not None and frame.f_code.co_filename.endswith(_MESSENGERS):
        frame = frame.f_back
    return frame if frame is not None and frame.f_code.co_filename.startswith(_TORCH) else None


def _only_checks(asking: FrameType | None) -> bool:
    """Whether torch's own code converts a tensor for nothing but a check of what it was given."""
    return asking is not None and asking.f_code.co_filename.endswith("/torch/nn/modules/rnn.py") and asking.f_code.co_name in _RNN_CHECKS


def _scalars(frame: FrameType) -> list[torch.Tensor]:
    """The tensors of one element among a frame's variables, those in tuples and lists (shapes) too."""
    found: list[torch.Tensor] = []
    for value in frame.f_locals.values():
        parts = value if isinstance(value, (tuple, list)) else (value,)
        found.extend(part for part in parts if isinstance(part, torch.Tensor) and part.dim() == 0)
    return found


def _author_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the model's author; ``None`` where torch itself asked."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_CAPTURE) and not file.endswith(_OWN):
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
        self._plain: set[int] = set()
        self._latest = -1
        self._found: dict[tuple[str | None, int | None, str], Evidence] = {}

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """What was found, in the order of the trace."""
        return tuple(self._found.values())

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", None)
        if name in _VERDICTS:
            self._judge(str(name), (*args, *(kwargs or {}).values()))
        if name not in _WATCHED or not args or not isinstance(args[0], torch.Tensor):
            return func(*args, **(kwargs or {}))
        self._converting.append(args[0])
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._converting.pop()

    def _judge(self, name: str, args: tuple[Any, ...]) -> None:
        """Takes a call whose answer leaves the trace, and depends on the values of whole tensors."""
        frame = _author_frame(sys._getframe(2))
        if frame is None or Origin.VALUE not in [self._known_origin(one) for one in args if isinstance(one, torch.Tensor)]:
            return
        file, line = frame.f_code.co_filename, frame.f_lineno
        text = f"`{name}` gives {_VERDICTS[name]}, which depends on {Origin.VALUE.value}: `{linecache.getline(file, line).strip()}`"
        self._found.setdefault((file, line, text), Evidence(text, file, line, not is_only_a_check(file, line)))

    def _known_origin(self, tensor: torch.Tensor) -> Origin:
        try:
            return self._origin_of(tensor)
        except (RuntimeError, AttributeError):
            return Origin.CONSTANT  # not part of the trace

    def hear(self, message: Warning, category: type[Warning], filename: str, lineno: int) -> None:
        """Takes one warning, at the moment when it is given."""
        if not issubclass(category, TracerWarning):
            return
        frame = _author_frame(sys._getframe(1))
        asking = _asking_in_torch(sys._getframe(1))
        by_torch = asking is not None
        file, line = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else (filename, lineno)
        text = str(message).split(" might cause the trace", 1)[0].split("\n", 1)[0]
        decisive = False
        if text.startswith("Converting a tensor to a"):
            origin = self._origin(asking)
            if origin is Origin.CONSTANT or (origin in (Origin.SIZE, Origin.COUNT) and by_torch) or _only_checks(asking):
                return
            if asking is not None and is_only_a_check(asking.f_code.co_filename, asking.f_lineno):
                return  # torch refuses bad input: nothing of the answer hangs on it
            decisive = origin in (Origin.COUNT, Origin.VALUE) and not is_only_a_check(file, line)
            what = text.removeprefix("Converting a tensor to ")
            text = f"a tensor becomes {what}, which depends on {origin.value}"
        elif text.startswith(("Using len", "Iterating over")):
            if by_torch:
                return
            decisive = self._freezes_a_count() and not is_only_a_check(file, line)
        source = linecache.getline(file, line).strip()
        if source:
            text = f"{text}: `{source}`"
        self._found.setdefault((file, line, text), Evidence(text, file, line, decisive))

    def _origin_of(self, tensor: torch.Tensor) -> Origin:
        return origin_of(tensor, self._inputs, self._known(_value_of(tensor)))

    def _known(self, value: Any) -> set[int]:
        """What is known of the trace that ``value`` belongs to: numbers that go back may mean that another trace has begun."""
        if value.unique() < self._latest:
            self._plain.clear()
        self._latest = value.unique()
        return self._plain

    def _freezes_a_count(self) -> bool:
        try:
            if not self._converting:
                return False
            value = _value_of(self._converting[-1])
            return _as_large_as_values_say(value, self._known(value))
        except (RuntimeError, AttributeError):
            return False

    def _origin(self, asking: FrameType | None = None) -> Origin:
        """What the number came from that is being converted.

        Inside ``torch.nn.functional`` (group_norm, multi_head_attention_forward) a mode does not see the conversion: torch calls the
        function's body with the mode set aside. What is converted there is then one of the numbers at hand; if sizes are all there are, it
        is a size.
        """
        try:
            if self._converting:
                return self._origin_of(self._converting[-1])
            numbers = [self._origin_of(one) for one in _scalars(asking)] if asking is not None else []
        except (RuntimeError, AttributeError):
            return Origin.VALUE
        return Origin.VALUE if not numbers or Origin.VALUE in numbers else Origin.COUNT if Origin.COUNT in numbers else Origin.SIZE
