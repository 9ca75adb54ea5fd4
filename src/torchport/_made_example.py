"""An example made from the declared types alone, at sizes that the model answers: axes that it wants equal are made equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torchport._hooks import Hooks
from torchport._made_multiples import in_multiples
from torchport._naming import check_declared
from torchport._nested_example import as_called
from torchport._whole_numbers import whole_numbers_taken
from torchport.errors import ReferenceRunError
from torchport.ports import AxisKind, ElementType, Signature, make_inputs
from torchport.ports.lengths import lengths_by_name

if TYPE_CHECKING:
    import torch

__all__ = ["Made", "made_example", "traced_sizes"]

_ODD_SIZES = (37, 29, 41, 31, 43, 23, 47, 19, 53)
"""Sizes to trace with: odd, distinct, above one. A size of 1 hides broadcasting, an even one hides a factor."""


@dataclass(frozen=True)
class Made:
    """An example that torchport made.

    Attributes:
        example: As a caller would give it.
        elements: What was found of the whole numbers that ports hold.
        notes: The same in words.
    """

    example: Any
    elements: Mapping[str, ElementType] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def traced_sizes(symbols: Mapping[str, Any]) -> dict[str, int]:
    """Sizes to trace with: odd, distinct and above one, within each axis's ``min``, ``max`` and ``multiple_of``.

    Example:
        >>> from torchport.ports import Axis
        >>> traced_sizes({"batch": Axis("batch"), "time": Axis("time", min=4, multiple_of=4)})
        {'batch': 3, 'time': 148}
    """
    sizes: dict[str, int] = {}
    for symbol, axis in symbols.items():
        wanted = (3, 5, 7) if symbol == "batch" else _ODD_SIZES
        free = [size for size in wanted if size * axis.multiple_of not in sizes.values()] or list(wanted)
        size = free[0] * axis.multiple_of
        while size < axis.min:
            size += axis.multiple_of * 2
        if axis.max is not None and size > axis.max:
            size = axis.max - axis.max % axis.multiple_of
            taken = size in sizes.values() and size - axis.multiple_of >= max(axis.min, 2)
            size -= axis.multiple_of if taken else 0
        sizes[symbol] = size
    return sizes


def made_example(module: torch.nn.Module, hooks: Hooks, declared: Mapping[str, Any], ask: Callable[[Any], object]) -> Made:
    """An example made from the declared types; optional inputs are left out.

    Every axis has a size of its own, unless the model refuses that: two ports of one length each name their axis (``tokens_time``,
    ``mask_time``), and only the model knows that they are equal. Then axes of one kind get one size, and those that need not be equal are
    set apart again. Where the model refuses odd sizes (skip connections past pools), they become multiples of 2, 4, … 32; the real
    factor, and of which axes, is found by the reference. Whole numbers that nobody gave a range are widened as far as the model answers;
    those that are lengths by their name are lengths, where the model takes them for such.

    Args:
        module: The model, for messages.
        hooks: What is exported.
        declared: The declared inputs, flat.
        ask: Runs the model on an example; it raises where the model fails.

    Raises:
        HookError: Nothing is declared.
        PortError: An input that ``forward`` needs is not declared.
    """
    needed = {
        name: one for name, one in declared.items() if name not in hooks.disabled_inputs and getattr(one, "optional", False) is not True
    }
    check_declared(module, hooks, declared, needed)
    signature = Signature.of(inputs=needed, outputs={})
    lengths = lengths_by_name(signature)
    if lengths:
        made = _made(hooks, signature.replace_ports(inputs={name: port for name, (port, _) in lengths.items()}), ask)
        try:
            ask(made.example)
        except ReferenceRunError:
            return _made(hooks, signature, ask)
        notes = [f"`{name}` holds lengths of `{data}`, as its name says" for name, (_, data) in lengths.items()]
        return Made(made.example, {**made.elements, **{name: port.element for name, (port, _) in lengths.items()}}, (*notes, *made.notes))
    return _made(hooks, signature, ask)


def _made(hooks: Hooks, signature: Signature, ask: Callable[[Any], object]) -> Made:
    """An example of these ports, at sizes that the model answers where there are such."""

    def called_with(tensors: Mapping[str, torch.Tensor]) -> Any:
        return as_called(hooks.forward, hooks.input_types, tensors)

    def example(sizes: Mapping[str, int]) -> Made:
        found = whole_numbers_taken(signature, sizes, lambda tensors: ask(called_with(tensors)))
        return Made(called_with(found.example), found.elements, found.notes)

    def answered(sizes: Mapping[str, int]) -> bool:
        try:
            ask(called_with(make_inputs(signature, sizes, seed=0)))
        except ReferenceRunError as error:
            if isinstance(error.__cause__, Warning):  # the caller has warnings raised: that one is not about sizes
                raise
            return False
        return True

    apart = traced_sizes(signature.symbols)
    if all(axis.kind is AxisKind.Batch for axis in signature.symbols.values()) or answered(apart):
        return example(apart)
    groups = list(_groups(signature))
    for sizes in (apart, *in_multiples(signature.symbols, apart)):
        together = {**sizes, **{name: size for names, size in _common(signature, groups, sizes) for name in names}}
        found = next((one for one in ((together,) if sizes is apart else (sizes, together)) if answered(one)), None)
        if found is not None:
            return example(_set_apart(found, (apart, sizes), answered))
    return example(apart)


def _set_apart(sizes: dict[str, int], wanted: Iterable[Mapping[str, int]], answered: Callable[[Mapping[str, int]], bool]) -> dict[str, int]:
    """The sizes, each as it is first wanted and the model still answers."""
    for name in sizes:
        changed = ({**sizes, name: one[name]} for one in wanted if one[name] != sizes[name])
        sizes = next((one for one in changed if answered(one)), sizes)
    return sizes


def _groups(signature: Signature) -> Iterator[list[str]]:
    """Symbols that may be meant to be equal: more than one of a kind."""
    by_kind: defaultdict[AxisKind, list[str]] = defaultdict(list)
    for name, axis in signature.symbols.items():
        if axis.kind is not AxisKind.Batch:
            by_kind[axis.kind].append(name)
    return (names for names in by_kind.values() if len(names) > 1)


def _common(signature: Signature, groups: Iterable[list[str]], sizes: Mapping[str, int]) -> Iterator[tuple[list[str], int]]:
    """A size for each group that all of its axes take, where one of them has such a size."""
    for names in groups:
        size = next((sizes[name] for name in names if all(signature.symbols[one].allows(sizes[name]) for one in names)), None)
        if size is not None:
            yield names, size
