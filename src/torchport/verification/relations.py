"""Finds how one size bounds another: ``a <= b``, ``a <= 2 b``, ``a <= b + 10``, ``2 a <= b``."""

from __future__ import annotations

from collections.abc import Callable
from math import lcm

from torchport.ports.limits import AtMost
from torchport.verification._records import Case, Refusal
from torchport.verification.asking import Asker, Settled, affordable

__all__ = ["relate", "relation_between"]

_FAR = 6
"""A size is looked for up to so many times those at hand."""


def relation_between(asker: Asker, settled: Settled, small: str, large: str) -> tuple[AtMost, Refusal] | None:
    """The line below which the model answers, through its ends at two sizes of ``large`` and checked at a third.

    Args:
        asker: Asks the model.
        settled: Knows the traced sizes.
        small: The symbol that is bounded.
        large: The symbol that bounds it.

    Returns:
        The relation, and what the model refuses just past it; ``None`` where there is no such line.
    """
    symbols, traced = settled.signature.symbols, settled.traced
    if symbols[small].multiple_of > 1 or symbols[large].multiple_of > 1:
        return _of_multiples(asker, settled, small, large)
    first = traced[large]
    second = next((one for one in (2 * first + 1, first + 2, first // 2) if symbols[large].allows(one) and abs(one - first) > 1), None)
    ends = {size: _end(asker, settled, small, large, size) for size in (first, second) if size is not None}
    points = sorted((size, found[0]) for size, found in ends.items() if found is not None)
    past = ends[first]
    if len(points) < 2 or past is None:
        return None
    line = _through(asker, settled, (small, large), *points)
    if line is None or not _holds_at(asker, settled, line, sum(size for size, _ in points) // 2):
        return None
    far = {**traced, small: line.greatest(5 * first), large: 5 * first}  # a curve is no line
    if symbols[large].allows(5 * first) and affordable(asker, settled, far) and not _holds_at(asker, settled, line, 5 * first):
        return None
    return line, past[1]


def _of_multiples(asker: Asker, settled: Settled, small: str, large: str) -> tuple[AtMost, Refusal] | None:
    """That one is no greater than the other, where they are multiples: nothing finer shows between two of them."""
    step = settled.signature.symbols[small].multiple_of
    common = lcm(step, settled.signature.symbols[large].multiple_of)
    line, past = AtMost(small, large), None
    for size in (common * (1 + settled.traced[large] // common), 2 * common * (1 + settled.traced[large] // common)):
        sizes = {**settled.traced, large: size, small: size}
        past = asker.ask(settled.signature, {**sizes, small: size + step})
        if not isinstance(asker.ask(settled.signature, sizes), Case) or not isinstance(past, Refusal):
            return None
    return (line, past) if isinstance(past, Refusal) else None


def _holds_at(asker: Asker, settled: Settled, line: AtMost, size: int) -> bool:
    """Whether the model answers up to the line beside a size of ``large``, and no farther."""
    sizes = {**settled.traced, line.large: size, line.small: line.greatest(size)}
    if not isinstance(asker.ask(settled.signature, sizes), Case):
        return False
    return isinstance(asker.ask(settled.signature, {**sizes, line.small: line.greatest(size) + 1}), Refusal)


def relate(settled: Settled, relation: AtMost, refusal: Refusal) -> None:
    """Keeps a relation, and what the model refuses just past it."""
    settled.at_most.append(relation)
    settled.refusals.append(refusal)
    said = relation.bound.replace(relation.large, f"`{relation.large}`")
    settled.notes.append(f"`{relation.small}` is never greater than {said}: the model refuses sizes that break this")


def _end(asker: Asker, settled: Settled, small: str, large: str, size: int) -> tuple[int, Refusal] | None:
    """The greatest size of ``small`` that is answered beside a size of ``large``, and the refusal above it, by bisection."""
    traced, axis = settled.traced, settled.signature.symbols[small]
    most = _FAR * (traced[small] + size) + 1
    most = most if axis.max is None else min(most, axis.max)

    def answer(one: int) -> Case | Refusal:
        return asker.ask(settled.signature, {**traced, small: one, large: size})

    start = next((one for one in (traced[small], size) if one < most and isinstance(answer(one), Case)), None)
    found = None if start is None else _turn(start, most, lambda one: isinstance(answer(one), Case))
    refusal = None if found is None else answer(found + 1)
    return (found, refusal) if found is not None and isinstance(refusal, Refusal) else None


def _turn(low: int, most: int, same: Callable[[int], bool]) -> int | None:
    """The last size from ``low`` on that is the same, by growing steps and bisection; ``None`` where all up to ``most`` are."""
    step, high = 1, low
    while same(high):
        if high == most:
            return None
        low, high, step = high, min(high + step, most), 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if same(middle) else (low, middle)
    return low


def _through(asker: Asker, settled: Settled, names: tuple[str, str], first: tuple[int, int], second: tuple[int, int]) -> AtMost | None:
    """The line of a whole slope, or of one over a whole number, through two ends ``(large, small)``."""
    run, rise = second[0] - first[0], second[1] - first[1]
    if rise > 0 and rise % run == 0:
        return AtMost(*names, rise // run, first[1] - rise // run * first[0])
    if not 0 < rise < run:
        return None
    steps = [_least_beside(asker, settled, names, first[1] + more, first[0]) for more in (1, 2)]
    if steps[0] is None or steps[1] is None or steps[1] - steps[0] < 2:
        return None
    divisor = steps[1] - steps[0]
    return AtMost(*names, 1, divisor * (first[1] + 1) - steps[0], divisor)


def _least_beside(asker: Asker, settled: Settled, names: tuple[str, str], end: int, low: int) -> int | None:
    """The least size of ``large``, above ``low``, beside which a size of ``small`` is answered."""
    small, large = names
    axis, most = settled.signature.symbols[large], _FAR * (settled.traced[small] + settled.traced[large]) + 1
    most = most if axis.max is None else min(most, axis.max)
    last = _turn(low, most, lambda size: isinstance(asker.ask(settled.signature, {**settled.traced, small: end, large: size}), Refusal))
    return None if last is None else last + 1
