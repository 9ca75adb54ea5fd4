"""A second look at a difference: at these very sizes and values, is it rounding alone, a tie, or truly another answer?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from torchport._options import ExportOptions
from torchport.ports import make_inputs
from torchport.ports.extremes import EXTREMES
from torchport.verification._records import Array, Case, sizes_text
from torchport.verification.arrays import to_arrays
from torchport.verification.comparison import Difference, compare, is_exact, scale_of
from torchport.verification.noise import Noise, kinds_of, measure_noise, reach_of_rounding, turned_by_rounding
from torchport.verification.reference import Reference
from torchport.verification.tolerance import MULTIPLE, WEAK, tolerance_of

__all__ = ["TIE", "SecondLook"]

TIE = ", a tie: rounding alone turns the model's own answer"
"""How what the artifact gave ends where it is one of two equal scores."""


class SecondLook:
    """Looks again at what a first comparison found.

    Args:
        reference: What the untouched model answers.
        options: ``verify`` and ``allow_ties`` are read.
        run: The artifact, for a look at other values.

    Attributes:
        notes: What was let pass, in words.
    """

    def __init__(
        self, reference: Reference, options: ExportOptions, run: Callable[[Mapping[str, Array]], Mapping[str, Array]] | None = None
    ) -> None:
        self._run = run
        self.reference = reference
        self.options = options
        self.notes: list[str] = []
        self._noise_at: dict[int, Noise | None] = {}

    def at(self, case: Case, name: str, got: Array, difference: Difference, tolerance: float) -> tuple[Difference, float]:
        """A value that is off: at these very sizes, by rounding alone, by a tie, or truly?"""
        reference, expected = self.reference, case.outputs[name]
        if reference.call is None or not self.options.verify:
            return difference, tolerance
        if difference.kind == "pattern":
            return self._pattern(case, name, got, difference, tolerance)
        if not is_exact(expected):
            return self._value(case, name, got, difference, tolerance)
        wrong = expected != got
        driven = case.label in EXTREMES
        if not reference.answers_as_before(case) or not turned_by_rounding(
            reference.call, case.inputs, name, expected, wrong, zeros_too=driven
        ):
            return difference, tolerance
        if driven:
            self.notes.append(f"output `{name}`: at {case.label} values all scores tie, and any is right")
            return Difference(None, index=difference.index), tolerance
        if self._falls_otherwise(case, name, wrong):
            self.notes.append(f"output `{name}`: rounding decides between two scores at {sizes_text(case.sizes)}; equal at other values")
            return Difference(None, index=difference.index), tolerance
        if self.options.allow_ties:
            self.notes.append(f"allowed: output `{name}` takes another value at {int(wrong.sum())} ties ({sizes_text(case.sizes)})")
            return Difference(None, index=difference.index), tolerance
        tied = f"{difference.got}{TIE}"
        return Difference("value", difference.expected, tied, difference.index, difference.error), tolerance

    def _pattern(self, case: Case, name: str, got: Array, difference: Difference, tolerance: float) -> tuple[Difference, float]:
        """No number where the model gives one, or the other way round."""
        expected, call = case.outputs[name], self.reference.call
        wrong = kinds_of(expected) != kinds_of(got)
        if call is None or not wrong.any() or not self.reference.answers_as_before(case):
            return difference, tolerance
        if not turned_by_rounding(call, case.inputs, name, expected, wrong):
            return difference, tolerance
        where = case.label or sizes_text(case.sizes)
        self.notes.append(f"output `{name}`: rounding decides between a number and infinity at {int(wrong.sum())} elements ({where})")
        rest = np.where(wrong, expected, got)
        left = compare(expected, rest, tolerance)
        return self._value(case, name, rest, left, tolerance) if left.kind == "value" else (left, tolerance)

    def _value(self, case: Case, name: str, got: Array, difference: Difference, tolerance: float) -> tuple[Difference, float]:
        """Real numbers that are off: held to the noise at these very sizes, then each to its own."""
        expected = case.outputs[name]
        noise = self._own_noise(case) if difference.error <= 1e3 * tolerance else None
        if noise is not None:
            own = tolerance_of(str(expected.dtype), noise.by_output[name]) * self._growth(case)
            if own > tolerance:
                difference, tolerance = compare(expected, got, own), own
                if own > WEAK and difference.kind is None:
                    where = case.label or sizes_text(case.sizes)
                    self.notes.append(f"weak: rounding alone decides much of output `{name}`: {own:.1e} of its scale is let pass ({where})")
        if difference.kind == "value" and self.one_by_one(case, name, got, tolerance):
            return Difference(None, index=difference.index), tolerance
        return difference, tolerance

    def one_by_one(self, case: Case, name: str, got: Array, tolerance: float) -> bool:
        """Whether every element that is off is one that rounding alone moves as far: an arc cosine at 1, a floor at a whole number."""
        expected, call = case.outputs[name], self.reference.call
        if call is None or not self.reference.answers_as_before(case):
            return False
        with np.errstate(invalid="ignore"):
            gap = np.nan_to_num(np.abs(np.asarray(got, np.complex128) - expected), nan=0.0)
        gap = np.where(gap > tolerance * np.maximum(scale_of(expected), np.nan_to_num(np.abs(expected))), gap, 0.0)
        reach = reach_of_rounding(call, case.inputs, name, expected, gap)
        if (gap > MULTIPLE * reach).any():
            return False
        where = case.label or sizes_text(case.sizes)
        self.notes.append(f"output `{name}`: rounding alone decides what {int((gap > 0).sum())} of its elements are ({where})")
        return True

    def _falls_otherwise(self, case: Case, name: str, wrong: Array) -> bool:
        """Whether two scores came as close as rounding by chance: other values of the same sizes give the same answer everywhere."""
        reference = self.reference
        if case.label or reference.call is None or self._run is None or int(wrong.sum()) > max(2, wrong.size // 50):
            return False
        for seed in (101, 102, 103):
            made = make_inputs(reference.signature, case.sizes, seed=seed, example=reference.example, pointers=reference.pointers)
            inputs = {port: made[port] for port in case.inputs}
            with torch.no_grad():
                expected = to_arrays(reference.call({port: tensor.clone() for port, tensor in inputs.items()}))[name]
            if compare(expected, self._run(to_arrays(inputs))[name]).kind is None:
                return True
        return False

    def _growth(self, case: Case) -> float:
        """How much more rounding a sum in another order has at sizes past the traced ones: as a random walk of so many more steps."""
        traced = self.reference.traced
        return math.sqrt(max((1.0, *(size / traced[name] for name, size in case.sizes.items() if name in traced))))

    def _own_noise(self, case: Case) -> Noise | None:
        """The model's noise at this very case, measured once; ``None`` where the model at hand is the reference no more."""
        call = self.reference.call
        if id(case) not in self._noise_at:
            known = call is not None and self.reference.answers_as_before(case)
            self._noise_at[id(case)] = measure_noise(call, case.inputs, case.outputs) if call is not None and known else None
        return self._noise_at[id(case)]
