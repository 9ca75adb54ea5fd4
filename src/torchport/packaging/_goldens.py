"""Chooses the golden cases of a package from those that the proof was made with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from torchport.emit import ExportOptions
from torchport.packaging._records import Golden
from torchport.ports import Signature
from torchport.ports.extremes import EXTREMES
from torchport.verification import Case, Reference
from torchport.verification._records import Array

__all__ = ["choose_goldens", "is_ragged"]


def choose_goldens(reference: Reference, options: ExportOptions) -> tuple[Golden, ...]:
    """A few cases that say much: the traced one, a ragged one or one at other sizes, the smallest, and one of extreme values.

    Args:
        reference: What the untouched model answers.
        options: ``verify`` and ``check_tolerance`` are read.
    """
    traced, *others = reference.cases
    covering = [case for case in others if not case.label]
    chosen = {"traced": traced}
    ragged = _least(case for case in covering if is_ragged(reference.signature, case.inputs))
    other = _least(case for case in covering if all(size != traced.sizes.get(name) for name, size in case.sizes.items()))
    if ragged is not None:
        chosen["ragged"] = ragged
    elif other is not None:
        chosen["other"] = other
    smallest = _least(case for case in covering if all(case is not one for one in chosen.values()))
    if smallest is not None:
        chosen["smallest"] = smallest
    extreme = next((case for label in EXTREMES for case in others if case.label == label), None)
    if extreme is not None:
        chosen[extreme.label] = extreme
    tolerance: Callable[[str], float] = reference.tolerance if options.verify else lambda _: options.check_tolerance
    return tuple(
        Golden(name, dict(case.sizes), case.inputs, case.outputs, {output: tolerance(output) for output in case.outputs})
        for name, case in chosen.items()
    )


def _least(cases: Iterable[Case]) -> Case | None:
    """The case with the fewest numbers."""
    return min(cases, key=lambda case: sum(array.size for array in (*case.inputs.values(), *case.outputs.values())), default=None)


def is_ragged(signature: Signature, inputs: Mapping[str, Array]) -> bool:
    """Whether the rows of a batch differ in length, by a port that measures it."""
    for name, array in inputs.items():
        if name in signature.inputs and signature.length_of(name) is not None and array.ndim and len(array) > 1:
            lengths = array.reshape(len(array), -1).astype(np.float64).sum(1)
            if len(np.unique(lengths)) > 1:
                return True
    return False
