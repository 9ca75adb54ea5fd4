"""Asks the model far past the traced sizes, where that is cheap: what no comparison shows may still change there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from torchport.verification._records import Refusal
from torchport.verification.asking import Asker, Settled, affordable, narrowed, smallest_batch
from torchport.verification.forks import scales_of, shares_of
from torchport.verification.noted_sizes import is_near_whole, rounds_otherwise
from torchport.verification.sums import settle_sums

__all__ = ["settle_far"]

_FAR = 10
_FARTHER = 43
"""Where the model makes plain numbers of its sizes (``int(x.shape[1])``), what it compares them with is not seen: so many times, too."""

_NAMED = 16
"""So many sizes that are numbers of the model's own code are tried at most."""

_ROUNDED = 1000
"""Shares of a size are looked through up to here."""

_NEAR = 6
"""So many of the sizes at which a share is nearly a whole number are tried."""

_SHARE = 0.15
_SHARE_LOST = 0.6
"""Of the time that all runs together took until here, one far run may take so much: where nothing is known to change, and where sizes are
lost."""


def settle_far(asker: Asker, settled: Settled) -> None:
    """Adds a case for each symbol at ten times its traced size and a little more, where that takes a moment only.

    Where the model loses sight of a size, it is asked farther still, and at the sizes that are numbers in the code around. A size that the
    model refuses ends the range of the symbol.
    """
    unseen = asker.places_unseen()
    budget = (_SHARE_LOST if unseen else _SHARE) * sum(asker.seconds.values())
    for name in list(settled.traced):
        for factor in (_FAR, _FARTHER) if unseen else (_FAR,):
            step = settled.signature.symbols[name].multiple_of
            _ask(asker, settled, name, (factor * settled.traced[name] // step + 1) * step, budget)
    for name, size in _rounded(asker, settled):
        _ask(asker, settled, name, size, budget)
    asked = 0
    for name, size in _named(asker, settled):
        before = len(asker.places_unseen())
        if asked == _NAMED or not before:
            break
        asked += _ask(asker, settled, name, size, budget)
        if len(asker.places_unseen()) < before:  # at the very size that turns a branch, both ways may agree
            asked += _ask(asker, settled, name, 2 * size, budget)
    for branch in (one for one in asker.branches.one_way() if one.of_a_module):
        settled.notes.append(
            f"weak: {Path(branch.file).name}:{branch.line} decides by what may be a size, and went one way at every size that was tried"
        )


def _named(asker: Asker, settled: Settled) -> Iterator[tuple[str, int]]:
    """Sizes that are numbers of the code around, or near them.

    Each itself, the next one, one farther on (at the very turn both ways may agree), and sums of two (a remainder and what it is taken by).
    """
    numbers = asker.branches.numbers_near(asker.places_unseen())
    sums = [one + other for one in numbers for other in numbers if one < other]
    tried = {(name, case.sizes[name]) for case in settled.cases for name in settled.traced}
    past = [*(one + 1 for one in numbers), *(one + 2 + one // 8 for one in numbers)]
    for size in dict.fromkeys((*numbers, *past, *(sums if len(sums) < _NAMED else ()))):
        for name in settled.traced:
            if (name, size) not in tried:
                yield name, size


def _rounded(asker: Asker, settled: Settled) -> Iterator[tuple[str, int]]:
    """Sizes at which a share of a size that the model rounds (``math.ceil(size * 1.1)``, a scale of 1.3) turns in single precision.

    Python and torch compute it in double precision, the files in single. An axis that keeps its length is one of them,
    too: torch copies it.
    """
    for name in settled.traced:
        allowed = [size for size in range(2, _ROUNDED) if settled.signature.symbols[name].allows(size)]
        for share, offset in shares_of(asker.decided, name):
            yield from ((name, size) for size in islice((one for one in allowed if rounds_otherwise(one, share, offset)), 3))
            near = [size for size in allowed if is_near_whole(size, share, offset)]
            yield from ((name, size) for size in near[:: max(1, len(near) // _NEAR)][:_NEAR])
        for scale, part in scales_of(asker.decided, name):
            whole = [size for size in allowed if (size * part).denominator == 1]
            yield from ((name, size) for size in islice((one for one in whole if rounds_otherwise(int(one * part), scale)), 2))
            kept = (one for one in whole if one * part > 1 and int(int(one * part) * scale) == one * part)
            yield from ((name, size) for size in islice(kept, 1))


def _ask(asker: Asker, settled: Settled, name: str, size: int, budget: float) -> bool:
    """Asks at one size of a symbol, with a batch of 1, where it is allowed and takes a moment only; says whether it asked."""
    base, axis = smallest_batch(settled), settled.signature.symbols[name]
    sizes = {**base, name: size}
    if not axis.allows(size) or size == base[name] or not affordable(asker, settled, sizes, within=budget):
        return False
    answer = asker.ask(settled.signature, sizes)
    if isinstance(answer, Refusal):
        if not settle_sums(asker, settled, sizes):
            narrowed(asker, settled, base, sizes, answer)
    else:
        settled.keep(answer)
    return True
