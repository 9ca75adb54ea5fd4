"""Which whole numbers a model takes where nobody said so: its answers to larger and larger ones are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torchport.errors import ReferenceRunError
from torchport.ports import ElementType, Port, Signature, make_inputs
from torchport.ports.elements import IntRange
from torchport.ports.lengths import is_length_name

if TYPE_CHECKING:
    import torch

__all__ = ["Found", "whole_numbers_taken"]

_STEPS = (1 << 5, 1 << 10, 1 << 15, 1 << 20, 1 << 23, 1 << 27, 1 << 31)
"""Ends of ranges that are tried, the least first: what grows with a number is small yet when it is noticed."""

_USUAL = 1000
"""Where a model takes any number, those below this are tried, and as many negative ones."""

_GROWTH = 1.25
"""A model that does so much more work for larger numbers makes sizes of them."""

_FEW_ELEMENTS = 1000
"""… or so many elements more: a count of hits varies."""

_SLOWER, _MOMENT = 20.0, 0.3
"""… or that takes so many times its CPU seconds, and so many more: a loop in Python shows no tensors."""

_DURATIONS = 5
"""Numbers that become sizes are tried up to this, not included."""


@dataclass(frozen=True)
class Found:
    """What a made example holds in its ports of whole numbers.

    Attributes:
        example: The tensors by name.
        elements: What the ports hold, where the model has an end or takes any number: the range that was tried.
        notes: The ranges, in words.
    """

    example: Mapping[str, torch.Tensor]
    elements: Mapping[str, ElementType]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Work:
    """What a run does, as far as whole numbers may change it: what comes out, how much passes through, which sizes tables have."""

    shapes: tuple[tuple[int, ...], ...]
    finite: bool
    elements: int
    tables: frozenset[int]
    seconds: float = 0.0


def whole_numbers_taken(signature: Signature, sizes: Mapping[str, int], answer: Callable[[Mapping[str, torch.Tensor]], Any]) -> Found:
    """Widens the whole numbers of an example made from types, as far as the model answers alike.

    A number may be a token, a place in an axis, a duration, a time step. One that the model refuses from some number on has that end; one
    that makes sizes stays small; lengths and masks are what the sizes make of them, and stay as they are.

    Args:
        signature: The ports of the example.
        sizes: The sizes of the example, which the model answers.
        answer: The model's answer to such inputs; raises `ReferenceRunError` where it fails.
    """
    example = make_inputs(signature, sizes, seed=0)
    elements: dict[str, ElementType] = {}
    notes: list[str] = []
    for name in [name for name, tensor in example.items() if _is_open(name, signature.inputs[name], tensor)]:
        base = _worked(answer, example)
        if base is None:
            break
        port = _Port(signature.inputs[name], example, name, answer, base)
        low, high, ended = port.ends()
        if (low, high) == (0, 2) and not ended:
            notes.append(
                f"weak: `{name}` holds whole numbers without a range, and was tried as 0 and 1 only: declare what they are "
                "(TokenIndex(1000), LengthsType()), or give an input_example with numbers as they come"
            )
            continue
        example = port.within(low, high)
        if ended and high in sizes.values():
            continue  # it may point into that axis: at other sizes its end is another
        element = _element(signature.inputs[name], low, high, ended=ended, reach=_STEPS[-1] - 1 if high == _USUAL and not ended else None)
        if element is not None:
            elements[name] = element
        whole = high == port.most
        said = ": the model refuses greater ones" if ended else "" if whole else ", as tried; the model takes others too"
        notes.append(f"`{name}` holds whole numbers from {low} to {high - 1}{said}")
    return Found(example, elements, tuple(notes))


def _is_open(name: str, port: Port, tensor: torch.Tensor) -> bool:
    """Whether a port holds whole numbers that neither its type nor its name says more of."""
    if tensor.is_floating_point() or tensor.is_complex() or str(tensor.dtype) == "torch.bool":
        return False
    if is_length_name(name) or "mask" in name.lower() or hasattr(port.element, "sample"):
        return False
    known = port.element.type_parameters
    return port.element.values in ("plain", "index") and known.get("num_classes") is None and known.get("max") is None


def _element(port: Port, low: int, high: int, *, ended: bool, reach: int | None) -> ElementType | None:
    """What the port is said to hold; ``None`` where its type has a meaning of its own that has no such range."""
    if port.element.values == "plain":
        return IntRange(min=low, max=high - 1, reach=reach)
    if ended and "num_classes" in port.element.type_parameters:
        return type(port.element)(num_classes=high)  # type: ignore[call-arg]  # every type with this parameter takes it
    return None


@dataclass(frozen=True)
class _Port:
    """One port of whole numbers, while its range is looked for."""

    port: Port
    example: Mapping[str, torch.Tensor]
    name: str
    answer: Callable[[Mapping[str, torch.Tensor]], Any]
    base: _Work

    @property
    def most(self) -> int:
        """The number after the greatest that the dtype holds."""
        import torch

        return torch.iinfo(self.example[self.name].dtype).max + 1

    def ends(self) -> tuple[int, int, bool]:
        """The first number, the one after the last, and whether the model refuses that one."""
        import torch

        taken = 2
        most = self.most
        for step in sorted({min(step, most) for step in _STEPS}):
            alike = self._alike(0, step)
            if alike is None:
                end = self._end(taken, step)
                return 0, end, self._alike(0, end + 1) is None
            if not alike:
                durations = taken == 2 and self._worked(0, _DURATIONS) is not None
                return 0, _DURATIONS if durations else taken, False
            taken = step
        high = most if most <= _STEPS[2] else _USUAL
        negative = self.port.element.values == "plain" and torch.iinfo(self.example[self.name].dtype).min < 0
        low = -high if negative and self._alike(-high, high) else 0
        return low, high, False

    def within(self, low: int, high: int) -> dict[str, torch.Tensor]:
        """The example with numbers of this range in the port, both ends among them."""
        shape = " ".join(str(size) for size in self.example[self.name].shape)
        dtype = str(self.example[self.name].dtype).removeprefix("torch.")
        alone = Signature.of(inputs={self.name: Port(shape, dtype=dtype, element=IntRange(min=low, max=high - 1))})
        made = make_inputs(alone, {}, seed=0)[self.name]
        if made.numel():
            made.view(-1)[0] = low
            made.view(-1)[-1] = high - 1
        return {**self.example, self.name: made}

    def _worked(self, low: int, high: int) -> _Work | None:
        return _worked(self.answer, self.within(low, high))

    def _alike(self, low: int, high: int) -> bool | None:
        """Whether the model does with such numbers what it does with small ones; ``None`` where it refuses them."""
        work = self._worked(low, high)
        if work is None:
            return None
        grown = work.elements > _GROWTH * self.base.elements + _FEW_ELEMENTS or work.seconds > _SLOWER * self.base.seconds + _MOMENT
        return work.shapes == self.base.shapes and (work.finite or not self.base.finite) and not grown

    def _end(self, taken: int, refused: int) -> int:
        """The first number that the model does not take as it takes small ones: a table's size if it is one, else by bisection."""
        for size in sorted(size for size in self.base.tables if taken <= size < refused):
            beyond = self._alike(0, size + 1)
            if beyond:
                taken = size + 1
            elif beyond is None and (size == taken or self._alike(0, size)):
                return size
        while refused - taken > 1:
            middle = (taken + refused) // 2
            if self._alike(0, middle):
                taken = middle
            else:
                refused = middle
        return taken


def _worked(answer: Callable[[Mapping[str, torch.Tensor]], Any], inputs: Mapping[str, torch.Tensor]) -> _Work | None:
    """Runs the model and looks on; ``None`` where it fails."""
    from torch.utils._pytree import tree_leaves  # until torch.utils.pytree is stable

    from torchport.prepare import dispatch_mode

    elements = 0
    tables: set[int] = set()

    def see(_: Any, args: Any, kwargs: Any) -> None:
        nonlocal elements
        for tensor in _tensors(tree_leaves((args, kwargs))):
            elements += tensor.numel()
            tables.update(tensor.shape[:1])

    start = time.process_time()
    try:
        with dispatch_mode(see):
            leaves = tree_leaves(answer(inputs))
    except ReferenceRunError:
        return None
    outputs = list(_tensors(leaves))
    finite = all(bool(one.isfinite().all()) for one in outputs)
    return _Work(tuple(tuple(one.shape) for one in outputs), finite, elements, frozenset(tables), time.process_time() - start)


def _tensors(leaves: Iterable[Any]) -> Iterator[torch.Tensor]:
    import torch

    return (one for one in leaves if isinstance(one, torch.Tensor))
