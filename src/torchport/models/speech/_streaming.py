"""How a Conformer encoder takes its input in chunks: how they are cut, and the caches that go from one to the next.

After Noroozi et al., "Stateful Conformer with Cache-based Inference for Streaming Automatic Speech Recognition"
(https://arxiv.org/abs/2312.17279).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torchport.errors import HookError
from torchport.models.speech._masks import Context
from torchport.models.speech._states import CacheLength
from torchport.ports import AxisKind, AxisType, NeuralType
from torchport.ports.elements import ChannelType

__all__ = ["Streaming", "cannot_stream"]

_ALL_BEFORE = 10000
"""Rows of the cache of an encoder that sees everything before a frame."""


def cannot_stream(expected: str) -> HookError:
    """The refusal of an encoder that takes no chunks."""
    return HookError("the encoder takes no chunks", where="export_config.cache_support", expected=expected)


@dataclass(frozen=True)
class Streaming:
    """How chunks are cut, in frames of features, and the sizes of the caches.

    Attributes:
        chunk: Frames of a chunk.
        shift: From one chunk to the next.
        before: Frames before the chunk that are given again; none before a first chunk.
        dropped: Encoded frames that those make, which go.
        valid: Encoded frames of a chunk that are final.
        repeated: Encoded frames at the end that come again in the next chunk.
        rows: Encoded frames that attention remembers.
        layers: Layers of the encoder.
        width: Numbers of a frame in them.
        remembered: Frames that a convolution remembers.
    """

    chunk: int
    shift: int
    before: int
    dropped: int
    valid: int
    repeated: int
    rows: int
    layers: int
    width: int
    remembered: int

    @classmethod
    def of(
        cls, context: Context, layers: int, width: int, sides: tuple[int, int], factor: int, *, overlapping: bool, first: bool
    ) -> Streaming:
        """What follows from an encoder's reach.

        Args:
            context: How far its attention reaches.
            layers: How many layers it has.
            width: Numbers of a frame in them.
            sides: How far its convolutions reach, before and after.
            factor: Frames of features for one encoded frame.
            overlapping: Whether an encoded frame is made of frames before its own too.
            first: Whether it is the first chunk.

        Raises:
            HookError: It sees everything ahead.
        """
        if context.right < 0:
            raise cannot_stream("att_context_size with an end ahead")
        ahead = context.right if context.chunked else layers * (context.right + sides[1])
        repeated = 0 if context.chunked else ahead
        start = 1 if overlapping and first else factor  # the very first encoded frame is made of one frame and zeros
        before, dropped = (factor + 1, 2) if overlapping and not first else (0, 0)
        rows = context.left if context.left >= 0 else _ALL_BEFORE
        shift = start + factor * (ahead - repeated)
        return cls(start + factor * ahead, shift, before, dropped, 1 + ahead - repeated, repeated, rows, layers, width, sides[0])

    @property
    def frames(self) -> int:
        """Frames of features that are given for a chunk."""
        return self.chunk + self.before

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """The caches before a chunk."""
        return dict(zip(("cache_last_channel", "cache_last_time", "cache_last_channel_len"), self._types(), strict=True))

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """The caches after it."""
        names = ("cache_last_channel_next", "cache_last_time_next", "cache_last_channel_next_len")
        return dict(zip(names, self._types(), strict=True))

    def first(self, batch: int) -> dict[str, Tensor]:
        """The caches before the first chunk."""
        attended = torch.zeros(batch, self.layers, self.rows, self.width)
        convolved = torch.zeros(batch, self.layers, self.width, self.remembered)
        return dict(zip(self.input_types, (attended, convolved, torch.zeros(batch, dtype=torch.int64)), strict=True))

    def example(self, batch: int) -> dict[str, Tensor]:
        """Caches that matter, from full ones to empty ones, the same at every call."""
        generator = torch.Generator().manual_seed(1)
        made = {name: 0.5 * torch.randn(one.shape, generator=generator) for name, one in self.first(batch).items() if one.dim() == 4}
        filled = torch.tensor([self.rows - row * self.rows // max(1, batch - 1) for row in range(batch)])
        return {**made, "cache_last_channel_len": filled}

    def _types(self) -> tuple[NeuralType, NeuralType, NeuralType]:
        layers, rows, width, remembered = (
            AxisType(AxisKind.Dimension, size) for size in (self.layers, self.rows, self.width, self.remembered)
        )
        attended = NeuralType((AxisKind.Batch, layers, rows, width), ChannelType())
        convolved = NeuralType((AxisKind.Batch, layers, width, remembered), ChannelType())
        return attended, convolved, NeuralType(("B",), CacheLength(self.rows))
