"""Notes the decisions that a model takes on sizes, and says at which sizes it would decide otherwise.

``if x.shape[1] < 500`` answers one way at every size near the traced one. A capture keeps that one way; only a size past 500 tells.
"""

from __future__ import annotations

import math
import operator
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = [
    "Decision",
    "Fork",
    "ForkWatch",
    "Log",
    "Sizes",
    "cut_here",
    "forks",
    "lines_both_ways",
    "lines_turned",
    "next_sizes",
    "sizes_are_lost",
]

Sizes = tuple[tuple[str, int], ...]
"""Symbol and size, for use as a key."""

_DEPTH = 24
"""So many calls above a decision tell two uses of one line apart."""

_SIZES = frozenset({"size", "numel", "stride", "storage_offset"})
_SHAPE = torch.Tensor.shape

_LOSING = frozenset({"__len__", "unbind", "__iter__", "tolist"})
"""Methods that make plain numbers, or lists, of a size."""

_HERE = str(Path(__file__).parent)
"""Calls above this room are the same for no two runs."""

_TORCH = str(Path(torch.__file__).parent)
_PACKAGE = str(Path(__file__).parents[1])
_PORTS = str(Path(__file__).parents[1] / "ports")
_MODELS = str(Path(__file__).parents[1] / "models")

_LARGEST_FACTOR = 4096
"""A remainder by more than this is tried at no other size: the sizes that flip it would be far apart."""

_LOST: tuple[Any, ...] = ("", 0, (), None)
"""Where a size that becomes a plain number is noted: what that number is compared with is not seen."""

_CUT = ("a cut", 0)

_LIMITS = 16
"""A line that compares with more numbers than this is a loop: one decision, not many."""


@dataclass(frozen=True)
class Decision:
    """One comparison of a size in the model's own Python code.

    Attributes:
        gap: The left side less the right side; the decision flips where it changes its sign, or leaves zero.
        outcome: What it was.
        factors: What remainders were taken by, on the way to the compared numbers.
        divisors: What whole quotients were taken by.
    """

    gap: float
    outcome: bool
    factors: frozenset[int] = frozenset()
    divisors: frozenset[int] = frozenset()


Log = dict[tuple[Any, ...], list[Decision]]
"""Decisions by place: file, line, the calls that led there, the number compared with."""


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


class ForkWatch(TorchFunctionMode):
    """Within this context the sizes of tensors are numbers that note what they are compared with; nothing else changes."""

    def __init__(self) -> None:
        super().__init__()
        self.decisions: Log = defaultdict(list)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__getitem__":  # an end past the axis cuts nothing, and is not seen below Python
            for size, limit in _cut_axes(args[0], args[1]):
                site, decision = cut_here(size, limit, sys._getframe(1))
                self.decisions[site].append(decision)
        if name in _LOSING:
            self.decisions[_LOST].append(Decision(0.0, True))
        answer = func(*args, **(kwargs or {}))
        if name in _SIZES or getattr(func, "__self__", None) is _SHAPE:
            if type(answer) is int:
                return _Size.of(answer, self.decisions)
            if type(answer) is torch.Size:
                return torch.Size([_Size.of(one, self.decisions) for one in answer])
        return answer


class _Noted:
    """What a size and a number computed from sizes have in common."""

    _log: Log
    _factors: frozenset[int]
    _divisors: frozenset[int]

    def __reduce__(self) -> tuple[Any, ...]:
        plain = _plain(self)
        return type(plain), (plain,)  # a copy that outlives the run is a plain number

    def __deepcopy__(self, _: Any) -> Any:
        return _plain(self)


class _Size(_Noted, int):
    """A size that notes its comparisons."""

    @classmethod
    def of(cls, value: int, log: Log, factors: frozenset[int] = frozenset(), divisors: frozenset[int] = frozenset()) -> _Size:
        made = cls(value)
        made._log, made._factors, made._divisors = log, factors, divisors
        return made


class _Real(_Noted, float):
    """A number computed from sizes that notes its comparisons."""

    @classmethod
    def of(cls, value: float, log: Log, factors: frozenset[int] = frozenset(), divisors: frozenset[int] = frozenset()) -> _Real:
        made = cls(value)
        made._log, made._factors, made._divisors = log, factors, divisors
        return made


def _plain(value: Any) -> Any:
    if isinstance(value, _Size):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, _Real) else value


def _parent(value: Any) -> type:
    return int if isinstance(value, int) else float


