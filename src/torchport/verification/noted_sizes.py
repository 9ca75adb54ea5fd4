"""Sizes that note what they are compared with: the decisions that a model takes on sizes in its own Python code."""

from __future__ import annotations

import math
import operator
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

__all__ = ["BRANCH", "CUT", "LOST", "SHARE", "Decision", "ForkWatch", "Log", "cut_here", "is_delicate", "is_near_whole", "rounds_otherwise"]

_DEPTH = 24
"""So many calls above a decision tell two uses of one line apart."""

_SIZES = frozenset({"size", "numel", "stride", "storage_offset"})
_READ = (torch.Tensor.shape, torch.Tensor.nbytes)
"""Attributes that are sizes."""

_LOSING = frozenset({"__len__", "unbind", "__iter__", "tolist"})
"""Methods that make plain numbers, or lists, of a size."""

_STEPS = frozenset({"__round__", "__floor__", "__ceil__", "__trunc__"})
"""What makes a step function of a real number: nothing is compared, and still the answer turns at some sizes."""

_HERE = str(Path(__file__).parent)
"""Calls above this room are the same for no two runs."""

_TORCH = str(Path(torch.__file__).parent)
_PACKAGE = str(Path(__file__).parents[1])
_PORTS = str(Path(__file__).parents[1] / "ports")
_MODELS = str(Path(__file__).parents[1] / "models")

_LARGEST_FACTOR = 2**16
"""A remainder by more than this is tried at no other size: the sizes that flip it would be far apart."""

_SINGLE = 2.0**-22
"""How far apart, of each other, single and double precision are after an operation or two."""

LOST = ("lost", 0)
"""Stands in place of the calls where a size becomes a plain number: what that number is compared with is not seen."""

BRANCH = ("a branch", 0)
"""Stands before the place of a branch that may hang on a size, though it compares none: which way it went, and nothing more."""

CUT = ("a cut", 0)
"""Stands before the calls of a decision that is a cut of an axis."""

SHARE = ("a share", 0)
"""Stands in place of the calls where torch makes a size of another one by a factor that is no whole number: it rounds there."""


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


class ForkWatch(TorchFunctionMode):
    """Within this context the sizes of tensors are numbers that note what they are compared with; nothing else changes."""

    def __init__(self) -> None:
        super().__init__()
        self.decisions: Log = defaultdict(list)

    def lose(self, size: float = math.nan, frame: FrameType | None = None) -> None:
        """Notes that what is compared with a size is not seen: from this line on, or anywhere. One that is not known is never the same."""
        _lose(self.decisions, size, frame)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__getitem__":  # an end past the axis cuts nothing, and is not seen below Python
            for size, limit in _cut_axes(args[0], args[1]):
                site, decision = cut_here(size, limit, sys._getframe(1))
                self.decisions[site].append(decision)
        if name == "interpolate":
            for size, scale in _scaled_axes(*args, **(kwargs or {})):
                place = _own_line(sys._getframe(1))
                self.decisions[(place.f_code.co_filename, place.f_lineno, (SHARE,), scale)].append(
                    Decision(size * scale, is_delicate(size, scale))
                )
        if name in _LOSING:
            self.lose(len(args[0].shape) and int.__int__(args[0].shape[0]), sys._getframe(1))
        answer = func(*args, **(kwargs or {}))
        if name in _SIZES or getattr(func, "__self__", None) in _READ:
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
        if name in _STEPS and kind is float and not sys._getframe(1).f_code.co_filename.startswith(_TORCH):
            _lose(self._log, float(_plain(self)), sys._getframe(1))
        noted = [self, *(one for one in others if isinstance(one, _Noted))]
        factors, divisors = _united("_factors", noted), _united("_divisors", noted)
        taken = _taken_by(name, others)
        if name in ("__mod__", "__and__"):
            factors |= taken
        else:
            divisors |= taken
        if type(plain) is int:
            return _Size.of(plain, self._log, factors, divisors)
        if type(plain) is float:
            return _Real.of(plain, self._log, factors, divisors)
        return plain

    method.__name__ = name
    return method


def _taken_by(name: str, others: tuple[Any, ...]) -> frozenset[int]:
    """What a remainder or a whole quotient is taken by, if it is one."""
    if name not in ("__mod__", "__and__", "__floordiv__", "__rshift__") or type(others[0]) not in (int, _Size) or others[0] < 1:
        return frozenset()
    number = 2 ** min(_plain(others[0]), 64) if name == "__rshift__" else _plain(others[0])
    if name == "__and__":  # by 63 it is the remainder by 64
        number = number + 1 if number & (number + 1) == 0 else 1
    return frozenset({number}) if 1 < number <= _LARGEST_FACTOR else frozenset()


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


def _lose(log: Log, size: float, frame: FrameType | None) -> None:
    while frame is not None and frame.f_back is not None and _is_in_between(frame.f_code.co_filename):
        frame = frame.f_back
    file, line = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)
    log[(file, line, (LOST,), None)].append(Decision(size, True))


def _conversion(name: str) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        if not sys._getframe(1).f_code.co_filename.startswith(_TORCH):
            _lose(self._log, float(_plain(self)), sys._getframe(1))
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
    file, line, calls = _site(_own_line(frame))
    return (file, line, (CUT, *calls), limit), Decision(size - limit, size > limit)


def _own_line(frame: FrameType) -> FrameType:
    """The model's own line that led here."""
    while frame.f_back is not None and _is_in_between(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _is_in_between(file: str) -> bool:
    """Whether a file stands between an operation and the model's own line: torch, and this package but for its models."""
    return file.startswith(_TORCH) or (file.startswith(_PACKAGE) and not file.startswith(_MODELS))


def rounds_otherwise(size: int, share: float, offset: float = 0.0) -> bool:
    """Whether ``share * size + offset`` is rounded to another whole number in single precision, as files have it, than in double."""
    exact, narrow = share * size + offset, np.float32
    ways = (narrow(size) * narrow(share) + narrow(offset), (narrow(size) + narrow(offset / share)) * narrow(share))
    return any((math.floor(way), math.ceil(way)) != (math.floor(exact), math.ceil(exact)) for way in ways[: 2 if offset else 1])


def is_near_whole(size: int, share: float, offset: float) -> bool:
    """Whether ``share * size + offset`` is a whole number up to single precision: how it is written decides which way it is rounded."""
    exact = share * size + offset
    return abs(exact - round(exact)) <= _SINGLE * max(1.0, abs(exact))


def is_delicate(size: int, scale: float) -> bool:
    """Whether an axis of this size is resized as no other: in single precision it gets another length, or it keeps its own."""
    return rounds_otherwise(size, scale) or (size > 1 and int(size * scale) == size)


def _scaled_axes(tensor: torch.Tensor, size: Any = None, scale_factor: Any = None, *_: Any, **__: Any) -> Iterator[tuple[int, float]]:
    """The size of each axis that ``interpolate`` scales by what is no whole number, and the scale."""
    if scale_factor is None or size is not None:
        return
    scales = scale_factor if isinstance(scale_factor, (tuple, list)) else [scale_factor] * (tensor.dim() - 2)
    for axis, scale in enumerate(scales, 2):
        if axis < tensor.dim() and isinstance(scale, float) and math.isfinite(scale) and not scale.is_integer():
            yield int.__int__(tensor.shape[axis]), float.__float__(scale)


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
