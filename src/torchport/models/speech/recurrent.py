"""The recurrent encoder: fewer frames, then LSTMs with projections, each followed by a normalisation.

After Sak et al., "Long short-term memory recurrent neural network architectures" (https://arxiv.org/abs/1402.1128). The options are those
of NeMo's ``RNNEncoder``.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from torchport.models.speech._base import EncoderPart
from torchport.models.speech._options import Options
from torchport.models.speech._subsampling import ConvolutionalSubsampling, LinearProjection, Stacking

__all__ = ["RecurrentEncoder"]


class RecurrentEncoder(EncoderPart):
    """A recurrent encoder, for inference. Padding runs through it as any frame does.

    Args:
        options: The config's section ``encoder``.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.bands = options.number("feat_in", least=1)
        self.width = options.number("proj_size", least=2)
        self.factor = options.number("subsampling_factor", 4, least=1)
        self.pre_encode = _subsampling(options, self.bands, self.width, self.factor)
        if isinstance(self.pre_encode, LinearProjection):
            self.factor = 1
        hidden, both = options.number("d_model", least=1), options.flag("bidirectional", True)
        options.only("rnn_type", "lstm")
        layers: list[nn.Module] = []
        for _ in range(options.count("n_layers")):
            inner = self.width // 2 if both else self.width
            layers.append(nn.LSTM(self.width, hidden, batch_first=True, bidirectional=both, proj_size=inner))
            layers += [nn.LayerNorm(self.width), nn.Identity()]  # dropout has a place among the names
        self.layers = nn.ModuleList(layers)
        options.without_effect("dropout")
        options.done()

    def forward(self, audio_signal: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes.

        Args:
            audio_signal: Features, ``(batch, band, time)``.
            length: Frames of each row, int64 ``(batch,)``.

        Returns:
            Encoded frames ``(batch, width, time)``, and how many each row has, int64 ``(batch,)``.
        """
        x, lengths = self.pre_encode(audio_signal.transpose(1, 2), length)
        for layer in self.layers:
            after = layer(x)
            x = after[0] if isinstance(after, tuple) else after  # an LSTM, or what stands in its place, gives states too
        return x.transpose(1, 2), lengths


def _subsampling(options: Options, bands: int, width: int, factor: int) -> nn.Module:
    kind, channels = options.raw("subsampling", "striding"), options.number("subsampling_conv_channels", -1)
    if not kind or factor == 1:
        return LinearProjection(bands, width)
    name = Options({"subsampling": kind}, options.where).text("subsampling", among=("striding", "dw_striding", "stacking", "stacking_norm"))
    if name.startswith("stacking"):
        return Stacking(bands, width, factor, norm=name == "stacking_norm")
    Options({"subsampling_factor": factor}, options.where).only("subsampling_factor", 2, 4, 8, 16, 32)
    halvings = int(math.log2(factor))
    return ConvolutionalSubsampling(
        bands, width, channels if channels != -1 else width, halvings, depthwise=name == "dw_striding", causal=False
    )
