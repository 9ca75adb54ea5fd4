"""Layers that speaker models share: a convolution with its norm last, and the pooling of frames into one vector.

After Desplanques et al., "ECAPA-TDNN" (https://arxiv.org/abs/2005.07143), and Snyder et al., "X-Vectors"
(https://doi.org/10.1109/ICASSP.2018.8461375).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchport.models.speech._masks import inside

__all__ = ["AttentivePooling", "StatisticsPooling", "TimeDelay"]

_LEAST = 1e-10


class TimeDelay(nn.Module):
    """A convolution that keeps the number of frames, then ReLU, then a batch norm.

    Args:
        channels_in: Channels of the input.
        channels: Channels of the output.
        kernel: Frames that it sees.
        dilation: Frames from one that it sees to the next.
    """

    def __init__(self, channels_in: int, channels: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv_layer = nn.Conv1d(channels_in, channels, kernel, padding=dilation * (kernel - 1) // 2, dilation=dilation)
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channel, time)`` to the same."""
        answer: Tensor = self.bn(self.conv_layer(x).relu())
        return answer


class StatisticsPooling(nn.Module):
    """The mean of the frames of each row, and their deviation where it is asked for.

    Args:
        channels: Channels of a frame.
        deviation: Whether the deviation is given too.

    Attributes:
        width: Numbers of the vector.
    """

    def __init__(self, channels: int, *, deviation: bool) -> None:
        super().__init__()
        self.deviation = deviation
        self.width = 2 * channels if deviation else channels

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``(batch, channel, time)`` to ``(batch, width)``."""
        within = inside(lengths, x.size(2)).unsqueeze(1)
        count = lengths.unsqueeze(1).to(x.dtype)
        means = x.masked_fill(~within, 0.0).sum(dim=2) / count
        if not self.deviation:
            return means
        squares = (x - means.unsqueeze(2)).masked_fill(~within, 0.0).square().sum(dim=2)
        return torch.cat((means, (squares / (count - 1)).clamp(min=_LEAST).sqrt()), dim=1)


class AttentivePooling(nn.Module):
    """Mean and deviation of the frames of each row, weighed by channel as what the plain ones say.

    Args:
        channels: Channels of a frame.
        inner: Channels of the attention.

    Attributes:
        width: Numbers of the vector.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.width = 2 * channels
        self.attention_layer = nn.Sequential(TimeDelay(3 * channels, inner), nn.Tanh(), nn.Conv1d(inner, channels, 1))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``(batch, channel, time)`` to ``(batch, width, 1)``."""
        within = inside(lengths, x.size(2)).unsqueeze(1)
        count = within.sum(dim=2, keepdim=True)
        mean, deviation = _weighed(x, within.to(x.dtype) / count)
        seen = torch.cat((x, mean.unsqueeze(2).expand_as(x), deviation.unsqueeze(2).expand_as(x)), dim=1)
        weights = self.attention_layer(seen).masked_fill(~within, float("-inf")).softmax(dim=2)
        return torch.cat(_weighed(x, weights), dim=1).unsqueeze(2)


def _weighed(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over time, ``(batch, channel)`` each."""
    mean = (weights * x).sum(dim=2)
    return mean, (weights * (x - mean.unsqueeze(2)).square()).sum(dim=2).clamp(min=_LEAST).sqrt()
