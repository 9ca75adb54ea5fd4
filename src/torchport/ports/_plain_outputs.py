"""Outputs that are no tensors: a graph cannot give them, so they are refused by name; ``None`` and what was left out by name are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torchport.errors import PortTypeError
from torchport.ports.structure import Constant, Leaf, Structure, leaves

__all__ = ["constants_in", "refuse_plain_values", "same_leaves"]


def constants_in(name: str, structure: Structure) -> Iterator[tuple[str, Any]]:
    """The plain values of a structure by flat name, in order; the counterpart of ``leaves``."""
    if isinstance(structure, Constant):
        yield name, structure.value
    elif not isinstance(structure, Leaf):
        keys: Sequence[Any] = structure.keys if structure.keys is not None else range(len(structure.items))
        for key, item in zip(keys, structure.items, strict=True):
            yield from constants_in(f"{name}_{key}" if name or structure.keys is None else str(key), item)


def refuse_plain_values(named: Sequence[tuple[str, Structure]]) -> None:
    """Every output is a tensor, or ``None``.

    Args:
        named: The structure of each output that a deployment wants, by output name.

    Raises:
        PortTypeError: An output is a Python number, a text or another plain value.
    """
    for output, part in named:
        for name, value in constants_in(output, part):
            if value is None:
                continue
            number = isinstance(value, (bool, int, float, complex))
            leave_out = "leave it out of forward_for_export's answer, or name it in disabled_deployment_output_names"
            raise PortTypeError(
                f"the output {name!r} is a Python {type(value).__name__}: the outputs of a graph are tensors",
                where=name,
                found=repr(value)[:120],
                expected="a torch.Tensor",
                hint=f"return torch.tensor(…) of it; or {leave_out}" if number else leave_out,
            )


def same_leaves(known: Structure, found: Structure) -> bool:
    """Whether two answers hold the same tensors.

    A number that was left out may be one in one answer and a tensor in the other: while a model is traced, its sizes are tensors.
    """
    numbers = {name for name, value in constants_in("", known) if isinstance(value, (bool, int, float))}
    return tuple(leaves(known)) == tuple(name for name in leaves(found) if name not in numbers)
