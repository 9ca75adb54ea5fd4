"""How the rebuilt models and NeMo's are called alike: the parts of each variant, and inputs for them by seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from nemo_seeded import seeded_caches, seeded_features, seeded_spectrogram, seeded_step, seeded_text
from nemo_variants import BANDS, TOKENS, VARIANTS

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
    config = VARIANTS[name]
    joint = config.get("joint")
    for seed, (rows, size) in enumerate(SIZES):
        if "fastpitch" in name:
            voices, louder = config["n_speakers"], name.endswith("volume")
            yield Call("self", seed, seeded_text(TOKENS, rows, size // 3, seed, voices=voices, louder=louder))
            continue
        if "hifigan" in name:
            yield Call("self", seed, seeded_spectrogram(config["generator"].get("initial_input_size", 80), rows, size // 8, seed))
            continue
        features = seeded_features(BANDS, rows, size, seed)
        if "streaming" in name:
            features |= seeded_caches(config["encoder"], rows, seed)
        yield Call("encoder" if joint else "self", seed, features)
        if "aux_ctc" in config:
            yield Call("self", seed, features)
        if joint:
            network = config["decoder"]
            yield Call("decoder_joint", seed, seeded_step(rows, joint["jointnet"]["encoder_hidden"], network, seed))
