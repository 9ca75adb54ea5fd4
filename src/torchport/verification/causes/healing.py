"""Confirms a suspicion: puts the size of the failing case in place of the suspected constant, and sees whether the answer becomes right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from torchport.verification._records import Array
from torchport.verification.causes.onnx_values import NodeSeen

__all__ = ["FailingCase", "Right", "Suspect", "Trial", "computed_from", "heal", "resized"]


@dataclass(frozen=True)
class FailingCase:
    """A case that the file answers wrongly: its sizes, its inputs.

    Attributes:
        sizes: Symbol to size.
        inputs: The inputs, weights that the file takes among them.
        passes: It is answered right: what is put right there has to stay so.
    """

    sizes: Mapping[str, int]
    inputs: Mapping[str, Array]
    passes: bool = False


Right = Callable[[int, Mapping[str, Array]], bool]
"""Whether outputs are right for the failing case of that number."""


@dataclass(frozen=True)
class Suspect:
    """One constant that may be a size, and what it would be at another size.

    Attributes:
        node: The node that reads it.
        place: Which input of the node it is.
        symbol: The symbol that it may stand for.
        traced: The symbol's traced size.
        value: The number in the file.
        tier: 0: the traced size itself, where sizes stand; 1: the traced size itself; 2, 3: computed from it.
        at: The element of the constant; ``None`` where an axis of the constant is as long as the traced size.
        axis: That axis.
        rule: The number, from the symbol's size.
    """

    node: NodeSeen
    place: int
    symbol: str
    traced: int
    value: int | float
    tier: int
    at: tuple[int, ...] | None
    axis: int
    rule: Callable[[int], int | float]

    def mend(self, array: Array, sizes: Mapping[str, int]) -> Array:
        """The constant as it would be at other sizes."""
        becomes = self.rule(sizes[self.symbol])
        if self.at is None:
            longer = resized(array, self.axis, int(becomes))
            return array if longer is None else longer
        mended = array.copy()
        if all(place < length for place, length in zip(self.at, array.shape, strict=True)):
            mended[self.at] = becomes
        return mended


_ENDLESS = 2**31
"""A number from here on stands for no end, whatever it is a multiple of."""


def computed_from(number: float, old: int) -> Iterator[tuple[int, Callable[[int], int | float]]]:
    """How a number may have been computed from a size, with how far-fetched that is."""
    if isinstance(number, int) and abs(number) >= _ENDLESS:
        return
    if isinstance(number, int):
        sign, size = (-1, -number) if number < 0 else (1, number)
        if size > 1 and size % old == 0:
            yield 2, lambda new: sign * (size // old * new)
        if 0 < abs(size - old) <= 2:
            yield 3, lambda new: sign * (size + new - old)
        for part in range(2, 9):
            if size > 1 and old // part == size:
                yield 3, partial(_part_down, part, sign)
            elif size > 1 and -(-old // part) == size:
                yield 3, partial(_part_up, part, sign)
    elif number > 0:
        for power in (-1.0, 0.5, -0.5):
            if np.isclose(number, old**power, rtol=1e-6):
                yield 2, partial(_power, power)


def _part_down(part: int, sign: int, new: int) -> int:
    return sign * (new // part)


def _part_up(part: int, sign: int, new: int) -> int:
    return sign * -(-new // part)


def _power(power: float, new: int) -> float:
    return float(new**power)


def resized(array: Array, axis: int, length: int) -> Array | None:
    """The constant with another length on one axis, where its contents say how it goes on."""
    old = array.shape[axis]
    first = array.take([0], axis)
    if length <= old:
        return np.ascontiguousarray(array.take(range(length), axis))
    if array.dtype.kind in "biuf" and bool((array == first).all()):
        return np.ascontiguousarray(np.repeat(first, length, axis))
    if array.dtype.kind in "iuf" and old > 2:
        step = array.take([1], axis) - first
        ramp = np.arange(length).reshape([-1 if place == axis else 1 for place in range(array.ndim)])
        grown = (first + step * ramp).astype(array.dtype)
        if np.allclose(grown.take(range(old), axis), array, rtol=1e-4, atol=1e-6):
            return np.ascontiguousarray(grown)
    return None


class Trial(ABC):
    """A file whose suspected constants can be put right, to be run on failing cases.

    Args:
        cases: Failing cases, the first one is tried most; then some that pass.
        right: Whether outputs are what the untouched model answers to a case.
        most: So many runs in all.
    """

    def __init__(self, cases: Sequence[FailingCase], right: Right, most: int) -> None:
        self._cases = cases
        self._right = right
        self._left = most

    @abstractmethod
    def answer(self, suspects: Sequence[Suspect], case: FailingCase) -> Mapping[str, Array] | None:
        """The outputs with these put right; ``None`` where the file fails."""

    def heals(self, suspects: Sequence[Suspect], place: int = 0) -> bool:
        """Whether the answer to a case is right with these put right."""
        if self._left <= 0:
            return False
        self._left -= 1
        answer = self.answer(suspects, self._cases[place])
        return answer is not None and self._right(place, answer)

    def everywhere(self, suspects: Sequence[Suspect]) -> bool:
        """Whether more than chance says that these are guilty: at other failing cases, too, where the same sizes moved."""
        moved = {one.symbol for one in suspects}
        others = [
            place
            for place, case in enumerate(self._cases)
            if place and not case.passes and any(case.sizes[symbol] != self._cases[0].sizes[symbol] for symbol in moved)
        ]
        if not self._harmless(suspects):
            return False
        healed = sum(self.heals(suspects, place) for place in others)
        if all(one.tier < 2 for one in suspects):
            return healed > 0 or not others
        return healed > 0 and healed == len(others)

    def _harmless(self, suspects: Sequence[Suspect]) -> bool:
        """Whether cases that are answered right stay so: a size that was baked in is right with the size of the case, everywhere."""
        for place, case in enumerate(self._cases):
            if case.passes and any(case.sizes[one.symbol] != one.traced for one in suspects):
                answer = self.answer(suspects, case)
                if answer is None or not self._right(place, answer):
                    return False
        return True


def heal(trial: Trial, suspects: Sequence[Suspect]) -> list[Suspect]:
    """The suspects that, put right, make the answers right: none of them can be left out.

    Args:
        trial: Runs the file with suspects put right.
        suspects: The likeliest first.

    Returns:
        The suspects that are guilty; empty where nothing heals. A number that may have been computed from a size is only guilty where
        that holds at two cases or more.
    """
    for group in ([one] for one in suspects):
        if trial.heals(group) and trial.everywhere(group):
            return group
    for group in _groups(suspects):
        if len(group) > 1 and trial.heals(group):
            for one in list(group):
                rest = [other for other in group if other is not one]
                if rest and trial.heals(rest):
                    group = rest
            if trial.everywhere(group):
                return group
    return []


def _groups(suspects: Sequence[Suspect]) -> Iterator[list[Suspect]]:
    """Suspects that may be guilty together: the likeliest tier first, of one symbol before those of several."""
    symbols = list(dict.fromkeys(one.symbol for one in suspects))
    for tier in (0, 1, 2, 3):
        chosen = [one for one in suspects if one.tier <= tier]
        for symbol in symbols:
            yield _one_reading([one for one in chosen if one.symbol == symbol])
        yield _one_reading(chosen)


def _one_reading(suspects: Sequence[Suspect]) -> list[Suspect]:
    """The likeliest reading of each element and each axis."""
    kept: dict[tuple[str, int, tuple[int, ...] | None, int], Suspect] = {}
    for one in suspects:
        kept.setdefault((one.node.outputs[0], one.place, one.at, one.axis), one)
    return list(kept.values())
