"""Compares two arrays by numbers alone: dtype, shape, NaN/Inf pattern, values. Nothing is broadcast, nothing is cast to agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Difference", "compare", "is_exact", "scale_of"]

Array = npt.NDArray[Any]
"""A numpy array of any dtype (bfloat16 through ``ml_dtypes``)."""

_SENTINEL = 1e4
"""A value so many times the median magnitude is a mask value (-1e9, the lowest float), not part of the output's scale.

So are a few values that fill most of an output, if they are at least so large and so many times all the others.
"""

_FEW = 4
"""A model has a mask value or two, and sums of them."""

_ONE_VALUE = 1.01
"""Mask values are one number, give or take what was added to it."""


@dataclass(frozen=True)
class Difference:
    """How two arrays differ.

    Attributes:
        kind: The first thing that differs; ``None`` when the arrays agree.
        expected: In words.
        got: In words.
        index: The worst element.
        error: The worst difference over the scale of the expected array (in units of 1 for integers and booleans).
        count: How many elements differ by more than the tolerance.
    """

    kind: Literal["dtype", "shape", "pattern", "value"] | None
    expected: str = ""
    got: str = ""
    index: tuple[int, ...] | None = None
    error: float = 0.0
    count: int = 0


def is_exact(array: Array) -> bool:
    """Whether the array's dtype leaves no room for rounding (integers, booleans, strings)."""
    return array.dtype.kind in "iubSUO"


def scale_of(array: Array) -> float:
    """The magnitude that rounding errors of an output are measured against.

    The largest finite magnitude, mask values left out: one ``-1e9`` must not hide an error in every other element.

    Example:
        >>> scale_of(np.array([0.5, -2.0, np.inf, -1e9]))
        2.0
        >>> scale_of(np.array([0.5, -2.0, -1e9, -1e9, -1e9]))
        2.0
    """
    magnitude = np.abs(_wide(array))
    magnitude = magnitude[np.isfinite(magnitude) & (magnitude > 0)]
    if magnitude.size == 0:
        return 0.0
    largest = float(magnitude.max())
    if largest >= _SENTINEL:
        ordered = np.sort(magnitude)
        gaps = np.flatnonzero((ordered[1:] >= _SENTINEL * ordered[:-1]) & (ordered[1:] >= _SENTINEL))
        if gaps.size and _few_values(ordered[gaps[0] + 1 :]):
            return scale_of(ordered[: gaps[0] + 1])
    typical = float(np.median(magnitude))
    if largest <= _SENTINEL * typical:
        return largest
    return float(magnitude[magnitude <= _SENTINEL * typical].max())


def _few_values(ordered: Array) -> bool:
    """Whether magnitudes in ascending order are a few numbers, give or take what was added to them."""
    return 1 + int((ordered[1:] > _ONE_VALUE * ordered[:-1]).sum()) <= _FEW


def compare(expected: Array, got: Array, tolerance: float = 0.0, *, scale: float | None = None) -> Difference:
    """Compares an artifact's answer with the model's.

    Element ``i`` agrees when ``|got - expected| <= tolerance * max(scale, |expected|)``. Integers and booleans must be equal.

    Args:
        expected: The model's answer.
        got: The artifact's answer.
        tolerance: Relative to the scale.
        scale: The output's scale; ``None`` takes ``scale_of(expected)``.

    Returns:
        The first kind of difference, in the order dtype, shape, NaN/Inf pattern, value.
    """
    if expected.dtype != got.dtype:
        return Difference("dtype", str(expected.dtype), str(got.dtype), error=float("inf"))
    if expected.shape != got.shape:
        return Difference("shape", _shape(expected), _shape(got), error=float("inf"))
    if expected.size == 0:
        return Difference(None)
    if is_exact(expected):
        wrong = expected != got
        if not wrong.any():
            return Difference(None)
        gap = np.abs(expected.astype(np.float64) - got.astype(np.float64)) if expected.dtype.kind in "iub" else wrong.astype(np.float64)
        index = _position(np.argmax(gap), expected.shape)
        return Difference("value", str(expected[index]), str(got[index]), index, float(gap[index]), int(wrong.sum()))
    a, b = _wide(expected), _wide(got)
    finite = np.isfinite(a)
    pattern = finite != np.isfinite(b)
    with np.errstate(invalid="ignore"):
        pattern |= ~finite & ~((np.isnan(a) & np.isnan(b)) | (a == b))
    if pattern.any():
        index = _position(np.argmax(pattern), expected.shape)
        return Difference("pattern", str(expected[index]), str(got[index]), index, float("inf"), int(pattern.sum()))
    if not finite.any():
        return Difference(None)
    a, b = np.where(finite, a, 0), np.where(finite, b, 0)
    scale = scale_of(expected) if scale is None else scale
    gap = np.abs(a - b) / np.maximum(np.abs(a), scale if scale > 0 else 1.0)
    index = _position(np.argmax(gap), expected.shape)
    error = float(gap[index])
    if error <= tolerance:
        return Difference(None, index=index, error=error)
    return Difference("value", _number(expected[index]), _number(got[index]), index, error, int((gap > tolerance).sum()))


def _wide(array: Array) -> Array:
    """The array in the precision that differences are taken in."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _position(flat: np.intp, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(part) for part in np.unravel_index(flat, shape))


def _shape(array: Array) -> str:
    return "[" + ", ".join(map(str, array.shape)) + "]"


def _number(value: object) -> str:
    return f"{value:.7g}" if not isinstance(value, (complex, np.complexfloating)) else str(value)
