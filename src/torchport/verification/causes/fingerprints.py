"""What is kept of a tensor in place of its values: enough to tell another tensor with the same values, a few numbers long."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from torchport.verification._records import Array

__all__ = ["Fingerprint", "Shelf", "fingerprint"]

_VIEWS = 8
"""So many random projections are kept of a tensor; their differences estimate the size of the error between two tensors."""

_SHIFT = 977
"""The projections are windows of one random sequence, so far apart."""


@dataclass(frozen=True)
class Fingerprint:
    """A tensor's shape, kind, and random projections of its values.

    Attributes:
        shape: Its shape.
        kind: ``f`` for floating point and complex, ``i`` for integers, ``b`` for booleans.
        projections: Products of the values with random signs.
        size: The Euclidean length of the values.
        telling: Whether finding the same values elsewhere is more than chance: floating point, not all one value.
    """

    shape: tuple[int, ...]
    kind: str
    projections: tuple[float, ...]
    size: float
    telling: bool

    def equals(self, other: Fingerprint, tolerance: float) -> bool:
        """Whether the two tensors differ by no more than ``tolerance`` of their length."""
        if self.shape != other.shape or self.kind != other.kind:
            return False
        scale = max(self.size, other.size)
        error = float(np.sqrt(np.mean((np.subtract(self.projections, other.projections)) ** 2)))
        return bool(error <= tolerance * scale) if self.kind == "f" else error < 0.5


def fingerprint(array: Array) -> Fingerprint:
    """The fingerprint of an array.

    Example:
        >>> one = fingerprint(np.arange(12.0))
        >>> one.equals(fingerprint(np.arange(12.0) + 1e-7), 1e-4), one.equals(fingerprint(np.arange(12.0) * 1.01), 1e-4)
        (True, False)
    """
    kind = {"b": "b", "i": "i", "u": "i"}.get(array.dtype.kind, "f")
    values = array.reshape(-1)
    if array.dtype.kind == "c":
        values = np.ascontiguousarray(values).view(values.real.dtype)
    values = values.astype(np.float64) if array.dtype.kind not in "SUO" else np.zeros(values.size)
    # Values that are no number, and mask values, must meet their own kind: they become a number that nothing else is likely to be.
    values = np.where(np.isfinite(values) & (np.abs(values) < 1e30), values, np.pi * np.nan_to_num(np.sign(values), nan=3.0))
    signs = _signs(1 << int(np.ceil(np.log2(max(1, values.size) + _VIEWS * _SHIFT))))
    projections = tuple(float(values @ signs[start : start + values.size]) for start in range(0, _VIEWS * _SHIFT, _SHIFT))
    telling = kind == "f" and values.size > 1 and bool(np.ptp(values) > 1e-6 * np.abs(values).max())
    return Fingerprint(tuple(array.shape), kind, projections, float(np.sqrt(values @ values)), telling)


@lru_cache(maxsize=4)
def _signs(length: int) -> Array:
    return np.where(np.random.default_rng(7).random(length) < 0.5, -1.0, 1.0)


class Shelf:
    """Fingerprints, to be looked through for one that equals another.

    Args:
        tolerance: See `Fingerprint.equals`.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._by_shape: dict[tuple[str, tuple[int, ...]], list[Fingerprint]] = {}

    def put(self, one: Fingerprint) -> None:
        """Adds a fingerprint."""
        self._by_shape.setdefault((one.kind, one.shape), []).append(one)

    def holds(self, one: Fingerprint) -> bool:
        """Whether an equal one was put in."""
        return any(one.equals(other, self.tolerance) for other in self._by_shape.get((one.kind, one.shape), ()))
