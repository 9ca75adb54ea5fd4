"""Watches the untouched model answer: every operation, its values' fingerprints, and the module and source line that asked for it."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from torchport.verification._records import Array
from torchport.verification.arrays import to_array, to_tensor
from torchport.verification.causes.fingerprints import Fingerprint, fingerprint

__all__ = ["Step", "Watched", "watch"]

_TORCH = str(Path(torch.__file__).parent)
_TORCHPORT = str(Path(__file__).parents[2])
_MODELS = str(Path(__file__).parents[2] / "models")

_MOST_STEPS = 50_000
"""A model of more operations is watched no further."""

_NEW_CONTENT = frozenset(
    {"__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__iand__", "__ior__"}
)


@dataclass(frozen=True)
class Step:
    """One operation of the model.

    Attributes:
        name: The function's name.
        file: The source file of the model's author; ``""`` where there is none.
        line: The line in it.
        module: The path of the module that was running; ``""`` for the model itself.
        kind: That module's class.
        inputs: The values that it read, as indices into `Watched.values`.
        outputs: The values that it made.
    """

    name: str
    file: str
    line: int
    module: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass
class Watched:
    """What was seen.

    Attributes:
        steps: The operations, in order.
        values: A fingerprint of each value that an operation made.
        outputs: The values that are the model's outputs, by name.
        whole: Whether everything was seen.
        kept: The first result of the operation that was to be kept.
    """

    steps: list[Step] = field(default_factory=list)
    values: list[Fingerprint] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)
    whole: bool = True
    kept: Array | None = None


def watch(
    call: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]], inputs: Mapping[str, Array], *, keep: int | None = None
) -> Watched:
    """Runs the model once and keeps what each operation gave.

    Args:
        call: The model.
        inputs: Its inputs.
        keep: The number of an operation of which the result itself is kept.

    Raises:
        Exception: Whatever the model raises.
    """
    seen = Watched()
    mode = _Watch(seen, keep)
    tensors = {name: to_tensor(array) for name, array in inputs.items()}
    with torch.no_grad(), mode:
        answer = call(tensors)
    for name, tensor in answer.items():
        value = mode.value_of(tensor)
        if value is not None:
            seen.outputs[name] = value
    return seen


class _Watch(TorchFunctionMode):
    def __init__(self, seen: Watched, keep: int | None) -> None:
        super().__init__()
        self._to_keep = keep
        self._seen = seen
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._written: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._root: torch.nn.Module | None = None

    def value_of(self, tensor: torch.Tensor) -> int | None:
        reference, value = self._known.get(id(tensor), (None, -1))
        return value if reference is not None and reference() is tensor else None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if len(self._seen.steps) >= _MOST_STEPS:
            self._seen.whole = False
            return func(*args, **given)
        read = self._read(args, given)
        result = func(*args, **given)
        name = getattr(func, "__name__", "")
        made = list(_tensors(result))
        if (name in _NEW_CONTENT or (name.endswith("_") and not name.endswith("__"))) and args and isinstance(args[0], torch.Tensor):
            made = [args[0]]
            self._written[args[0].untyped_storage().data_ptr()] = len(self._seen.values)
        if not made or (name == "__get__" and not made[0].numel()):
            return result
        self._keep(getattr(func, "__qualname__", name) if name == "__get__" else name, read, made)
        return result

    def _read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
        found: dict[int, None] = {}
        for tensor in _tensors((args, kwargs)):
            value = self.value_of(tensor)
            if value is not None:
                found[value] = None
            if tensor.layout is torch.strided and (written := self._written.get(tensor.untyped_storage().data_ptr())) is not None:
                found[written] = None
        return tuple(found)

    def _keep(self, name: str, read: tuple[int, ...], made: list[torch.Tensor]) -> None:
        seen, outputs = self._seen, []
        if len(seen.steps) == self._to_keep:
            seen.kept = to_array(made[0])
        for tensor in made:
            outputs.append(len(seen.values))
            seen.values.append(fingerprint(to_array(tensor)))
            self._known[id(tensor)] = (weakref.ref(tensor), outputs[-1])
        file, line, module, kind = self._asking(sys._getframe(2))
        seen.steps.append(Step(name, file, line, module, kind, read, tuple(outputs)))

    def _asking(self, frame: FrameType | None) -> tuple[str, int, str, str]:
        """The author's innermost line, and the innermost module, of the code that is running."""
        file, line, innermost, outermost = "", 0, None, None
        while frame is not None:
            name = frame.f_code.co_filename
            if not file and _is_authors(name):
                file, line = name, frame.f_lineno
            running = frame.f_locals.get("self") if frame.f_code.co_varnames[:1] == ("self",) else _first_argument(frame)
            if isinstance(running, torch.nn.Module):
                innermost = innermost or running
                outermost = running
            frame = frame.f_back
        if outermost is not None and outermost is not self._root:
            self._root = outermost
            self._names = {id(one): path for path, one in outermost.named_modules()}
        return file, line, self._names.get(id(innermost), ""), type(innermost).__qualname__ if innermost is not None else ""


def _first_argument(frame: FrameType) -> Any:
    """What a method calls ``self``, under whatever name its author gave it."""
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _is_authors(file: str) -> bool:
    return not file.startswith("<") and not file.startswith(_TORCH) and (not file.startswith(_TORCHPORT) or file.startswith(_MODELS))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
