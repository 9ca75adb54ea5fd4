"""How the rebuilt models and NeMo's are called alike: the parts of each variant, and inputs for them by seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from nemo_seeded import seeded_features
from nemo_variants import BANDS

SIZES = ((3, 45), (1, 26), (2, 67))


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        part: ``self``, or the name of a part that is exported by itself.
        seed: What its inputs are made of.
        inputs: Tensors by name.
    """

    part: str
    seed: int
    inputs: dict[str, torch.Tensor]


def calls(name: str) -> Iterator[Call]:
    """The calls of a variant, at several sizes each."""
    for seed, (rows, size) in enumerate(SIZES):
        yield Call("self", seed, seeded_features(BANDS, rows, size, seed))
