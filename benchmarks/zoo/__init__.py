"""A zoo of planted export faults, each with a correct twin that differs only by being right."""

from __future__ import annotations

from zoo import _registry, far, grids, limits, loops, names, numbers, rows, sizes, state, tampered, twins, unseen, values
from zoo._registry import Fault, Kind

__all__ = ["FAULTS", "Fault", "Kind"]

_FAMILIES = (sizes, far, limits, unseen, grids, loops, values, state, rows, numbers, twins, names, tampered)

FAULTS: dict[str, Fault] = {
    name: one for module in _FAMILIES for name, one in _registry.FAULTS.items() if one.family == module.__name__.rpartition(".")[2]
}
"""Every fault by name, family by family."""

assert len(FAULTS) == len(_registry.FAULTS)
