"""Convolutions over ragged rows: padding is set to zero before each, and the lengths follow the strides.

After Kriman et al., "QuartzNet" (https://arxiv.org/abs/1910.10261), and, for the gate, Hu et al. (https://arxiv.org/abs/1709.01507).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchport.models.speech._masks import inside

__all__ = ["Gate", "MaskedConvolution", "Rows"]


@dataclass(frozen=True)
class Rows:
    """How far the rows of a batch reach.

    Attributes:
        lengths: Frames of each row, int64 ``(batch,)``.
        mask: One where a frame counts, else zero, ``(batch, 1, time)``.
    """

    lengths: Tensor
    mask: Tensor

    @classmethod
    def of(cls, lengths: Tensor, like: Tensor) -> Rows:
        """The rows of ``like``, ``(batch, channel, time)``."""
        return cls(lengths, inside(lengths, like.size(2)).unsqueeze(1).to(like.dtype))


class MaskedConvolution(nn.Module):
    """A convolution that sees zeros where a row has ended.

    Args:
        channels_in: Channels of the input.
        channels: Channels of the output.
        kernel: Frames that it sees.
        stride: Frames from one output to the next.
        dilation: Frames from one that it sees to the next.
        padding: Frames of zeros on both sides, or before and after.
        groups: As for any convolution.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.sides = padding if isinstance(padding, tuple) else None
        around = 0 if isinstance(padding, tuple) else padding
        self.conv = nn.Conv1d(channels_in, channels, kernel, stride, around, dilation, groups, bias=False)
        self.lost = dilation * (kernel - 1) - (sum(padding) if isinstance(padding, tuple) else 2 * padding)
        self.stride = stride

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
        """``(batch, channel, time)`` and its rows to the same."""
        x = x * rows.mask
        if self.sides is not None:
            x = F.pad(x, self.sides)
        x = self.conv(x)
        if self.stride == 1 and self.lost == 0:
            return x, rows
        return x, Rows.of(torch.div(rows.lengths - self.lost - 1, self.stride, rounding_mode="trunc") + 1, x)


class Gate(nn.Module):
    """Squeeze and excitation: each channel is scaled by what the means of all channels over the whole row say.

    Args:
        channels: Channels.
        reduction: How many times fewer numbers there are in between.
        activation: In between.
    """

    def __init__(self, channels: int, reduction: int, activation: nn.Module) -> None:
        super().__init__()
        inner = channels // reduction
        self.fc = nn.Sequential(nn.Linear(channels, inner, bias=False), activation, nn.Linear(inner, channels, bias=False))

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
        """``(batch, channel, time)`` and its rows to the same; the padding becomes zero."""
        x = x * rows.mask
        mean = x.sum(dim=2) / rows.mask.sum(dim=2)
        return x * self.fc(mean).sigmoid().unsqueeze(2), rows
