"""Fewer frames before the layers of an encoder: convolutions with strides, masked between, or frames stacked on each other.

After Dong et al., "Speech-Transformer" (https://ieeexplore.ieee.org/document/8462506) and, depthwise, Rekesh et al., "Fast Conformer"
(https://arxiv.org/abs/2305.05084).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchport.models.speech._masks import inside

__all__ = ["ConvolutionalSubsampling", "LinearProjection", "Reduction", "Stacking", "Strided"]

_KERNEL, _STRIDE = 3, 2


class Strided(nn.Conv2d):
    """A convolution over time and bands that halves both; a causal one looks back only.

    Args:
        channels_in: Channels of the input.
        channels: Channels of the output.
        causal: Zeros are added before and one after, instead of one on each side.
        groups: As for any convolution.
    """

    def __init__(self, channels_in: int, channels: int, *, causal: bool, groups: int = 1) -> None:
        super().__init__(channels_in, channels, _KERNEL, stride=_STRIDE, padding=0 if causal else 1, groups=groups)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channel, time, band)`` with half the frames and bands."""
        return super().forward(F.pad(x, (2, 1, 2, 1)) if self.causal else x)

    def size_after(self, size: Tensor | int) -> Tensor | int:
        """How many of ``size`` frames or bands are left."""
        both = 3 if self.causal else 2
        if isinstance(size, int):
            return (size + both - _KERNEL) // _STRIDE + 1
        return torch.div(size + both - _KERNEL + _STRIDE, _STRIDE, rounding_mode="trunc")  # none of it is below zero


class ConvolutionalSubsampling(nn.Module):
    """Halves the frames several times, then projects what the bands have become.

    Args:
        bands: Bands of a frame.
        width: Numbers of a frame afterwards.
        channels: Channels of the convolutions.
        halvings: How many times.
        depthwise: All but the first work on each channel alone, and are followed by one over channels.
        causal: No convolution looks ahead.
    """

    def __init__(self, bands: int, width: int, channels: int, halvings: int, *, depthwise: bool, causal: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [Strided(1, channels, causal=causal), nn.ReLU()]
        for _ in range(halvings - 1):
            layers.append(Strided(channels, channels, causal=causal, groups=channels if depthwise else 1))
            layers += [nn.Conv2d(channels, channels, 1)] if depthwise else []
            layers.append(nn.ReLU())
        self.conv = nn.Sequential(*layers)
        left: Tensor | int = bands
        for layer in layers:
            left = layer.size_after(left) if isinstance(layer, Strided) else left
        self.out = nn.Linear(channels * int(left), width)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Subsamples ``x`` ``(batch, time, band)``; padding is set to zero wherever a convolution would see it."""
        x = x.unsqueeze(1)
        for layer in self.conv:
            if isinstance(layer, Strided):
                x = layer(_kept(x, lengths))
                lengths = layer.size_after(lengths)  # type: ignore[assignment]  # a tensor in, a tensor out
            else:
                x = layer(x)
        x = _kept(x, lengths)
        return self.out(x.transpose(1, 2).flatten(2)), lengths


def _kept(x: Tensor, lengths: Tensor) -> Tensor:
    return x * inside(lengths, x.size(2)).unsqueeze(1).unsqueeze(3).to(x.dtype)


class Stacking(nn.Module):
    """Puts neighbouring frames into one; the last is filled up with zeros.

    Args:
        bands: Bands of a frame.
        width: Numbers of a frame afterwards.
        factor: How many become one.
        norm: Whether frames are normalised first.
    """

    def __init__(self, bands: int, width: int, factor: int, *, norm: bool) -> None:
        super().__init__()
        self.factor = factor
        self.proj_out = nn.Linear(factor * bands, width)
        self.pre_norm = nn.LayerNorm(bands) if norm else None

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Stacks ``x`` ``(batch, time, band)``; lengths count the filled-up frame where the batch's own end falls into it."""
        short = (self.factor - x.size(1) % self.factor) % self.factor
        x = F.pad(x, (0, 0, 0, short))
        if self.pre_norm is not None:
            x = self.pre_norm(x)
        x = x.reshape(x.size(0), -1, self.factor * x.size(2))
        return self.proj_out(x), torch.div(lengths + short, self.factor, rounding_mode="trunc")


class Reduction(nn.Module):
    """Fewer frames between the layers of an encoder: the greatest of each few, or convolutions with strides.

    Args:
        width: Numbers of a frame.
        factor: How many become one.
        pooled: The greatest is taken, instead of convolutions.
    """

    def __init__(self, width: int, factor: int, *, pooled: bool) -> None:
        super().__init__()
        self.factor = factor
        self.pooled = pooled
        halvings = int(math.log2(factor))
        self.halvings = halvings
        self.reduction_enc: nn.Module = (
            nn.MaxPool1d(factor) if pooled else ConvolutionalSubsampling(width, width, width, halvings, depthwise=False, causal=False)
        )

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Reduces ``x`` ``(batch, time, width)``."""
        if not self.pooled:
            reduced: tuple[Tensor, Tensor] = self.reduction_enc(x, lengths)
            return reduced
        for _ in range(self.halvings):  # NeMo divides the lengths by the factor for each halving: as many frames count as there
            lengths = torch.div(lengths, self.factor, rounding_mode="floor")
        return self.reduction_enc(x.transpose(1, 2)).transpose(1, 2), lengths


class LinearProjection(nn.Linear):
    """No subsampling: each frame is projected."""

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # lengths go through
        """Projects ``x`` ``(batch, time, band)``."""
        return super().forward(x), lengths
