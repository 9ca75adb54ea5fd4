"""Nested inputs and outputs: what is a tensor, what is a constant, and the flat name of each tensor.

A tuple or list ``cache`` gives ``cache_0``, ``cache_1``; a dict ``cache`` gives ``cache_key``. ``None``, numbers, strings and other plain
values are constants: they stay where they are and become part of the captured program.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torchport.errors import PortTypeError, PortValueError

__all__ = ["Constant", "Group", "Leaf", "Structure", "flat_declarations", "flatten", "leaves", "nested_like", "rebuild", "renamed"]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A tensor, by its flat name."""

    name: str


@dataclasses.dataclass(frozen=True)
class Constant:
    """A plain value that the captured program keeps."""

    value: Any


@dataclasses.dataclass(frozen=True)
class Group:
    """A sequence or mapping of structures; ``keys`` is ``None`` for a sequence."""

    kind: type
    items: tuple[Structure, ...]
    keys: tuple[Any, ...] | None = None


Structure = Leaf | Constant | Group

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, enum.Enum, slice, range)


def flatten(name: str, value: Any, *, tensors: dict[str, Any] | None = None) -> tuple[Structure, dict[str, Any]]:
    """Takes ``value`` apart.

    Args:
        name: The name of the whole: a parameter of ``forward``, or an output.
        value: A tensor, a plain value, or tuples, lists, dicts, named tuples and dataclasses of them.
        tensors: Flat names already taken; the tensors found are added to it.

    Returns:
        The structure, and the tensors by flat name.

    Raises:
        PortTypeError: A value that is neither a tensor nor plain (a NumPy array, a generator).
        PortValueError: Two tensors come to the same flat name.
    """
    found: dict[str, Any] = {} if tensors is None else tensors
    return _flatten(name, value, found), found


def _flatten(name: str, value: Any, found: dict[str, Any]) -> Structure:
    import torch

    if isinstance(value, torch.Tensor):
        if name in found:
            raise PortValueError(
                "two tensors have the same flat name", where=name, hint="rename the parameter, or give the nested input another key"
            )
        found[name] = value
        return Leaf(name)
    if isinstance(value, (*_PLAIN, torch.dtype, torch.device, torch.SymInt, torch.SymFloat, torch.SymBool)):
        return Constant(value)
    if isinstance(value, Mapping):
        keys = tuple(value)
        return Group(type(value), tuple(_flatten(f"{name}_{key}" if name else str(key), value[key], found) for key in keys), keys)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        names = tuple(value._fields)
        items = tuple(_flatten(f"{name}_{field}" if name else field, part, found) for field, part in zip(names, value, strict=True))
        return Group(type(value), items, names)
    if isinstance(value, (list, tuple)):
        return Group(type(value), tuple(_flatten(f"{name}_{index}", part, found) for index, part in enumerate(value)))
    if dataclasses.is_dataclass(value):
        names = tuple(field.name for field in dataclasses.fields(value))
        items = tuple(_flatten(f"{name}_{field}" if name else field, getattr(value, field), found) for field in names)
        return Group(type(value), items, names)
    raise PortTypeError(
        "a value can neither be a tensor of the graph nor a constant in it",
        where=name,
        found=f"{type(value).__module__}.{type(value).__qualname__}",
        expected="a torch.Tensor, a plain Python value, or a tuple, list or dict of them",
        hint="convert NumPy arrays with torch.from_numpy",
    )


def rebuild(structure: Structure, tensors: Mapping[str, Any]) -> Any:
    """Puts the value together again with other tensors: the inverse of `flatten`."""
    if isinstance(structure, Leaf):
        return tensors[structure.name]
    if isinstance(structure, Constant):
        return structure.value
    items = [rebuild(item, tensors) for item in structure.items]
    if structure.keys is None:
        return structure.kind(items)
    if hasattr(structure.kind, "_fields"):
        return structure.kind(*items)
    pairs = dict(zip(structure.keys, items, strict=True))
    if dataclasses.is_dataclass(structure.kind):
        return structure.kind(**pairs)
    return pairs if structure.kind is dict else structure.kind(pairs)


def renamed(structure: Structure, names: Mapping[str, str]) -> Structure:
    """The same structure with other names for its tensors; names that are not listed stay."""
    if isinstance(structure, Leaf):
        return Leaf(names.get(structure.name, structure.name))
    if isinstance(structure, Group):
        return Group(structure.kind, tuple(renamed(item, names) for item in structure.items), structure.keys)
    return structure


def leaves(structure: Structure) -> Iterator[str]:
    """The flat names of the tensors, in order."""
    if isinstance(structure, Leaf):
        yield structure.name
    elif isinstance(structure, Group):
        for item in structure.items:
            yield from leaves(item)


def flat_declarations(declared: Mapping[str, Any], is_leaf: Callable[[Any], bool]) -> dict[str, Any]:
    """Flattens what was declared under parameter names with the same nesting as the values.

    Example:
        >>> flat_declarations({"x": "batch", "cache": ("batch 4", "batch 5")}, lambda one: isinstance(one, str))
        {'x': 'batch', 'cache_0': 'batch 4', 'cache_1': 'batch 5'}
    """
    flat: dict[str, Any] = {}

    def visit(name: str, value: Any) -> None:
        if is_leaf(value):
            flat[name] = value
        elif isinstance(value, Mapping):
            for key, part in value.items():
                visit(f"{name}_{key}", part)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for index, part in enumerate(value):
                visit(f"{name}_{index}", part)
        else:
            flat[name] = value

    for name, value in declared.items():
        visit(name, value)
    return flat


def nested_like(name: str, declared: Any, tensors: Mapping[str, Any], is_leaf: Callable[[Any], bool]) -> Any:
    """Tensors by flat name, nested as their types were declared: the inverse of `flat_declarations`; ``None`` where there is none.

    Example:
        >>> nested_like("cache", ["batch 4", {"key": "batch"}], {"cache_0": 1, "cache_1_key": 2}, lambda one: isinstance(one, str))
        [1, {'key': 2}]
    """
    if is_leaf(declared):
        return tensors.get(name)
    if isinstance(declared, Mapping):
        return {key: nested_like(f"{name}_{key}", part, tensors, is_leaf) for key, part in declared.items()}
    if isinstance(declared, Sequence) and not isinstance(declared, str):
        parts = [nested_like(f"{name}_{index}", part, tensors, is_leaf) for index, part in enumerate(declared)]
        return parts if isinstance(declared, list) else tuple(parts)
    return tensors.get(name)
