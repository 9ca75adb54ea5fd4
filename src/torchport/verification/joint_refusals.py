"""Sizes that the model refuses only in company: one axis may not exceed another, or several are too small or too large together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

from torchport.ports import AxisKind
from torchport.verification._records import Case, Refusal
from torchport.verification.asking import Asker, Settled, with_symbol
from torchport.verification.relations import relate, relation_between

__all__ = ["settle_jointly"]


def settle_jointly(asker: Asker, settled: Settled, refused: Sequence[Refusal]) -> bool:
    """States a rule for sizes that are refused though each alone is answered.

    Returns:
        Whether a rule was found that explains one of the refusals.
    """
    for refusal in refused:
        if _relate(asker, settled, refusal.sizes):
            return True
    return any(_bound(asker, settled, refusal.sizes, upward=upward) for refusal in refused for upward in (False, True))


def _answers(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> bool:
    return isinstance(asker.ask(settled.signature, sizes), Case)


def _back(settled: Settled, sizes: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """The sizes, with these symbols at their traced sizes again."""
    return {**sizes, **{name: settled.traced[name] for name in names}}


def _relate(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> bool:
    """Whether one symbol bounds another, and these sizes break it."""
    symbols = settled.signature.symbols
    known = [settled.traced, *(case.sizes for case in settled.cases)]
    free = [name for name in sizes if symbols[name].kind is not AxisKind.Batch]
    for small, large in permutations(free, 2):
        if settled.relates(small, large) or not _answers(asker, settled, {**sizes, small: min(sizes[small], settled.traced[small])}):
            continue
        found = relation_between(asker, settled, small, large)
        if found is None or found[0].holds(sizes[small], sizes[large]):
            continue
        if all(found[0].holds(one[small], one[large]) for one in known):
            relate(settled, *found)
            return True
    return False


def _bound(asker: Asker, settled: Settled, sizes: Mapping[str, int], *, upward: bool) -> bool:
    """Ends the ranges of several symbols together, where they all go back to their traced sizes in step.

    What is stated is a box that the model answers from corner to corner; beside it there may be sizes that it answers, too.
    """
    traced, symbols = settled.traced, settled.signature.symbols
    moving = [name for name in sizes if (sizes[name] > traced[name] if upward else sizes[name] < traced[name])]
    for name in list(moving):
        others = [one for one in moving if one != name]
        if _answers(asker, settled, _back(settled, sizes, others)) and not _answers(asker, settled, _back(settled, sizes, [name])):
            moving = others  # it has no part in it
    if len(moving) < 2 or not _answers(asker, settled, _back(settled, sizes, moving)):
        return False
    steps = max(abs(sizes[name] - traced[name]) // symbols[name].multiple_of for name in moving)

    def on_the_way(step: int) -> dict[str, int]:
        """``moving`` so many of all steps from the refused sizes towards the traced ones."""
        there = {}
        for name in moving:
            unit = symbols[name].multiple_of
            there[name] = sizes[name] + (traced[name] - sizes[name]) // unit * step // steps * unit
        return there

    outside, inside = 0, steps
    while inside - outside > 1:
        middle = (outside + inside) // 2
        if _answers(asker, settled, {**sizes, **on_the_way(middle)}):
            inside = middle
        else:
            outside = middle
    if inside == steps:
        return False  # nothing but the example is answered
    corner, refusal = on_the_way(inside), asker.ask(settled.signature, {**sizes, **on_the_way(outside)})
    said = []
    for name, size in corner.items():
        low, high = (symbols[name].min, size) if upward else (size, symbols[name].max)
        settled.signature = with_symbol(settled.signature, name, min=low, max=high)
        settled.ranges[name] = (low, high)
        said.append(f"{name}: {low} to {high}" if high is not None else f"{name}: {low} or more")
    if isinstance(refusal, Refusal):
        settled.refusals.append(refusal)
    settled.notes.append(f"{', '.join(said)}, together: the model refuses more of them at once")
    return True
