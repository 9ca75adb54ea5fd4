"""From an output's rounding noise to its tolerance: one stated multiple, one stated floor, nothing from taste."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from torchport.verification._records import Array
from torchport.verification.comparison import compare, is_exact, scale_of

__all__ = ["MULTIPLE", "ULPS", "WEAK", "floor_of", "noise_between", "tolerance_of"]

MULTIPLE = 16.0
"""A runtime adds up in another order and fuses operations: it may differ from the model by so many times the model's own rounding error."""

ULPS = 16.0
"""The floor: no output is held to less than so many units in the last place of its dtype, at the output's scale."""

WEAK = 1e-2
"""An output that is let differ by more than this share of its scale, because rounding moves it, cannot prove much; the proof says so."""

_EPSILON = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-23,
    "complex64": 2.0**-23,
    "float64": 2.0**-33,
    "complex128": 2.0**-33,
}
# The noise of float64 cannot be measured against a wider type, and ONNX keeps the numbers of its attributes (epsilon, alpha) in float32:
# a norm over small variances is off by 1e-9. A graph that is computed in float32 is off by 1e-7 and still seen.


def floor_of(dtype: str) -> float:
    """The least tolerance of an output of ``dtype``, relative to the output's scale.

    Example:
        >>> f"{floor_of('float32'):.1e}"
        '1.9e-06'
        >>> floor_of("int64")
        0.0
    """
    return ULPS * _EPSILON.get(dtype, 0.0)


def tolerance_of(dtype: str, noise: float) -> float:
    """The tolerance of an output, relative to its scale.

    Args:
        dtype: The output's dtype.
        noise: The model's own rounding error on that output, relative to its scale.
    """
    floor = floor_of(dtype)
    return max(floor, MULTIPLE * noise) if floor else 0.0


def noise_between(outputs: Mapping[str, Array], precise: Mapping[str, Array]) -> dict[str, float]:
    """The rounding error of each output, relative to its scale.

    Args:
        outputs: What the model answers.
        precise: What it answers in double precision (or with its rounding disturbed).

    Returns:
        Noise by output; 0 for integers and booleans, and for outputs whose shape or NaN/Inf pattern already depends on rounding infinity.
    """
    noise: dict[str, float] = {}
    for name, array in outputs.items():
        if is_exact(array):
            noise[name] = 0.0
            continue
        other = precise[name]
        same_kind = np.dtype(np.complex128 if array.dtype.kind == "c" else np.float64)
        noise[name] = compare(array.astype(same_kind), other.astype(same_kind), 0.0, scale=scale_of(array)).error
    return noise
