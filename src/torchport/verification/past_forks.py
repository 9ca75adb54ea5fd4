"""Asks the model at sizes where it decides otherwise than at all those tried: past a threshold, at another remainder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from torchport.ports import AxisKind
from torchport.verification._records import Refusal, sizes_text
from torchport.verification.asking import Asker, Settled, affordable, moved, narrowed, smallest_batch, with_symbol
from torchport.verification.forks import Fork, Sizes, forks, is_out_of_reach, next_sizes
from torchport.verification.sums import settle_sums

__all__ = ["settle_forks"]

_TORCH = str(Path(torch.__file__).parent)

_ASKS = 5
"""So many sizes are tried for one decision."""

_ALL_ASKS = 40
"""So many sizes are tried for all decisions together."""


def settle_forks(asker: Asker, settled: Settled) -> None:
    """Adds a case for every decision on a size that went one way at all sizes, at a size where it goes the other way.

    Where the model refuses such a size, its range ends before it. Where such a size is too large to run, the range ends before it, too: the
    file is then proved for what it is said to take.
    """
    given_up: set[tuple[object, ...]] = set()
    left = _ALL_ASKS
    while left > 0:
        fork = next((one for one in forks(asker.decided) if one.key not in given_up), None)
        if fork is None:
            return
        left -= _settle(asker, settled, fork)
        given_up.add(fork.key)
    for fork in forks(asker.decided):
        if fork.key not in given_up:
            _not_settled(settled, fork)


def _settle(asker: Asker, settled: Settled, fork: Fork) -> int:
    """Settles one decision; gives how many sizes were tried."""
    base = _where_met(settled, fork)
    tried: list[dict[str, int]] = []
    settles = False
    while len(tried) < _ASKS and not settles:
        fork = next((one for one in forks(asker.decided) if one.key == fork.key), fork)
        sizes = next((one for one in _allowed(settled, fork, base) if one not in tried), None)
        if sizes is None:
            break
        if not affordable(asker, settled, sizes):
            _end_before(asker, settled, fork, base, sizes)
            settles = True
            break
        tried.append(sizes)
        answer = asker.ask(settled.signature, sizes)
        if isinstance(answer, Refusal):
            settles = settle_sums(asker, settled, sizes) or narrowed(asker, settled, base, sizes, answer)
        elif fork.turns(asker.decided[_key(sizes)]):
            settles = True
            settled.keep(answer)
            _go_on(asker, settled, base, sizes)
    if not settles:
        _not_settled(settled, fork)
    return len(tried)


def _where_met(settled: Settled, fork: Fork) -> dict[str, int]:
    """Sizes at which the decision was met: a nested one is met at some sizes only. A batch of 1 where that is possible."""
    usual = smallest_batch(settled)
    met = [dict(sizes) for sizes in fork.points if dict(sizes).keys() == usual.keys()]
    return min(met, key=lambda one: (sum(one[name] != size for name, size in usual.items()), 1 in one.values()), default=usual)


def _go_on(asker: Asker, settled: Settled, base: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    """Takes sizes farther on the same way, too: at the very turn both ways may agree (``max(0, 1500 - size)``)."""
    name = moved(base, sizes)
    axis, size = settled.signature.symbols[name], sizes[name]
    step = axis.multiple_of * (1 if size > base[name] else -1)
    for farther in (size + step, size + step * (1 + size // axis.multiple_of // 8)):
        further = {**sizes, name: farther}
        if farther >= 1 and axis.allows(farther) and affordable(asker, settled, further):
            settled.keep(asker.ask(settled.signature, further))


def _not_settled(settled: Settled, fork: Fork) -> None:
    if not fork.file.startswith(_TORCH) and not is_out_of_reach(fork):
        settled.notes.append(f"weak: {_where(fork)} decides by a size, and went one way at every size that was tried")


def _key(sizes: Mapping[str, int]) -> Sizes:
    return tuple(sizes.items())


def _allowed(settled: Settled, fork: Fork, base: Mapping[str, int]) -> list[dict[str, int]]:
    symbols = settled.signature.symbols
    steps = {name: symbols[name].multiple_of for name in base}
    possible = (sizes for sizes in next_sizes(fork, base, steps) if settled.fits(sizes))
    return [sizes for sizes in possible if all(symbols[name].allows(size) for name, size in sizes.items())]


def _where(fork: Fork) -> str:
    return f"{Path(fork.file).name}:{fork.line}"


def _end_before(asker: Asker, settled: Settled, fork: Fork, base: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    """The sizes that cannot be tried are not promised: the range ends at the largest that can. Of a batch, it is told only."""
    name = moved(base, sizes)
    axis = settled.signature.symbols[name]
    if axis.kind is AxisKind.Batch:
        settled.notes.append(f"weak: {_where(fork)} decides otherwise from about {sizes_text(sizes)} on, which was not tried")
        return
    largest, last = max((case.sizes[name] for case in settled.cases), default=base[name]), sizes[name]
    while last > largest and not (affordable(asker, settled, {**base, name: last}) and axis.allows(last)):
        last = 3 * last // 4 // axis.multiple_of * axis.multiple_of
    if last <= largest or not settled.keep(asker.ask(settled.signature, {**base, name: last})):
        last = largest
    settled.signature = with_symbol(settled.signature, name, max=last)
    settled.ranges[name] = (axis.min, last)
    settled.notes.append(f"{name}: {axis.min} to {last}; past it {_where(fork)} may decide otherwise, which is too large to be tried")
