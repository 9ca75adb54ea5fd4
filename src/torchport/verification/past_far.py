"""Asks the model far past the traced sizes, where that is cheap: what no comparison shows may still change there."""

from __future__ import annotations

from torchport.verification._records import Refusal
from torchport.verification.asking import Asker, Settled, affordable, narrowed, smallest_batch
from torchport.verification.forks import sizes_are_lost

__all__ = ["settle_far"]

_FAR = 10
_FARTHER = 43
"""Where the model makes plain numbers of its sizes (``int(x.shape[1])``), what it compares them with is not seen: so many times, too."""

_SHARE = 0.15
_SHARE_LOST = 0.6
"""Of the time that all runs together took until here, one far run may take so much: where nothing is known to change, and where sizes are
lost."""


def settle_far(asker: Asker, settled: Settled) -> None:
    """Adds a case for each symbol at ten times its traced size and a little more, where that takes a moment only.

    A size that the model refuses ends the range of the symbol.
    """
    lost = sizes_are_lost(asker.decided)
    budget = (_SHARE_LOST if lost else _SHARE) * sum(asker.seconds.values())
    for name in list(settled.traced):
        for factor in (_FAR, _FARTHER) if lost else (_FAR,):
            base, axis = smallest_batch(settled), settled.signature.symbols[name]
            size = (factor * settled.traced[name] // axis.multiple_of + 1) * axis.multiple_of
            sizes = {**base, name: size}
            if not axis.allows(size) or not affordable(asker, settled, sizes, within=budget):
                continue
            answer = asker.ask(settled.signature, sizes)
            if isinstance(answer, Refusal):
                narrowed(asker, settled, base, sizes, answer)
            else:
                settled.keep(answer)
