"""FastPitch over ragged batches: rows one behind the other in one flat axis, told apart by running sums, without NeMo's loop over them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torchport.ports import Axis, AxisKind, NeuralType
from torchport.types import OffsetsType

if TYPE_CHECKING:
    import torch

__all__ = ["is_ragged", "ragged_example", "ragged_inputs", "without_loop"]

_FLAT = ("text", "pitch", "pace", "volume")
"""Inputs with one value a token."""


def is_ragged(model: Any) -> bool:
    """Whether a FastPitch takes its batch as one flat axis."""
    return bool(getattr(model, "export_config", {}).get("enable_ragged_batches"))


def ragged_inputs(ports: Mapping[str, NeuralType]) -> dict[str, NeuralType]:
    """The inputs, with one axis of tokens, and offsets that are one more than there are rows."""
    tokens, offsets = Axis("tokens", kind=AxisKind.Time), Axis("offsets", kind=AxisKind.Dimension, min=2)
    found = {}
    for name, port in ports.items():
        if name in _FLAT:
            found[name] = NeuralType((tokens,), port.elements_type, dtype=port.dtype)
        elif name == "batch_lengths":
            found[name] = NeuralType((offsets,), OffsetsType(), dtype="int32")
        else:
            found[name] = port
    return found


def ragged_example(model: Any, example: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The example, with rows of different lengths, and no token that means padding: a row of nothing else has no answer."""
    import torch

    text, (low, high), padding = example["text"], model.export_config["emb_range"], model.fastpitch.encoder.padding_idx
    another = padding + 1 if padding + 1 < high else max(low, padding - 1)
    tokens = text.shape[0]
    ends = [tokens * (2 * row + row * row) // (2 * rows + rows * rows) for row in range(rows + 1)]
    return {**example, "text": text.masked_fill(text == padding, another), "batch_lengths": torch.tensor(ends, dtype=torch.int32)}


def without_loop(model: Any) -> Callable[..., Any]:
    """The model's method for export, with the rows taken out of the flat axis at once: a loop over them is fixed by a trace."""
    return functools.partial(_infer, model.fastpitch)


def _infer(
    fastpitch: Any,
    text: torch.Tensor,
    pitch: torch.Tensor,
    pace: torch.Tensor,
    volume: Any = None,
    batch_lengths: Any = None,
    speaker: Any = None,
) -> Any:
    import torch

    starts, lengths = batch_lengths[:-1].long(), batch_lengths.diff().long()
    steps = torch.arange(lengths.max(), device=text.device)[None]  # a trace takes a tensor for a size
    places = (starts[:, None] + steps).clamp(max=text.shape[0] - 1)
    outside = steps >= lengths[:, None]

    def rows(flat: torch.Tensor, rest: float) -> torch.Tensor:
        return flat[places].masked_fill(outside, rest)

    return fastpitch.infer(
        text=rows(text, fastpitch.encoder.padding_idx),
        pitch=rows(pitch, 1.0),
        pace=rows(pace, 1.0),
        volume=None if volume is None else rows(volume, 1.0),
        speaker=speaker,
    )
