"""Asks the model at sizes where it decides otherwise than at all those tried: past a threshold, at another remainder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from torchport.ports import AxisKind
from torchport.verification._records import Refusal, sizes_text
from torchport.verification.asking import Asker, Settled, affordable, moved, narrowed, smallest_batch, with_symbol
from torchport.verification.forks import Fork, Sizes, forks, next_sizes

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


def _settle(asker: Asker, settled: Settled, fork: Fork) -> int:
    """Settles one decision; gives how many sizes were tried."""
    base = smallest_batch(settled)
    tried: list[dict[str, int]] = []
    while len(tried) < _ASKS:
        fork = next((one for one in forks(asker.decided) if one.key == fork.key), fork)
        sizes = next((one for one in _allowed(settled, fork, base) if one not in tried), None)
        if sizes is None:
            break
        if not affordable(asker, settled, sizes):
            _end_before(settled, fork, base, sizes)
            break
        tried.append(sizes)
        answer = asker.ask(settled.signature, sizes)
        if isinstance(answer, Refusal):
            if narrowed(asker, settled, base, sizes, answer):
                break
        elif fork.turns(asker.decided[_key(sizes)]):
            if all(case.sizes != answer.sizes for case in settled.cases):
                settled.cases.append(answer)
            break
    else:
        if not fork.file.startswith(_TORCH):
            settled.notes.append(f"weak: {_where(fork)} decides by a size, and went one way at every size that was tried")
    return len(tried)


def _key(sizes: Mapping[str, int]) -> Sizes:
    return tuple(sizes.items())


def _allowed(settled: Settled, fork: Fork, base: Mapping[str, int]) -> list[dict[str, int]]:
    symbols = settled.signature.symbols
    steps = {name: symbols[name].multiple_of for name in base}
    possible = (sizes for sizes in next_sizes(fork, base, steps) if settled.fits(sizes))
    return [sizes for sizes in possible if all(symbols[name].allows(size) for name, size in sizes.items())]


def _where(fork: Fork) -> str:
    return f"{Path(fork.file).name}:{fork.line}"


def _end_before(settled: Settled, fork: Fork, base: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    """The sizes that were not tried are not promised."""
    name = moved(base, sizes)
    axis = settled.signature.symbols[name]
    largest = max((case.sizes[name] for case in settled.cases), default=base[name])
    margin = 3 * axis.multiple_of
    if fork.divisors:  # a line through whole quotients is off by up to the divisor over its span
        margin += max(fork.divisors) * (1 + (sizes[name] - largest) // max(1, largest - min(case.sizes[name] for case in settled.cases)))
    last = (sizes[name] - margin) // axis.multiple_of * axis.multiple_of
    if axis.kind is AxisKind.Batch or last < largest:
        settled.notes.append(f"weak: {_where(fork)} decides otherwise from about {sizes_text(sizes)} on, which was not tried")
        return
    settled.signature = with_symbol(settled.signature, name, max=last)
    settled.ranges[name] = (axis.min, last)
    settled.notes.append(f"{name}: {axis.min} to {last}; past it {_where(fork)} decides otherwise, which is too large to be tried")
