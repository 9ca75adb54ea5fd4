"""Which sizes prove an artifact: few cases, every axis at the sizes where exporters go wrong, in combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import gcd, prod
from typing import TYPE_CHECKING

from torchport.ports import AxisKind

if TYPE_CHECKING:
    from torchport.ports import Axis, Signature

__all__ = ["cover", "levels", "traced_sizes"]

_BUDGET = 4.0
"""The dearest case, in runs of the traced example with batch 1: dearer combinations are left out, single sizes never are."""

_LEAST = 6
"""So many cases are made where nobody asks for more."""


def traced_sizes(signature: Signature, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Reads each symbol's size off the shapes of an example.

    Args:
        signature: The resolved ports.
        shapes: The shape of each input.

    Returns:
        Symbol to size, in the order in which the symbols appear.
    """
    sizes: dict[str, int] = {}
    for port, axes in signature.dynamic_axes("inputs").items():
        for index, symbol in axes.items():
            sizes.setdefault(symbol, int(shapes[port][index]))
    return sizes


def levels(axis: Axis, traced: int) -> list[int]:
    """The sizes that one axis is tried at, ascending.

    A batch is tried at 1, 2 and 5. Any other axis is tried at its minimum, at a size below and one above the traced size that share no
    factor with it, and at three times the traced size or a little more; all within what the axis allows.

    Example:
        >>> from torchport.ports import Axis, AxisKind
        >>> levels(Axis("time", kind=AxisKind.Time), traced=12)
        [1, 5, 17, 37]
        >>> levels(Axis("batch", kind=AxisKind.Batch), traced=3)
        [1, 2, 5]
    """
    step = axis.multiple_of
    low = -(-axis.min // step)
    high = None if axis.max is None else axis.max // step
    unit = max(1, traced // step)
    if axis.kind is AxisKind.Batch:
        found = {size for size in (1, 2, 5) if low <= size and (high is None or size <= high)}
        if len(found) == 3:
            return [size * step for size in sorted(found)]
    found = {low}
    wanted = (
        _coprime(unit, (unit + 1) // 3, low + 1, unit - 1),
        _coprime(unit, unit + max(1, unit // 4), unit + 1, high),
        _coprime(unit, 3 * unit, unit + 1, high, upward=True),
        high if high is not None and high <= 3 * unit else None,
    )
    found.update(size for size in wanted if size is not None)
    if len(found - {unit}) < 3:  # a small or tightly bounded axis: whatever else it allows
        spare = [size for size in range(low, min(high or 5 * unit + 2, 5 * unit + 2) + 1) if size not in found and size != unit]
        found.update(spare[: 3 - len(found - {unit})])
    return [size * step for size in sorted(found)]


def _coprime(unit: int, start: int, low: int, high: int | None, *, upward: bool = False) -> int | None:
    """The size nearest to ``start`` within ``low`` to ``high`` that shares no factor with ``unit``."""
    for distance in range(unit + 2):
        for size in (start + distance, start if upward else start - distance):
            if low <= size and (high is None or size <= high) and size != unit and gcd(size, unit) == 1:
                return size
    return None


def cover(signature: Signature, traced: Mapping[str, int], *, least: int | None = None, most: int = 12) -> list[dict[str, int]]:
    """Chooses the cases: every size of every axis at least once, every affordable pair of sizes of two axes together.

    Args:
        signature: The resolved ports.
        traced: The sizes of the traced example, by symbol.
        least: Make at least so many cases where the axes have room for them; ``None``: six, and for batches alone no more than their three
            sizes: every further row costs a run of the model and tells nothing that one, two and five rows do not.
        most: Stop adding pairs after so many cases; single sizes are still all covered.

    Returns:
        The cases, cheapest first, without the traced one. The same arguments give the same cases.
    """
    axes = {name: axis for name, axis in signature.symbols.items() if name in traced}
    if not axes:
        return []
    choices = {name: levels(axis, traced[name]) for name, axis in axes.items()}

    def cost(case: Mapping[str, int]) -> float:
        return prod(case[name] / (1 if axes[name].kind is AxisKind.Batch else max(1, traced[name])) for name in axes)

    cheapest = {name: options[0] for name, options in choices.items()}
    limit = max([_BUDGET, *(1.05 * cost({**cheapest, name: options[-1]}) for name, options in choices.items())])
    pairs = {
        ((a, size_a), (b, size_b))
        for a, b in combinations(choices, 2)
        for size_a in choices[a]
        for size_b in choices[b]
        if cost({**cheapest, a: size_a, b: size_b}) <= limit
    }
    cases: list[dict[str, int]] = []

    def add(fixed: Mapping[str, int]) -> None:
        case = {**cheapest, **fixed}
        for name in (name for name in choices if name not in fixed):
            affordable = [size for size in choices[name] if cost({**case, name: size}) <= limit] or [cheapest[name]]
            used = [sum(other[name] == size for other in cases) for size in affordable]

            def gain(index: int, name: str = name, affordable: list[int] = affordable, used: list[int] = used) -> tuple[int, int]:
                return (len(pairs & _pairs({**case, name: affordable[index]}, choices)), -used[index])

            case[name] = affordable[max(range(len(affordable)), key=gain)]
        if case not in cases and case != dict(traced):
            cases.append(case)
        pairs.difference_update(_pairs(case, choices))

    if len(choices) > 1:
        add(cheapest)
    while pairs and len(cases) < most:
        add(dict(max(sorted(pairs), key=lambda pair: cost({**cheapest, **dict(pair)}))))
    for name, options in choices.items():
        for size in options:
            if size != traced[name] and all(case[name] != size for case in cases):
                add({name: size})
    if least is None:
        least = 0 if all(axis.kind is AxisKind.Batch for axis in axes.values()) else _LEAST
    _fill(cases, choices, axes, traced, least)
    return sorted(cases, key=cost)


def _pairs(case: Mapping[str, int], choices: Mapping[str, Sequence[int]]) -> set[tuple[tuple[str, int], tuple[str, int]]]:
    return {((a, case[a]), (b, case[b])) for a, b in combinations(choices, 2)}


def _fill(
    cases: list[dict[str, int]], choices: Mapping[str, Sequence[int]], axes: Mapping[str, Axis], traced: Mapping[str, int], least: int
) -> None:
    """Adds cases at sizes between those tried, until there are ``least``."""
    for offset in range(1, 4 * least):
        if len(cases) >= least:
            return
        case: dict[str, int] = {}
        for index, (name, axis) in enumerate(axes.items()):
            low, high = choices[name][0] // axis.multiple_of, choices[name][-1] // axis.multiple_of
            high = max(high, low + least if axis.max is None else min(low + least, axis.max // axis.multiple_of))
            case[name] = axis.multiple_of * (low + (offset * (2 * index + 1) + index) % (high - low + 1))
        if case not in cases and case != dict(traced):
            cases.append(case)
