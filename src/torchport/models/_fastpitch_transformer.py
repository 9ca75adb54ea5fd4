"""The feed-forward transformer of FastPitch: self-attention, then two convolutions, with nothing leaking out of the padding.

After Łańcucki, "FastPitch: Parallel Text-to-speech with Pitch Prediction" (https://arxiv.org/abs/2006.06873), section 2. Everything here
is written so that a tracer sees sizes as values: no size becomes a Python number, positions are computed rather than looked up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FeedForwardTransformer", "SinusoidalPositions", "length_mask"]

_MASKED = -30000.0
"""The score of a masked key: its softmax weight is exactly 0 in every float type, and a row without a single key stays finite."""


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Which places of a padded batch are valid.

    Args:
        lengths: Valid places of each row, ``(batch,)``.
        size: Places of the padded batch.

    Returns:
        Booleans, ``(batch, size)``.

    Example:
        >>> length_mask(torch.tensor([1, 2]), 2).tolist()
        [[True, False], [True, True]]
    """
    places = torch.arange(size, device=lengths.device)
    return places.unsqueeze(0) < lengths.unsqueeze(1)


class SinusoidalPositions(nn.Module):
    """Adds sinusoidal positions, computed for whatever length comes: there is no table to run out of.

    Args:
        channels: Channels, an even number.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rates: Tensor  # declared here: TorchScript does not read a class's postponed annotations
        exponents = torch.arange(0, channels, 2, dtype=torch.float64) / channels
        self.register_buffer("rates", (10000.0**-exponents).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Adds positions to ``x`` ``(batch, time, channels)``."""
        places = torch.arange(x.size(1), device=x.device).to(self.rates.dtype)
        angles = places.unsqueeze(1) * self.rates.unsqueeze(0)
        return x + torch.cat((angles.sin(), angles.cos()), dim=1).unsqueeze(0)


class SelfAttention(nn.Module):
    """Multi-head self-attention over the valid places of each row.

    Written with plain products and a softmax: the fused operator of torch has no ONNX form below opset 14.

    Args:
        channels: Channels in and out.
        heads: Number of heads.
        head_channels: Channels of each head.
        dropout: Dropout of the weights and of the output.
    """

    def __init__(self, channels: int, heads: int, head_channels: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.head_channels = head_channels
        self.scale = head_channels**-0.5
        self.masked_score = _MASKED
        self.qkv = nn.Linear(channels, 3 * heads * head_channels)
        self.out = nn.Linear(heads * head_channels, channels, bias=False)
        self.dropout = nn.Dropout(dropout)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), self.heads, self.head_channels).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attends.

        Args:
            x: Input, ``(batch, time, channels)``.
            mask: Valid places, booleans ``(batch, time)``.
        """
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        scores = torch.matmul(self._split(query) * self.scale, self._split(key).transpose(2, 3))
        scores = scores.masked_fill(mask.logical_not().unsqueeze(1).unsqueeze(1), self.masked_score)
        weights = self.dropout(scores.softmax(dim=-1))
        mixed = torch.matmul(weights, self._split(value)).transpose(1, 2)
        mixed = mixed.reshape(x.size(0), x.size(1), self.heads * self.head_channels)
        y: Tensor = self.dropout(self.out(mixed))
        return y


class ConvolutionalFeedForward(nn.Module):
    """Two convolutions over time with a ReLU between them.

    The hidden frames of the padding are zeroed too: else the second convolution would read, at a row's end, what the first one made
    of the padding, and the same text would sound different in a longer batch.

    Args:
        channels: Channels in and out.
        hidden: Channels between the convolutions.
        kernel: Kernel size, an odd number.
        dropout: Dropout of the output.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.widen = nn.Conv1d(channels, hidden, kernel, padding=kernel // 2)
        self.narrow = nn.Conv1d(hidden, channels, kernel, padding=kernel // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Convolves.

        Args:
            x: Input, zero in the padding, ``(batch, time, channels)``.
            valid: 1 at valid places, else 0, ``(batch, time, 1)``.
        """
        hidden = self.widen(x.transpose(1, 2)).relu() * valid.transpose(1, 2)
        y: Tensor = self.dropout(self.narrow(hidden).transpose(1, 2))
        return y


class TransformerLayer(nn.Module):
    """One layer: attention and convolutions, each with its residual and a layer norm after it."""

    def __init__(self, channels: int, heads: int, head_channels: int, hidden: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(channels, heads, head_channels, dropout)
        self.attention_norm = nn.LayerNorm(channels)
        self.feed_forward = ConvolutionalFeedForward(channels, hidden, kernel, dropout)
        self.feed_forward_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """One layer; the padding of its output is zero."""
        x = self.attention_norm(x + self.attention(x, mask)) * valid
        x = self.feed_forward_norm(x + self.feed_forward(x, valid)) * valid
        return x


class FeedForwardTransformer(nn.Module):
    """Layers over a padded batch; the encoder and the decoder of FastPitch are one each.

    Args:
        layers: Number of layers.
        channels: Channels in and out, an even number.
        heads: Attention heads.
        head_channels: Channels of each head.
        hidden: Channels between the two convolutions.
        kernel: Kernel size of the convolutions, an odd number.
        dropout: Dropout while training.
    """

    def __init__(self, *, layers: int, channels: int, heads: int, head_channels: int, hidden: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.positions = SinusoidalPositions(channels)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(TransformerLayer(channels, heads, head_channels, hidden, kernel, dropout) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Runs the layers.

        Args:
            x: Input, ``(batch, time, channels)``.
            mask: Valid places, booleans ``(batch, time)``.

        Returns:
            The output, zero in the padding, ``(batch, time, channels)``.
        """
        valid = mask.unsqueeze(2).to(x.dtype)
        x = self.dropout(self.positions(x)) * valid
        for layer in self.layers:
            x = layer(x, mask, valid)
        return x
