"""Asks the model at the ends of what its ports take: zeros, large, negative and constant values, full and short rows."""

from __future__ import annotations

from math import prod

from torchport.ports.extremes import Extreme
from torchport.verification._records import Case, Refusal
from torchport.verification.asking import Asker, Settled

__all__ = ["settle_values"]

_HARMLESS: tuple[Extreme, ...] = ("zeros", "negative", "constant")


def settle_values(asker: Asker, settled: Settled) -> tuple[list[Case], Case | None]:
    """Takes the model's answers to extreme values, at sizes that are cheap and not degenerate.

    Returns:
        Cases that the artifact must answer alike, labelled by their values; and one whose last row a mask hides as a whole, where a port
        is a mask. Values that the model refuses make no case, and that is noted.
    """
    usual = _usual(settled)
    cases: list[Case] = []

    def take(extreme: Extreme) -> Case | None:
        answer = asker.ask_extreme(settled.signature, usual.sizes, extreme)
        if isinstance(answer, Refusal):
            settled.notes.append(f"the model refuses {extreme} values: {answer.reason}")
        return answer if isinstance(answer, Case) else None

    cases += [case for extreme in _HARMLESS if (case := take(extreme)) is not None]
    same = all(case.outputs[name].shape == array.shape for case in cases for name, array in usual.outputs.items() if name in case.outputs)
    if same and not (asker.counts and any(array.dtype.kind == "f" for array in usual.inputs.values())):
        # Where values decide how long something is, large ones may ask for more than there is memory.
        cases += [case for case in (take("large"),) if case is not None]
    return cases, take("empty")


def _usual(settled: Settled) -> Case:
    """The cheapest case that is not degenerate: no size is 1, if there is such a case."""
    return min(settled.cases, key=lambda case: (1 in case.sizes.values(), prod(case.sizes.values())))
