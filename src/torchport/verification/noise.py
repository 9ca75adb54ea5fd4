"""How far a model's outputs move by rounding alone: against double precision, or, where that cannot run, by disturbing every rounding."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch

from torchport.ports.extremes import Extreme
from torchport.verification._records import Array, Case
from torchport.verification.arrays import to_arrays, to_tensor
from torchport.verification.comparison import is_exact
from torchport.verification.jitter import run_with_jitter
from torchport.verification.precision import run_in_double
from torchport.verification.runtimes._base import shortened
from torchport.verification.tolerance import MULTIPLE, WEAK, noise_between

__all__ = ["Call", "Noise", "kinds_of", "measure_noise", "noise_of_extremes", "reach_of_rounding", "turned_by_rounding"]

Call = Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]
"""A model as a function of flat tensors."""


_DEGENERATE: tuple[Extreme, ...] = ("large", "constant")
"""Values at which scores saturate and differences vanish, in double precision as well."""


_SOON = 6
"""After so many disturbances most of what rounding decides has moved."""


class Noise:
    """The rounding noise of each output.

    Attributes:
        by_output: Relative to the output's scale.
        source: ``double``: against the same model in float64; ``jitter``: every rounding disturbed by one unit in the last place.
        reason: Why it is not ``double``.
    """

    def __init__(self, by_output: Mapping[str, float], source: Literal["double", "jitter"], reason: str = "") -> None:
        self.by_output = dict(by_output)
        self.source = source
        self.reason = reason


def measure_noise(call: Call, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Noise:
    """Measures the noise on one case.

    Args:
        call: The model.
        inputs: The case's inputs.
        outputs: What the model answers to them.
    """
    tensors = {name: to_tensor(array) for name, array in inputs.items()}
    with torch.no_grad():
        try:
            precise = to_arrays(run_in_double(call, {name: tensor.clone() for name, tensor in tensors.items()}))
            measured = noise_between(outputs, precise) if _same_shapes(outputs, precise) else {}
            if measured and all(value <= WEAK for value in measured.values()):
                return Noise(measured, "double")
            # Much noise may be another answer: random numbers, for one, are drawn anew in double precision.
            reason = "in double precision its answer is another" if measured else "its shapes differ in double precision"
        except Exception as error:  # noqa: BLE001 - foreign code that cannot run in double precision says so in many ways
            reason = shortened(error, 160)
        worst = dict.fromkeys(outputs, 0.0)
        for seed in (1, 2, 3):
            moved = to_arrays(run_with_jitter(call, {name: tensor.clone() for name, tensor in tensors.items()}, seed))
            if not _same_shapes(outputs, moved):
                return Noise(dict.fromkeys(outputs, float("inf")), "jitter", "its shapes depend on rounding")
            for name, noise in noise_between(outputs, moved).items():
                worst[name] = max(worst[name], noise)
    return Noise(worst, "jitter", reason)


def noise_of_extremes(call: Call, case: Case) -> dict[str, float]:
    """The noise of a case of extreme values: infinite for an output that rounding alone makes another.

    A constant less its mean is rounding alone, saturated scores tie: such an output shows nothing at such values. Both may come out alike
    in double precision, so the roundings are disturbed, too.
    """
    tensors = {name: to_tensor(array) for name, array in case.inputs.items()}
    answers: list[Mapping[str, Array]] = []
    with torch.no_grad():
        with contextlib.suppress(Exception):  # foreign code may not run in double precision; it is disturbed then
            answers.append(to_arrays(run_in_double(call, {name: tensor.clone() for name, tensor in tensors.items()})))
        for seed in (1, 2) if case.label in _DEGENERATE or not answers else ():
            answers.append(to_arrays(run_with_jitter(call, {name: tensor.clone() for name, tensor in tensors.items()}, seed)))
    return {name: max(_moved(name, array, other) for other in answers) for name, array in case.outputs.items()}


def _moved(name: str, array: Array, answer: Mapping[str, Array]) -> float:
    other = answer[name]
    if array.shape != other.shape:
        return float("inf")
    if is_exact(array):
        return 0.0 if np.array_equal(array, other.astype(array.dtype)) else float("inf")
    return noise_between({name: array}, {name: other})[name]


def turned_by_rounding(
    call: Call, inputs: Mapping[str, Array], name: str, expected: Array, wrong: Array, *, zeros_too: bool = False, runs: int = 48
) -> bool:
    """Whether rounding alone turns every element of ``wrong`` to another value (whether they are ties), or between a number and none.

    Args:
        call: The model.
        inputs: The case's inputs.
        name: The output.
        expected: What the model answers there.
        wrong: A mask of the elements in question.
        zeros_too: See `run_with_jitter`.
        runs: How many disturbances to try at most; an element of two equal scores turns in about every third.
    """
    left = wrong.copy()
    tensors = {name: to_tensor(array) for name, array in inputs.items()}
    for seed in range(1, runs + 1):
        with torch.no_grad():
            copies = {name: tensor.clone() for name, tensor in tensors.items()}
            moved = to_arrays(run_with_jitter(call, copies, seed, zeros_too=zeros_too))[name]
        if moved.shape != expected.shape:
            return True
        left &= (moved == expected) if is_exact(expected) else (kinds_of(moved) == kinds_of(expected))
        if not left.any():
            return True
        if seed == 8 and 2 * int(left.sum()) > int(wrong.sum()):
            return False
    return False


def reach_of_rounding(call: Call, inputs: Mapping[str, Array], name: str, expected: Array, gap: Array, *, runs: int = 16) -> Array:
    """How far rounding alone moves each element of an output: infinitely far where it makes a number none.

    The inputs stay exactly as they are: the artifact gets the same.

    Args:
        call: The model.
        inputs: The case's inputs.
        name: The output.
        expected: What the model answers there.
        gap: How far each element is off; where rounding soon turns out not to reach most of them, no more is tried.
        runs: How many disturbances to try at most.
    """
    reach = np.zeros(expected.shape)
    tensors = {one: to_tensor(array) for one, array in inputs.items()}
    off = gap > 0
    for seed in range(1, runs + 1):
        with torch.no_grad():
            copies = {one: tensor.clone() for one, tensor in tensors.items()}
            moved = to_arrays(run_with_jitter(call, copies, seed, inputs_too=False))[name]
        if moved.shape != expected.shape:
            break
        same = kinds_of(moved) == kinds_of(expected)
        with np.errstate(invalid="ignore"):
            reach = np.maximum(reach, np.where(same, np.nan_to_num(np.abs(moved - expected), nan=0.0), np.inf))
        if seed == _SOON and 2 * int((gap > MULTIPLE * reach).sum()) > int(off.sum()):
            break
        if not (gap > MULTIPLE * reach).any():
            break
    return reach


def kinds_of(array: Array) -> Array:
    """What each element is: a number, no number, infinity, minus infinity."""
    real = np.asarray(array.real if array.dtype.kind == "c" else array, np.float64)
    return np.where(np.isnan(real), 1, np.where(np.isinf(real), np.where(real > 0, 2, 3), 0))


def _same_shapes(outputs: Mapping[str, Array], others: Mapping[str, Array]) -> bool:
    return all(others[name].shape == array.shape for name, array in outputs.items())
