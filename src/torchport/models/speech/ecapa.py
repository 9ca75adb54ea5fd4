"""The ECAPA encoder of speaker models: convolutions in groups, each scaled by what the row as a whole says.

After Desplanques et al., "ECAPA-TDNN" (https://arxiv.org/abs/2005.07143), in the plainer form of Dawalatabad et al.
(https://arxiv.org/abs/2104.01466), which is NeMo's ``ECAPAEncoder``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchport.models.speech._base import EncoderPart
from torchport.models.speech._masks import inside
from torchport.models.speech._options import Options
from torchport.models.speech._tdnn import TimeDelay

__all__ = ["EcapaEncoder"]

_INNER = 128
"""Numbers in between, of a scale."""


class _Scale(nn.Module):
    """Scales each channel by what the means of all channels over the row say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = (nn.Conv1d(channels, _INNER, 1), nn.ReLU(), nn.BatchNorm1d(_INNER))
        self.se_layer = nn.Sequential(*squeezed, nn.Conv1d(_INNER, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor, within: Tensor) -> Tensor:
        mean = (x * within).sum(dim=2, keepdim=True) / within.sum(dim=2, keepdim=True)
        answer: Tensor = self.se_layer(mean) * x
        return answer


class _Groups(nn.Module):
    """A convolution in groups between two over channels, scaled, and added to its input."""

    def __init__(self, channels_in: int, channels: int, groups: int, kernel: int, dilation: int) -> None:
        super().__init__()
        around = dilation * (kernel - 1) // 2
        self.group_tdnn_block = nn.Sequential(
            TimeDelay(channels_in, channels),
            nn.Conv1d(channels, channels, kernel, padding=around, dilation=dilation, groups=groups),
            nn.ReLU(),
            nn.BatchNorm1d(channels),
            TimeDelay(channels, channels),
        )
        self.se_layer = _Scale(channels)

    def forward(self, x: Tensor, within: Tensor) -> Tensor:
        answer: Tensor = self.se_layer(self.group_tdnn_block(x), within) + x
        return answer


class EcapaEncoder(EncoderPart):
    """An ECAPA encoder, for inference.

    Args:
        options: The config's section ``encoder``.
    """

    factor = 0  # as many frames come out as go in; NeMo states none

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.bands = options.number("feat_in", least=1)
        widths, kernels, dilations = (options.numbers(name) for name in ("filters", "kernel_sizes", "dilations"))
        groups = options.number("scale", 8, least=1)
        options.without_effect("init_mode")
        options.done()
        middle = list(zip(widths[:-2], widths[1:-1], kernels[1:-1], dilations[1:-1], strict=True))
        layers: list[nn.Module] = [TimeDelay(self.bands, widths[0], kernels[0], dilations[0])]
        layers += [_Groups(before, after, groups, kernel, dilation) for before, after, kernel, dilation in middle]
        self.layers = nn.ModuleList(layers)
        self.width = widths[-1]
        self.feature_agg = TimeDelay(self.width, self.width, kernels[-1], dilations[-1])

    def forward(self, audio_signal: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes.

        Args:
            audio_signal: Features, ``(batch, band, time)``.
            length: Frames of each row, int64 ``(batch,)``.

        Returns:
            Encoded frames ``(batch, channel, time)``, and ``length``.
        """
        within = inside(length, audio_signal.size(2)).unsqueeze(1).to(audio_signal.dtype)
        first, *others = self.layers
        x, outputs = first(audio_signal), []
        for layer in others:
            x = layer(x, within)
            outputs.append(x)
        return self.feature_agg(torch.cat(outputs, dim=1)), length