def _arithmetic(name: str) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        kind = _parent(self)
        plain = getattr(kind, name)(self, *others)
        if plain is NotImplemented and others and type(others[0]) in (float, _Real):
            plain = getattr(float, name)(float(_plain(self)), float(_plain(others[0])))
        noted = [self, *(one for one in others if isinstance(one, _Noted))]
        factors, divisors = _united("_factors", noted), _united("_divisors", noted)
        if name in ("__mod__", "__floordiv__") and type(others[0]) in (int, _Size) and 1 < others[0] <= _LARGEST_FACTOR:
            taken = frozenset({_plain(others[0])})
            factors, divisors = (factors | taken, divisors) if name == "__mod__" else (factors, divisors | taken)
        if type(plain) is int:
            return _Size.of(plain, self._log, factors, divisors)
        if type(plain) is float:
            return _Real.of(plain, self._log, factors, divisors)
        return plain

    method.__name__ = name
    return method


def _united(what: str, noted: Iterable[_Noted]) -> frozenset[int]:
    return frozenset().union(*(getattr(one, what) for one in noted))


def _comparison(name: str) -> Callable[..., Any]:
    compare = getattr(operator, name)

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, (int, float)) or isinstance(other, bool):
            return getattr(_parent(self), name)(self, other)
        outcome = bool(compare(_plain(self), _plain(other)))
        _note(self, float(_plain(self)) - float(_plain(other)), outcome, other)
        return outcome

    method.__name__ = name
    return method


def _conversion(name: str) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        if not sys._getframe(1).f_code.co_filename.startswith(_TORCH):
            self._log[_LOST].append(Decision(0.0, True))
        return getattr(_parent(self), name)(self, *others)

    method.__name__ = name
    return method


def _truth(self: Any) -> bool:
    outcome = bool(_plain(self) != 0)
    _note(self, float(_plain(self)), outcome, 0)
    return outcome


def _note(size: Any, gap: float, outcome: bool, other: Any) -> None:
    frame = sys._getframe(2)
    if frame.f_code.co_filename.startswith(_PORTS):
        return  # the checks of declared ports
    noted = [size, *([other] if isinstance(other, _Noted) else [])]
    limit = None if isinstance(other, _Noted) else other
    size._log[(*_site(frame), limit)].append(Decision(gap, outcome, _united("_factors", noted), _united("_divisors", noted)))


def cut_here(size: int, limit: int, frame: FrameType) -> tuple[tuple[Any, ...], Decision]:
    """A cut of an axis at a number, as a decision at the line that asked for it: up to ``limit`` the axis stays whole.

    Args:
        size: The axis as it is.
        limit: Where it is cut.
        frame: Where to begin to look for the model's own line.
    """
    asking: FrameType = frame
    while asking.f_back is not None and _is_in_between(asking.f_code.co_filename):
        asking = asking.f_back
    file, line, calls = _site(asking)
    return (file, line, (_CUT, *calls), limit), Decision(size - limit, size > limit)


def _is_in_between(file: str) -> bool:
    """Whether a file stands between an operation and the model's own line: torch, and this package but for its models."""
    return file.startswith(_TORCH) or (file.startswith(_PACKAGE) and not file.startswith(_MODELS))


