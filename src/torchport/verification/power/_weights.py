"""Weights as ranges of bytes in a file: changed in place and put back, so that no mutant copies them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from torchport.verification._records import Array

__all__ = ["Weight", "changed", "element_changed", "scaled", "weight_mutations"]

_SCALES = (1e-1, 1e-2, 1e-3)
"""The factors beside 1 that tensors are scaled by, in turn."""

_PRECISION = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
_STEPS = 4.0
"""A factor moves a tensor by so many steps of its dtype, at least."""

_HEAD = 2**14
"""Tensors that agree in so many elements are taken for equal: exchanging them would change nothing."""

_PART = 2**20
"""So many elements are worked on at a time."""

Change = tuple[str, str, str, Callable[[], AbstractContextManager[None]]]
"""Kind, where, the change in words, and what makes it."""


@dataclass(frozen=True)
class Weight:
    """A tensor inside a file.

    Attributes:
        name: Its name.
        role: Its class, for the report (``"Conv weight"``).
        dtype: Its dtype; the bytes are little-endian.
        shape: Its shape.
        layout: What must be equal besides shape and dtype for two tensors to be exchanged (strides).
        file: The file.
        offset: Where its bytes begin.
    """

    name: str
    role: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    file: Path
    offset: int
    layout: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    def read(self, start: int = 0, count: int | None = None) -> Array:
        """``count`` of its elements from ``start`` on, flat, in a memory of their own; all of them unless told."""
        count = self.size - start if count is None else count
        return np.fromfile(self.file, self.dtype, count, offset=self.offset + start * self.dtype.itemsize)

    def parts(self) -> Iterator[tuple[int, Array]]:
        """Its elements, so many at a time that a large tensor is never in memory as a whole; where each part begins, and the part."""
        for start in range(0, self.size, _PART):
            yield start, self.read(start, min(_PART, self.size - start))

    def head(self) -> bytes:
        """Its first elements, to tell it from another."""
        return self.read(0, min(self.size, _HEAD)).tobytes()

    def write(self, elements: Array, start: int = 0) -> None:
        """Overwrites the elements from ``start`` on."""
        with self.file.open("r+b") as file:
            file.seek(self.offset + start * self.dtype.itemsize)
            file.write(np.ascontiguousarray(elements).view(np.uint8).data)


@contextlib.contextmanager
def changed(weight: Weight, elements: Array, start: int = 0) -> Iterator[None]:
    """Other elements, from ``start`` on, as long as the context lasts."""
    before = weight.read(start, len(elements))
    weight.write(elements, start)
    try:
        yield
    finally:
        weight.write(before, start)


@contextlib.contextmanager
def scaled(weight: Weight, factor: float) -> Iterator[None]:
    """The whole tensor times ``factor``."""
    before = weight.read()
    try:
        for start, part in weight.parts():
            weight.write((part.astype(np.float64) * factor).astype(weight.dtype), start)
        yield
    finally:
        weight.write(before)


@contextlib.contextmanager
def element_changed(weight: Weight, index: int, amount: float) -> Iterator[None]:
    """One element moved by ``amount`` times the tensor's largest magnitude (times 1 for a tensor of zeros)."""
    scale = 0.0
    for _, part in weight.parts():
        sizes = np.abs(part.astype(np.float64))
        scale = max(scale, float(sizes[np.isfinite(sizes)].max(initial=0.0)))
    element = weight.read(index, 1).astype(np.float64)
    with changed(weight, (element + amount * (scale or 1.0)).astype(weight.dtype), index):
        yield


@contextlib.contextmanager
def _exchanged(one: Weight, other: Weight) -> Iterator[None]:
    first, second = one.read(), other.read()
    with changed(one, second), changed(other, first):
        yield


def weight_mutations(weights: Sequence[Weight], choice: random.Random) -> list[Change]:
    """Every weight scaled, one element of every weight changed, neighbours of equal shape exchanged."""
    changes: list[Change] = []
    for place, weight in enumerate(weights):
        factor = 1 + max(_SCALES[place % len(_SCALES)], _STEPS * _PRECISION.get(weight.dtype.name, 0.0))
        if any(weight.head()):  # zeros stay zeros
            changes.append(("weight scaled", weight.name, f"times {factor:g}", partial(scaled, weight, factor)))
        index = choice.randrange(weight.size)
        where = f"{weight.name}[{', '.join(str(part) for part in np.unravel_index(index, weight.shape))}]"
        changes.append(("element changed", where, "plus the tensor's scale", partial(element_changed, weight, index, 1.0)))
    alike: dict[tuple[Any, ...], list[Weight]] = {}
    for weight in weights:
        alike.setdefault((weight.shape, str(weight.dtype), weight.layout), []).append(weight)
    for one, other in (pair for group in alike.values() for pair in pairwise(group)):
        if one.head() != other.head():
            text = f"{one.name}, {other.name}"
            changes.append(("weights exchanged", text, "each in the place of the other", partial(_exchanged, one, other)))
    return changes
