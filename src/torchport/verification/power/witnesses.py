"""Further inputs with the untouched model's answers: they tell a mutant that changes nothing from one that the proof lets pass."""

from __future__ import annotations

import random
from collections.abc import Mapping

import torch

from torchport.ports import make_inputs
from torchport.verification._records import Array, Case
from torchport.verification.arrays import to_array, to_arrays
from torchport.verification.noise import Call
from torchport.verification.reference import Reference

__all__ = ["WITNESS", "take_witnesses"]

WITNESS = "witness"
"""What the label of such a case begins with."""

_TIMES = 2
"""So many further inputs for each case of the reference."""


def take_witnesses(call: Call, reference: Reference, *, seed: int = 0) -> tuple[Case, ...]:
    """The model's answers to inputs that no case of the reference holds: other values at the same sizes, and at sizes mixed anew.

    Args:
        call: The untouched model; it is run before anything prepares it.
        reference: Its cases and ranges.
        seed: Other inputs for another seed.

    Returns:
        Cases; sizes that the model refuses are left out.
    """
    choice = random.Random(seed)
    symbols = reference.signature.symbols
    seen: dict[str, list[int]] = {}
    for case in reference.cases:
        for name, size in case.sizes.items():
            seen.setdefault(name, []).append(size)
    witnesses = []
    for number in range(_TIMES * len(reference.cases)):
        sizes = dict(reference.cases[number % len(reference.cases)].sizes)
        if number >= len(reference.cases):
            mixed = {name: choice.choice(seen[name]) + choice.choice((-1, 0, 1)) for name in sizes}
            sizes = {name: size if name in symbols and symbols[name].allows(size) else sizes[name] for name, size in mixed.items()}
        witness = _answer(call, reference, sizes, number, seed)
        if witness is not None:
            witnesses.append(witness)
    return tuple(witnesses)


def _answer(call: Call, reference: Reference, sizes: Mapping[str, int], number: int, seed: int) -> Case | None:
    seed = 1_000_003 * (seed + 1) + number  # far from the seeds of the reference's cases
    try:
        made = make_inputs(reference.signature, sizes, seed=seed, example=reference.example)
        inputs: dict[str, Array] = {name: to_array(made[name]) for name in reference.example}
        with torch.no_grad():
            outputs = to_arrays(call({name: made[name].clone() for name in reference.example}))
    except Exception:  # noqa: BLE001 - a model refuses sizes in its own words
        return None
    return Case(dict(sizes), inputs, outputs, seed, f"{WITNESS} {number}")
