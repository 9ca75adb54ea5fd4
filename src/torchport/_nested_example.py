"""Tensors by flat names, as ``forward`` takes them: nested as the types were declared, or as the names say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torchport._naming import known_by_name, parameters_of
from torchport.ports import is_port_like
from torchport.ports.structure import nested_like

if TYPE_CHECKING:
    import torch

__all__ = ["as_called"]

_PLACES = re.compile(r"\d+(_\d+)*")


def as_called(forward: Callable[..., Any], declared: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Any:
    """An example as a caller would give it.

    Args:
        forward: What it is for.
        declared: The declared types, nested as they were declared (``{"cache": [("batch 4", "batch 4")]}``) or under flat names
            (``cache_0_0``).
        tensors: By flat name.

    Returns:
        A dict by parameter; a tuple where the names are none of ``forward``'s.
    """
    parameters = parameters_of(forward) or {}
    given = dict(tensors)
    nested = False
    for name in parameters:
        if name in tensors:
            continue
        longer = tuple(f"{other}_" for other in parameters if other.startswith(f"{name}_"))  # `x_cache_0` belongs to `x_cache`, not to `x`
        mine = (one for one in tensors if one.startswith(f"{name}_") and not one.startswith(longer) and one not in parameters)
        own = {one: tensors[one] for one in mine}
        if not own:
            continue
        given = {one: tensor for one, tensor in given.items() if one not in own}
        given[name] = nested_like(name, declared[name], own, is_port_like) if name in declared else _by_names(name, own)
        nested = True
    return given if nested or known_by_name(forward, tensors) else tuple(given.values())


def _by_names(name: str, tensors: Mapping[str, Any]) -> Any:
    """``cache_0_1`` is the second part of the first part of ``cache``; ``cache_key`` is the part under that key."""
    rest = {one.removeprefix(f"{name}_"): tensor for one, tensor in tensors.items()}
    if not all(_PLACES.fullmatch(one) for one in rest):
        return rest
    parts: dict[int, dict[str, Any]] = {}
    for one, tensor in rest.items():
        place, _, further = one.partition("_")
        parts.setdefault(int(place), {})[further] = tensor
    return tuple(
        parts[place][""] if "" in parts[place] else _by_names("", {f"_{one}": tensor for one, tensor in parts[place].items()})
        for place in sorted(parts)
    )
