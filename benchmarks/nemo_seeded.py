"""Weights and inputs that are made of names and seeds alone: NeMo's models and the rebuilt ones get the same, in any environment."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seeded_weights(like: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """A state dict with the names, shapes and dtypes of ``like``, whose values matter: norms have statistics, biases are not zero."""
    return {name: _weight(name, tuple(tensor.shape), tensor.dtype) for name, tensor in like.items()}


def _weight(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    random = np.random.RandomState(zlib.crc32(name.encode()))  # the stream that NumPy keeps as it is
    if not dtype.is_floating_point:
        return torch.full(shape, 3, dtype=dtype)
    if name.endswith("running_var"):
        values = random.uniform(0.5, 2.0, shape)
    elif len(shape) < 2:
        values = (1.0 if name.endswith(("weight", "weight_g")) else 0.0) + 0.2 * random.standard_normal(shape)
    else:
        values = random.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
    if name.endswith("word_emb.weight"):
        values[-2] = 0.0  # where NeMo's tokenizers have their padding, which training leaves at zero
    if name.endswith("duration_predictor.fc.bias"):
        values += 1.0  # some frames for each token
    return torch.from_numpy(np.asarray(values)).to(dtype)


def seeded_features(bands: int, rows: int, frames: int, seed: int) -> dict[str, torch.Tensor]:
    """Features of ragged lengths, the last of them short; what lies past a length is not zero."""
    random = np.random.RandomState(seed)
    signal = torch.from_numpy(random.standard_normal((rows, bands, frames))).float()
    lengths = [frames - row * (frames - 5) // max(1, rows - 1) for row in range(rows)]
    return {"audio_signal": signal, "length": torch.tensor(lengths)}


def seeded_step(rows: int, width: int, network: Mapping[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Inputs for one step of a transducer's search, whose ``network`` is the config's section ``decoder``."""
    random = np.random.RandomState(seed)
    blank, inner = network["vocab_size"], network["prednet"]
    context = network.get("context_size")
    count = 1 if context else 1 + 2 * seed
    tokens = random.randint(0, blank + 1, (rows, count))
    if context:
        states = [torch.from_numpy(random.randint(0, blank + 1, (rows, context - 1)))]
    else:
        shape = (inner["pred_rnn_layers"], rows, inner["pred_hidden"])
        states = [torch.from_numpy(np.tanh(random.standard_normal(shape))).float() for _ in range(2)]
    return {
        "encoder_outputs": torch.from_numpy(random.standard_normal((rows, width, 4))).float(),
        "targets": torch.from_numpy(tokens).to(torch.int32),
        "target_length": torch.full((rows,), count, dtype=torch.int32),
        **{f"input_states_{place}": state for place, state in enumerate(states, start=1)},
    }


def seeded_text(tokens: int, rows: int, size: int, seed: int, *, voices: int, louder: bool) -> dict[str, torch.Tensor]:
    """Tokens of ragged rows, the last one padding, with pitch, pace, and what else the voice takes."""
    random = np.random.RandomState(seed)
    text = random.randint(0, tokens - 1, (rows, size))
    for row in range(1, rows):
        text[row, size - row * size // (2 * rows) :] = tokens - 1
    inputs = {"text": torch.from_numpy(text), "pitch": torch.from_numpy(0.5 * random.standard_normal((rows, size))).float()}
    inputs["pace"] = torch.from_numpy(random.uniform(0.7, 1.4, (rows, size))).float()
    if louder:
        inputs["volume"] = torch.from_numpy(random.uniform(0.5, 1.5, (rows, size))).float()
    if voices > 1:
        inputs["speaker"] = torch.from_numpy(random.randint(0, voices, rows))
    return inputs


def seeded_spectrogram(bands: int, rows: int, frames: int, seed: int) -> dict[str, torch.Tensor]:
    """Noise in the place of a spectrogram."""
    return {"spec": torch.from_numpy(np.random.RandomState(seed).standard_normal((rows, bands, frames))).float()}


def seeded_caches(encoder: Mapping[str, Any], rows: int, seed: int) -> dict[str, torch.Tensor]:
    """Caches of a Conformer encoder, by its config's section; from full ones to empty ones."""
    random = np.random.RandomState(seed)
    layers, width, seen = encoder["n_layers"], encoder["d_model"], encoder["att_context_size"][0]
    kernel, sides = encoder["conv_kernel_size"], encoder.get("conv_context_size")
    before = kernel - 1 if sides == "causal" else sides[0] if sides else (kernel - 1) // 2
    filled = [seen - row * seen // max(1, rows - 1) for row in range(rows)]
    return {
        "cache_last_channel": torch.from_numpy(random.standard_normal((rows, layers, seen, width))).float(),
        "cache_last_time": torch.from_numpy(random.standard_normal((rows, layers, width, before))).float(),
        "cache_last_channel_len": torch.tensor(filled),
    }
