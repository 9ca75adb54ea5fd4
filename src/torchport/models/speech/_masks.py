"""Which frames count, and which frames see which: masks made of the sizes at hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torchport.models.speech._options import Options

__all__ = ["Context", "inside", "read_context"]

_MOST_FRAMES = 100_000
"""No model looks farther; caches and windows are made of it before a weight says anything."""


def inside(lengths: Tensor, steps: int) -> Tensor:
    """Booleans ``(batch, time)``: true for the first ``lengths`` frames of each row."""
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)


@dataclass(frozen=True)
class Context:
    """How far attention reaches.

    Attributes:
        left: Frames before, -1 for all.
        right: Frames after, -1 for all.
        chunked: Frames see the whole of their own chunk of ``right + 1`` frames, and whole chunks before it.
    """

    left: int = -1
    right: int = -1
    chunked: bool = False

    def seen(self, steps: int, device: torch.device) -> Tensor | None:
        """Booleans ``(time, time)``: which frame, by row, sees which, by column. ``None``: each sees all."""
        place = torch.arange(steps, device=device)
        left, right = self.left, self.right
        if self.chunked and right >= 0:
            place = torch.div(place, right + 1, rounding_mode="trunc")
            left, right = (left // (right + 1) if left >= 0 else -1), 0
        elif self.chunked:
            right = -1
        behind = place.unsqueeze(1) - place.unsqueeze(0)
        seen = behind <= left if left >= 0 else None
        if right >= 0:
            seen = behind >= -right if seen is None else seen & (behind >= -right)
        return seen


def read_context(options: Options) -> Context:
    """Reads ``att_context_size`` and ``att_context_style``; of several sizes the first serves inference."""
    style = options.text("att_context_style", "regular", among=("regular", "chunked_limited"))
    sizes = options.raw("att_context_size") or [-1, -1]
    if isinstance(sizes, list) and sizes and isinstance(sizes[0], list):
        sizes = sizes[0]
    pair = Options({"left": sizes[0], "right": sizes[1]} if isinstance(sizes, list) and len(sizes) == 2 else {}, "encoder.att_context_size")
    context = Context(
        pair.number("left", least=-1, most=_MOST_FRAMES), pair.number("right", least=-1, most=_MOST_FRAMES), style == "chunked_limited"
    )
    options.without_effect("att_context_probs")
    return context
