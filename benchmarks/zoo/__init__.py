"""A zoo of planted export faults, each with a correct twin that differs only by being right."""

from __future__ import annotations

from zoo import grids, loops, names, numbers, rows, sizes, state, tampered, twins, values
from zoo._registry import FAULTS, Fault, Kind

__all__ = ["FAULTS", "Fault", "Kind"]

assert {one.family for one in FAULTS.values()} == {
    module.__name__.rpartition(".")[2] for module in (sizes, grids, loops, values, state, rows, numbers, names, twins, tampered)
}
