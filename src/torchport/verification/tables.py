"""Watches what a model slices and gathers: tables that a dynamic size takes rows from, and numbers that a dynamic axis is cut at.

A positional table is the one limit that no size near the traced one shows: an artifact whose table ends answers wrong past it, or fails.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import torch

from torchport.verification._mode import Mode
from torchport.verification.noted_sizes import Log, cut_here
from torchport.verification.runtimes._base import shortened
from torchport.verification.work import seconds_of

__all__ = ["Table", "TableWatch", "ends_of_tables", "fails_early", "shared_tables"]

_GATHERS = {"embedding": (0, 1), "index_select": (0, 2), "index": (0, 1)}
"""Operations that take rows by number: the places of the table and of the numbers."""

_ENDLESS = 2**62
"""An end of a slice from here on means no end."""

_NUMBERS_OF_VALUES = frozenset({"aten::_local_scalar_dense", "aten::repeat_interleave"})
"""Operations that make a number of a value, which may be how long something becomes."""

_AFTER = 48
"""A model that uses a row that is not there fails within so many operations."""


@dataclass(frozen=True)
class Table:
    """A table that limits a symbol.

    Attributes:
        rows: How many rows it has.
        symbol: The symbol that takes rows from it.
        last: About the greatest size of the symbol that the table serves.
    """

    rows: int
    symbol: str
    last: int


class _PassedError(Exception):
    """The model got past the table."""


class TableWatch(Mode):  # type: ignore[no-untyped-call]
    """Within this context slices and gathers are noted as pairs of rows there and rows taken, and how long the run would take.

    Args:
        stop_after: End the run by an exception so many operations after rows were taken from a table of so many rows.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.taken: set[tuple[int, int]] = set()
        self.runs: set[tuple[int, int]] = set()
        self.cuts: Log = defaultdict(list)
        self.counts = False
        self.seconds = 0.0
        self._rows = stop_after
        self._left: int | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one operation and notes what it took from which table."""
        results = func(*args, **(kwargs or {}))
        self.seconds += seconds_of(func, args, kwargs or {}, results)
        schema = getattr(func, "_schema", None)
        run = None if schema is None else _run_gathered(schema.name.split("::")[-1], args)
        pair = None if schema is None else _rows_sliced(schema.name.split("::")[-1], args, results)
        if run is not None:
            self.runs.add((run[0], run[2]))
            pair = (run[0], run[2]) if run[1] == 0 else pair
        if pair is not None and pair[0] > pair[1]:
            self.taken.add(pair)
        if schema is not None and schema.name in _NUMBERS_OF_VALUES:
            self.counts = True
        if schema is not None:
            for size, limit in _cuts(schema.name.split("::")[-1], args):
                site, decision = cut_here(size, limit, sys._getframe(1))
                self.cuts[site].append(decision)
        if self._rows is not None:
            if self._left is None and self._rows in {found[0] for found in (pair, run) if found is not None}:
                self._left = _AFTER
            elif self._left is not None:
                self._left -= 1
                if self._left == 0:
                    raise _PassedError
        return results


def _rows_sliced(name: str, args: tuple[Any, ...], results: Any) -> tuple[int, int] | None:
    if name in ("slice", "narrow") and isinstance(results, torch.Tensor) and results.dim():
        axis = args[1] if len(args) > 1 else 0
        return int(args[0].shape[axis]), int(results.shape[axis])
    return None


def _run_gathered(name: str, args: tuple[Any, ...]) -> tuple[int, int, int] | None:
    """The rows of a table, and the first and the end of consecutive ones that are gathered: positions, not ids of words."""
    if name not in _GATHERS or len(args) <= _GATHERS[name][1]:
        return None
    numbers = args[_GATHERS[name][1]]
    if isinstance(numbers, (list, tuple)):
        numbers = next((one for one in numbers if one is not None), None)
    if not isinstance(numbers, torch.Tensor) or numbers.dtype not in (torch.int64, torch.int32) or not 0 < numbers.numel() < 100_000:
        return None
    first, end = int(numbers.min()), int(numbers.max()) + 1
    axis = args[1] if name == "index_select" else 0
    return (int(args[0].shape[axis]), first, end) if torch.unique(numbers).numel() == end - first else None


def _cuts(name: str, args: tuple[Any, ...]) -> Iterator[tuple[int, int]]:
    """The size of an axis, and the number that it is cut at: at more than that the answer is another function of the input."""
    if name in ("split", "unsafe_split") and isinstance(args[1], int):
        yield int(args[0].shape[args[2] if len(args) > 2 else 0]), args[1]
    elif name == "slice" and len(args) > 2:
        yield from ((int(args[0].shape[args[1]]), end) for end in args[2:4] if isinstance(end, int) and 0 < end < _ENDLESS)


def ends_of_tables(seen: Mapping[tuple[tuple[str, int], ...], set[tuple[int, int]]]) -> list[Table]:
    """The tables among what was noted at several sizes: as many rows at every size, and more of them taken at greater ones.

    Args:
        seen: What `TableWatch` noted, by sizes.
    """
    rows_at: dict[int, dict[tuple[tuple[str, int], ...], set[int]]] = defaultdict(dict)
    for sizes, pairs in seen.items():
        for rows, taken in pairs:
            rows_at[rows].setdefault(sizes, set()).add(taken)
    tables = []
    for rows, by_sizes in rows_at.items():
        for symbol in dict(next(iter(seen))):
            points = sorted({(dict(sizes)[symbol], max(taken)) for sizes, taken in by_sizes.items()})
            growing = len({size for size, _ in points}) == len(points) >= 3 and all(a[1] <= b[1] for a, b in pairwise(points))
            if growing and points[0][1] < points[-1][1]:
                (low, few), (high, many) = points[0], points[-1]
                last = high + (rows - many) * (high - low) // (many - few)
                tables.append(Table(rows, symbol, max(high, last)))
                break
    return tables


def shared_tables(seen: Mapping[tuple[tuple[str, int], ...], set[tuple[int, int]]]) -> list[tuple[Table, str]]:
    """The tables whose rows two symbols share, with the second symbol; ``last`` is the greatest sum of both.

    Args:
        seen: The ends of the consecutive rows that were gathered, by sizes.

    The end must be the sum of both and a fixed number at every size: four at least, at which both vary.
    """
    ends: dict[int, dict[tuple[tuple[str, int], ...], set[int]]] = defaultdict(dict)
    for sizes, runs in seen.items():
        for rows, end in runs:
            ends[rows].setdefault(sizes, set()).add(end)
    shared = []
    for rows, by_sizes in ends.items():
        points = [(dict(sizes), found) for sizes, found in by_sizes.items()]
        for one, other in combinations(points[0][0], 2):
            both = {(sizes[one], sizes[other]) for sizes, _ in points}
            if len(both) < 4 or min(len({pair[place] for pair in both}) for place in (0, 1)) < 2:
                continue
            offsets = set.intersection(*({end - sizes[one] - sizes[other] for end in found} for sizes, found in points))
            if offsets:
                shared.append((Table(rows, one, rows - max(offsets)), other))
                break
    return shared


def fails_early(call: Any, inputs: Mapping[str, torch.Tensor], table: Table) -> str:
    """Why the model fails on ``inputs`` before or soon after it has taken rows from the table; ``""`` when it does not."""
    try:
        with torch.no_grad(), TableWatch(stop_after=table.rows):
            call({name: tensor.clone() for name, tensor in inputs.items()})
    except _PassedError:
        return ""
    except Exception as error:  # noqa: BLE001 - a model refuses sizes in its own words
        return shortened(error, 200)
    return ""
