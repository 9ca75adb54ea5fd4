"""Finds the decisions on sizes that went one way at all sizes tried, and says at which sizes they would go the other way.

``if x.shape[1] < 500`` answers one way at every size near the traced one. A capture keeps that one way; only a size past 500 tells.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from torchport.verification.noted_sizes import BRANCH, CUT, LOST, SHARE, Decision, Log

__all__ = [
    "Fork",
    "Sizes",
    "forks",
    "is_out_of_reach",
    "lines_both_ways",
    "lines_losing",
    "lines_scaling",
    "lines_turned",
    "next_sizes",
    "scales_of",
    "shares_of",
]

Sizes = tuple[tuple[str, int], ...]
"""Symbol and size, for use as a key."""

_DYADIC = 2**10
"""Shares in so small parts of two are exact in single precision."""

_LIMITS = 16
"""A line that compares with more numbers than this is a loop: one decision, not many."""


@dataclass(frozen=True)
class Fork:
    """A decision that went one way at every size that was tried.

    Attributes:
        file: Where it stands.
        line: Where it stands.
        outcome: The way it went.
        points: Sizes, and the gap there.
        factors: See `Decision`.
        divisors: See `Decision`.
        key: Tells it from others.
    """

    file: str
    line: int
    outcome: bool
    points: Mapping[Sizes, float]
    factors: frozenset[int] = frozenset()
    divisors: frozenset[int] = frozenset()
    key: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    def turns(self, decisions: Log) -> bool:
        """Whether a run with these decisions went the other way here."""
        own = (found for site, found in decisions.items() if site[: len(self.key)] == self.key)
        return any(one.outcome != self.outcome for found in own for one in found)


def forks(seen: Mapping[Sizes, Log]) -> list[Fork]:
    """The decisions that went one way at all sizes, though the sizes move what they compare.

    Args:
        seen: What `ForkWatch` noted, by sizes.

    Returns:
        In the order in which they were first met. A line that decides several times in a run (a loop) is one fork, at its narrowest gap.
    """
    limits: dict[tuple[Any, ...], set[Any]] = defaultdict(set)
    met: defaultdict[tuple[Any, ...], defaultdict[Sizes, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for sizes, decisions in seen.items():
        for site in decisions:
            limits[site[:-1]].add(site[-1])
            met[site[:-1]][sizes].add(site[-1])
    by_site: defaultdict[tuple[Any, ...], defaultdict[Sizes, list[Decision]]] = defaultdict(lambda: defaultdict(list))
    for sizes, decisions in seen.items():
        for site, found in decisions.items():
            loop = len(limits[site[:-1]]) > _LIMITS
            by_site[site[:-1] if loop else site][sizes].extend(found)
    kept = []
    for site, runs in by_site.items():
        if site[2][:1] == (CUT,) and (len(site) == 3 or any(site[-1] not in cuts for cuts in met[site[:3]].values())):
            continue  # cut where sizes or lengths say: a number of the model's own is cut at in every run
        every = [one for found in runs.values() for one in found]
        outcomes = {one.outcome for one in every}
        points = {sizes: min((one.gap for one in found), key=abs) for sizes, found in runs.items()}
        factors = frozenset().union(*(one.factors for one in every))
        divisors = frozenset().union(*(one.divisors for one in every))
        if (
            site[2][:1] not in ((LOST,), (BRANCH,), (SHARE,))
            and len(outcomes) == 1
            and (len(set(points.values())) > 1 or factors or divisors)
        ):
            kept.append(Fork(site[0], site[1], outcomes.pop(), points, factors, divisors, site))
    return kept


def lines_losing(seen: Mapping[Sizes, Log]) -> list[tuple[str, int]]:
    """File and line where the model makes plain numbers of sizes (``int(x.shape[1])``): its decisions on them are not among those noted.

    A size that is the same in all runs (the width of a head) is none that an artifact could be asked for.
    """
    found: dict[tuple[str, int], set[float]] = defaultdict(set)
    for decisions in seen.values():
        for site, made in decisions.items():
            if site[2][:1] == (LOST,):
                found[site[:2]].update(one.gap for one in made)
    return [place for place, sizes in found.items() if len(sizes) > 1 or any(math.isnan(size) for size in sizes)]


def shares_of(seen: Mapping[Sizes, Log], symbol: str) -> list[tuple[float, float]]:
    """What the model makes a whole number of, as ``share * size + offset``, where the share is no whole number itself."""
    met: dict[tuple[Any, ...], dict[int, set[float]]] = defaultdict(lambda: defaultdict(set))
    for sizes, decisions in seen.items():
        size = dict(sizes).get(symbol, 0)
        for site, made in decisions.items():
            if site[2][:1] == (LOST,) and size > 0:
                met[site][size].update(one.gap for one in made if math.isfinite(one.gap))
    lines = (line for at in met.values() for line in _straight(at))
    return [line for line in dict.fromkeys(lines) if line[0] > 0 and not (line[0] * _DYADIC).is_integer()]


def _straight(at: Mapping[int, set[float]]) -> Iterator[tuple[float, float]]:
    """The straight lines through what was met at three sizes or more, as somebody wrote them."""
    sizes = sorted(at)
    if len(sizes) < 3 or any(len(found) > _LIMITS for found in at.values()):
        return
    first, last = sizes[0], sizes[-1]
    for low in sorted(at[first]):
        for high in sorted(at[last]):
            share = float(f"{(high - low) / (last - first):.12g}")
            offset = round(low - share * first, 9)
            if all(any(abs(share * size + offset - met) <= 1e-9 * max(1.0, abs(met)) for met in at[size]) for size in sizes):
                yield share, offset


def scales_of(seen: Mapping[Sizes, Log], symbol: str) -> list[tuple[float, Fraction]]:
    """The scales that torch resizes an axis by, and that axis's size as a share of the symbol's, where it is one at every size."""
    met: dict[tuple[Any, ...], set[Fraction]] = defaultdict(set)
    for sizes, decisions in seen.items():
        size = dict(sizes).get(symbol, 0)
        for site, made in decisions.items():
            if site[2] == (SHARE,) and size > 1:
                met[site].update(Fraction(round(one.gap / site[3]), size) for one in made)
    return list(dict.fromkeys((site[3], share) for site, shares in met.items() if len(shares) == 1 for share in shares))


def lines_scaling(seen: Mapping[Sizes, Log]) -> frozenset[tuple[str, int]]:
    """File and line where torch resizes an axis by a scale that is no whole number."""
    return frozenset(site[:2] for decisions in seen.values() for site in decisions if site[2] == (SHARE,))


def lines_both_ways(seen: Mapping[Sizes, Log]) -> frozenset[tuple[str, int]]:
    """File and line of the decisions that went both ways over the sizes that were tried, each use of the line by itself."""
    outcomes: dict[tuple[Any, ...], set[bool]] = defaultdict(set)
    for decisions in seen.values():
        for site, found in decisions.items():
            if site[2][:1] != (LOST,):
                outcomes[site].update(one.outcome for one in found)
    one_way = {(site[0], site[1]) for site, both in outcomes.items() if len(both) == 1}
    return frozenset((site[0], site[1]) for site in outcomes) - one_way


def lines_turned(here: Log, there: Log) -> frozenset[tuple[str, int]]:
    """File and line of the decisions that one run takes another way than the other."""

    def outcomes(decisions: Sequence[Decision]) -> set[bool]:
        return {one.outcome for one in decisions}

    return frozenset((site[0], site[1]) for site in here.keys() & there.keys() if outcomes(here[site]) != outcomes(there[site]))


def next_sizes(fork: Fork, base: Mapping[str, int], steps: Mapping[str, int]) -> Iterable[dict[str, int]]:
    """Sizes at which a fork may go the other way, the likeliest first.

    Args:
        fork: The decision.
        base: The sizes to start from; one symbol of them moves at a time.
        steps: What the size of each symbol is a multiple of.
    """
    moving = _movers(fork, base)
    for factor in sorted(fork.factors):
        symbols = list(dict.fromkeys((*moving, *sorted(base, key=lambda name: not _moves(fork, name)))))
        tried = [(symbol, near) for symbol in symbols for near in _near(fork, factor, base[symbol])]
        if not any(_moves(fork, name) for name in base):  # met once, which symbol it hangs on is open: each one's likeliest size first
            tried.sort(key=lambda one: _near(fork, factor, base[one[0]]).index(one[1]))
        yield from ({**base, symbol: near} for symbol, near in tried if near % steps[symbol] == 0)
    for divisor in sorted(fork.divisors) if not moving else ():  # whole quotients were the same at all sizes
        away = abs(min(fork.points.values(), key=abs)) + 1
        for symbol, size in base.items():
            near = int(divisor * (size // divisor + away))
            if near % steps[symbol] == 0:
                yield {**base, symbol: near}
    for symbol in moving:
        crossing = _crossing(fork, symbol, base)
        if crossing is not None:
            step = steps[symbol]
            down, up = math.floor(crossing / step) * step, math.ceil(crossing / step) * step
            above = [up + divisor * step for divisor in sorted(fork.divisors)]
            below = [down - divisor * step for divisor in sorted(fork.divisors)]
            beyond, before = (*above, up, up + step), (*below, down, down - step)
            for size in dict.fromkeys((*beyond, *before) if crossing >= base[symbol] else (*before, *beyond)):
                if size >= 1:
                    yield {**base, symbol: size}


def _near(fork: Fork, factor: int, size: int) -> list[int]:
    """Sizes near this one whose remainder by the factor is none, what it is compared with, or another; the likeliest first."""
    whole = max(1, round(size / factor)) * factor
    return list(dict.fromkeys((whole, *_equal(fork, factor, whole), whole + 1, whole + factor - 1, whole + factor // 2)))


def _equal(fork: Fork, factor: int, whole: int) -> list[int]:
    """The size whose remainder is just what it is compared with: ``n % 500 == 317``."""
    limit = fork.key[-1] if fork.key else None
    return [whole + limit, whole + limit + 1] if isinstance(limit, int) and 0 < limit < factor else []


def _movers(fork: Fork, base: Mapping[str, int]) -> list[str]:
    """The symbols that move the gap, the one that needs the least change first."""
    found = ((_crossing(fork, name, base), name) for name in base)
    return [name for _, name in sorted((_apart(where, base[name]), name) for where, name in found if where is not None)]


def _apart(size: float, other: float) -> float:
    """How far apart two sizes are, as a ratio; nothing counts as one."""
    return abs(math.log(max(1.0, size) / max(1.0, other)))


def is_out_of_reach(fork: Fork) -> bool:
    """Whether a decision cannot go the other way: the sizes only take it farther from its turn, and the smallest were tried."""
    names = [name for name, _ in next(iter(fork.points))]
    smallest = {name: min(dict(sizes)[name] for sizes in fork.points) for name in names}
    away = min(fork.points.values(), key=abs)
    if fork.factors or fork.divisors or away == 0 or smallest not in [dict(sizes) for sizes in fork.points]:
        return False
    slopes = _slopes(fork, names)
    crossings = {name: _crossing(fork, name, smallest) for name in names}
    below = all(crossing is None or crossing < smallest[name] for name, crossing in crossings.items())
    return below and all(slopes[name] * away > -1e-6 for name in names)


def _moves(fork: Fork, name: str) -> bool:
    """Whether sizes that differ in this symbol alone have different gaps."""
    gaps: dict[Sizes, set[float]] = defaultdict(set)
    for sizes, gap in fork.points.items():
        gaps[tuple(one for one in sizes if one[0] != name)].add(gap)
    return any(len(known) > 1 for known in gaps.values())


def _crossing(fork: Fork, symbol: str, base: Mapping[str, int]) -> float | None:
    """Where the gap comes to zero when only ``symbol`` moves, as a line through what is known."""
    slopes = _slopes(fork, list(base))
    slope = slopes.get(symbol, 0.0)
    if abs(slope) < 1e-6:
        return None
    near = min(fork.points, key=lambda sizes: sum(_apart(size, base[name]) for name, size in sizes if name in base))
    gap = fork.points[near] + sum(slopes[name] * (base[name] - size) for name, size in near if name in base)
    crossing = base[symbol] - gap / slope
    return crossing if crossing >= 0.5 else None


def _slopes(fork: Fork, names: Sequence[str]) -> dict[str, float]:
    """How fast the gap grows with each symbol: between sizes that differ in it alone, else by least squares."""
    import numpy as np

    rows = [[dict(sizes).get(name, 0) for name in names] for sizes in fork.points]
    gaps = list(fork.points.values())
    slopes: dict[str, float] = {}
    for place, name in enumerate(names):
        by_others: dict[tuple[int, ...], list[tuple[int, float]]] = defaultdict(list)
        for row, gap in zip(rows, gaps, strict=True):
            by_others[(*row[:place], *row[place + 1 :])].append((row[place], gap))
        spans = ((max(known)[0] - min(known)[0], max(known)[1] - min(known)[1]) for known in by_others.values())
        width, rise = max(spans)
        if width:
            slopes[name] = rise / width
    if len(slopes) < len(names):
        solved = np.linalg.lstsq(np.asarray([[*row, 1] for row in rows], float), np.asarray(gaps, float), rcond=1e-9)[0]
        slopes = {name: float(slope) for name, slope in zip(names, solved[:-1], strict=True)} | slopes
    return slopes
