"""Which mutants are made: a budget spread over the kinds, and within a kind over the graph."""

from __future__ import annotations

import random
from collections.abc import Sequence

from torchport.verification.power._base import Mutation

__all__ = ["choose"]


def choose(mutations: Sequence[Mutation], budget: int, choice: random.Random) -> list[Mutation]:
    """At most ``budget`` of the mutations: every kind gets the same share, what a small kind leaves goes to the others.

    Args:
        mutations: All that can be made, in graph order.
        budget: How many to take.
        choice: The source of the choices within a kind.
    """
    by_kind: dict[str, list[Mutation]] = {}
    for mutation in mutations:
        by_kind.setdefault(mutation.kind, []).append(mutation)
    shares = dict.fromkeys(by_kind, 0)
    left = min(budget, len(mutations))
    while left:
        for kind, all_of_kind in by_kind.items():
            if left and shares[kind] < len(all_of_kind):
                shares[kind] += 1
                left -= 1
    return [mutation for kind, share in shares.items() for mutation in _spread(by_kind[kind], share, choice)]


def _spread(mutations: Sequence[Mutation], count: int, choice: random.Random) -> list[Mutation]:
    """``count`` of them, one from each of so many equal stretches."""
    if not count:
        return []
    ends = [place * len(mutations) // count for place in range(count + 1)]
    return [mutations[choice.randrange(ends[place], ends[place + 1])] for place in range(count)]
