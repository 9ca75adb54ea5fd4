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
    return torch.from_numpy(np.asarray(values)).to(dtype)


def seeded_features(bands: int, rows: int, frames: int, seed: int) -> dict[str, torch.Tensor]:
    """Features of ragged lengths, the last of them short; what lies past a length is not zero."""
    random = np.random.RandomState(seed)
    signal = torch.from_numpy(random.standard_normal((rows, bands, frames))).float()
    lengths = [frames - row * (frames - 5) // max(1, rows - 1) for row in range(rows)]
    return {"audio_signal": signal, "length": torch.tensor(lengths)}
