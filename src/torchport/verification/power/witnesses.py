"""Further inputs with the untouched model's answers: they tell a mutant that changes nothing from one that the proof lets pass."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from torchport.ports import Port, make_inputs
from torchport.ports.extremes import EXTREMES
from torchport.verification._records import Case
from torchport.verification.arrays import to_arrays
from torchport.verification.noise import Call
from torchport.verification.reference import Reference

__all__ = ["WITNESS", "Witnesses", "take_witnesses"]

WITNESS = "witness"
"""What the label of such a case begins with."""

_TIMES = 2
"""So many further inputs for each size of the reference, and one more with driven values."""

_DRIVEN = (0.1, 100.0)
"""Driven values are so many times the usual ones."""


@dataclass(frozen=True)
class Witnesses:
    """Answers of the untouched model to inputs that no case of the reference holds.

    Attributes:
        usual: Other values of the usual kind, at the same sizes and at sizes mixed anew. The artifact must answer them alike.
        driven: The same with larger, smaller and negative numbers. A model may be outside its domain there: only what the artifact answers
            alike counts.
    """

    usual: tuple[Case, ...] = ()
    driven: tuple[Case, ...] = ()


def take_witnesses(call: Call, reference: Reference, *, seed: int = 0) -> Witnesses:
    """Asks the model for further answers.

    Args:
        call: The untouched model; it is run before anything prepares it.
        reference: Its cases and ranges.
        seed: Other inputs for another seed.

    Returns:
        The witnesses; sizes and values that the model refuses are left out.
    """
    choice = random.Random(seed)
    symbols = reference.signature.symbols
    seen: dict[str, list[int]] = {}
    for case in reference.cases:
        for name, size in case.sizes.items():
            seen.setdefault(name, []).append(size)
    usual: list[Case] = []
    driven: list[Case] = []
    cases = [case for case in reference.cases if case.label not in EXTREMES]
    count = len(cases)
    for number in range((_TIMES + 1) * count):
        sizes = dict(cases[number % count].sizes)
        if number >= count:
            mixed = {name: choice.choice(seen[name]) + choice.choice((-1, 0, 1)) for name in sizes}
            sizes = {name: size if name in symbols and symbols[name].allows(size) else sizes[name] for name, size in mixed.items()}
        is_driven = number >= _TIMES * count
        witness = _answer(call, reference, sizes, number, seed, choice if is_driven else None)
        if witness is not None:
            (driven if is_driven else usual).append(witness)
    return Witnesses(tuple(usual), tuple(driven))


def _answer(
    call: Call, reference: Reference, sizes: Mapping[str, int], number: int, seed: int, choice: random.Random | None
) -> Case | None:
    seed = 1_000_003 * (seed + 1) + number  # far from the seeds of the reference's cases
    try:
        made = make_inputs(reference.signature, sizes, seed=seed, example=reference.example, pointers=reference.pointers)
        inputs = {name: made[name] for name in reference.example}
        if choice is not None:
            inputs = {name: _driven(tensor, reference.signature.inputs[name], choice) for name, tensor in inputs.items()}
        with torch.no_grad():
            outputs = to_arrays(call({name: tensor.clone() for name, tensor in inputs.items()}))
    except Exception:  # noqa: BLE001 - a model refuses sizes and values in its own words
        return None
    return Case(dict(sizes), to_arrays(inputs), outputs, seed, f"{WITNESS} {number}")


def _driven(tensor: torch.Tensor, port: Port, choice: random.Random) -> torch.Tensor:
    """Numbers without a meaning of their own, scaled; half of the inputs change their sign."""
    if not tensor.is_floating_point() or (port.typed and port.element.values != "normal"):
        return tensor
    low, high = _DRIVEN
    factor = low * (high / low) ** choice.random()
    return torch.mul(tensor, factor if choice.random() < 0.5 else -factor)