def _cut_axes(tensor: torch.Tensor, index: Any) -> list[tuple[int, int]]:
    """The size of each axis that an index cuts at a number of the model's own, and that number."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, (torch.Tensor, list)) for part in parts):
        return []
    taking = sum(part is not None and part is not Ellipsis for part in parts)
    found: list[tuple[int, int]] = []
    axis = 0
    for part in parts:
        if part is Ellipsis:
            axis += tensor.dim() - taking
        elif part is not None:
            if isinstance(part, slice) and axis < tensor.dim():
                size = int.__int__(tensor.shape[axis])
                found.extend((size, end) for end in (part.start, part.stop) if type(end) is int and end > 0)
            axis += 1
    return found


def _site(frame: FrameType) -> tuple[Any, ...]:
    """File, line, and what tells this use of the line from others: the instructions that led there."""
    calls: list[tuple[str, int]] = []
    above: FrameType | None = frame
    while above is not None and len(calls) < _DEPTH and not above.f_code.co_filename.startswith(_HERE):
        calls.append((above.f_code.co_filename, above.f_lasti))
        above = above.f_back
    return frame.f_code.co_filename, frame.f_lineno, tuple(calls)


_BINARY = ("add", "radd", "sub", "rsub", "mul", "rmul", "floordiv", "rfloordiv", "mod", "rmod", "truediv", "rtruediv", "pow", "rpow")
_UNARY = ("neg", "pos", "abs", "round", "floor", "ceil", "trunc")
for _name in (f"__{_part}__" for _part in (*_BINARY, *_UNARY)):
    for _class in (_Size, _Real):
        setattr(_class, _name, _arithmetic(_name))
for _name in ("__lshift__", "__rshift__", "__and__", "__or__", "__xor__"):
    setattr(_Size, _name, _arithmetic(_name))
for _name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
    for _class in (_Size, _Real):
        setattr(_class, _name, _comparison(_name))
for _name in ("__int__", "__float__", "__hash__", "__str__", "__format__"):
    for _class in (_Size, _Real):
        setattr(_class, _name, _conversion(_name))
for _name in ("__index__", "__invert__", "bit_length"):
    setattr(_Size, _name, _conversion(_name))
for _class in (_Size, _Real):
    setattr(_class, "__bool__", _truth)  # noqa: B010 - mypy would call an assignment a wrong override


def forks(seen: Mapping[Sizes, Log]) -> list[Fork]:
    """The decisions that went one way at all sizes, though the sizes move what they compare.

    Args:
        seen: What `ForkWatch` noted, by sizes.

    Returns:
        In the order in which they were first met. A line that decides several times in a run (a loop) is one fork, at its narrowest gap.
    """
    limits: dict[tuple[Any, ...], set[Any]] = defaultdict(set)
    for decisions in seen.values():
        for site in decisions:
            limits[site[:-1]].add(site[-1])
    by_site: defaultdict[tuple[Any, ...], defaultdict[Sizes, list[Decision]]] = defaultdict(lambda: defaultdict(list))
    for sizes, decisions in seen.items():
        for site, found in decisions.items():
            loop = len(limits[site[:-1]]) > _LIMITS
            if loop and site[2][:1] == (_CUT,):
                continue  # cut where the size says: no number of the model's own
            by_site[site[:-1] if loop else site][sizes].extend(found)
    kept = []
    for site, runs in by_site.items():
        every = [one for found in runs.values() for one in found]
        outcomes = {one.outcome for one in every}
        points = {sizes: min((one.gap for one in found), key=abs) for sizes, found in runs.items()}
        factors = frozenset().union(*(one.factors for one in every))
        divisors = frozenset().union(*(one.divisors for one in every))
        if len(outcomes) == 1 and (len(set(points.values())) > 1 or factors):
            kept.append(Fork(site[0], site[1], outcomes.pop(), points, factors, divisors, site))
    return kept


def sizes_are_lost(seen: Mapping[Sizes, Log]) -> bool:
    """Whether the model makes plain numbers of sizes (``int(x.shape[1])``): its decisions on them are not among those noted."""
    return any(_LOST in decisions for decisions in seen.values())


def lines_both_ways(seen: Mapping[Sizes, Log]) -> frozenset[tuple[str, int]]:
    """File and line of the decisions that went both ways over the sizes that were tried, each use of the line by itself."""
    outcomes: dict[tuple[Any, ...], set[bool]] = defaultdict(set)
    for decisions in seen.values():
        for site, found in decisions.items():
            outcomes[site].update(one.outcome for one in found)
    outcomes.pop(_LOST, None)
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
        for symbol in dict.fromkeys((*moving, *base)):
            whole = max(1, round(base[symbol] / factor)) * factor
            for near in (whole, whole + 1, whole + factor - 1, whole + factor // 2):
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


def _movers(fork: Fork, base: Mapping[str, int]) -> list[str]:
    """The symbols that move the gap, the one that needs the least change first."""
    found = ((_crossing(fork, name, base), name) for name in base)
    return [name for _, name in sorted((abs(math.log(max(1.0, where) / base[name])), name) for where, name in found if where is not None)]


def _crossing(fork: Fork, symbol: str, base: Mapping[str, int]) -> float | None:
    """Where the gap comes to zero when only ``symbol`` moves, as a line through what is known."""
    slopes = _slopes(fork, list(base))
    slope = slopes.get(symbol, 0.0)
    if abs(slope) < 1e-6:
        return None
    near = min(fork.points, key=lambda sizes: sum(abs(math.log(size / base[name])) for name, size in sizes if name in base))
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
