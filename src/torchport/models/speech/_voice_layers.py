"""The layers of NeMo's FastPitch: transformers over tokens and frames, and predictors of one number a token.

After Łańcucki, "FastPitch" (https://arxiv.org/abs/2006.06873).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchport.models.speech._embedding import embedding
from torchport.models.speech._options import Options

__all__ = ["FeedForwardTransformer", "Predictor", "added"]

_TRAINING = ("dropout", "dropatt", "dropemb")


def added(options: Options) -> bool:
    """Whether the voice is added to the input, as the section's ``condition_types`` say."""
    kinds = options.raw("condition_types") or []
    if kinds not in ([], ["add"]):
        Options({"condition_types": kinds}, options.where).only("condition_types", [], ["add"])
    return kinds == ["add"]


class _Positions(nn.Module):
    """Codes of positions, sines then cosines."""

    inv_freq: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        # Computed on the CPU: on the device meta, where weights are held against the model first, it loads torch's compiler (a second).
        rates = 1 / (10000 ** (torch.arange(0.0, width, 2.0, device="cpu") / width))
        self.register_buffer("inv_freq", rates.to(torch.get_default_device()))

    def forward(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.size(1), device=x.device).to(x.dtype).unsqueeze(1) * self.inv_freq
        return torch.cat((angle.sin(), angle.cos()), dim=1)


class _Attention(nn.Module):
    """Attention to what is no padding, added to its input and normalised."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.qkv_net = nn.Linear(width, 3 * heads * size)
        self.o_net = nn.Linear(heads * size, width, bias=False)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, within: Tensor) -> Tensor:
        queries, keys, values = (self._split(one) for one in self.qkv_net(x).chunk(3, dim=2))
        scores = torch.matmul(queries, keys.transpose(2, 3)) * self.size**-0.5
        # The least number instead of minus infinity: a row that is all padding gives numbers, which nobody reads, and no NaN.
        scores = scores.masked_fill(~within.unsqueeze(1).unsqueeze(1), torch.finfo(x.dtype).min)
        mixed = torch.matmul(scores.softmax(dim=3), values).transpose(1, 2).flatten(2)
        answer: Tensor = self.layer_norm(x + self.o_net(mixed))
        return answer

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), self.heads, self.size).transpose(1, 2)


class _Convolutions(nn.Module):
    """Two convolutions, added to their input and normalised."""

    def __init__(self, width: int, inner: int, kernel: int) -> None:
        super().__init__()
        around = kernel // 2
        first, second = nn.Conv1d(width, inner, kernel, padding=around), nn.Conv1d(inner, width, kernel, padding=around)
        self.CoreNet = nn.Sequential(first, nn.ReLU(), second)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer_norm(x + self.CoreNet(x.transpose(1, 2)).transpose(1, 2))
        return answer


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, size: int, inner: int, kernel: int) -> None:
        super().__init__()
        self.dec_attn = _Attention(width, heads, size)
        self.pos_ff = _Convolutions(width, inner, kernel)

    def forward(self, x: Tensor, within: Tensor) -> Tensor:
        kept = within.unsqueeze(2).to(x.dtype)
        answer: Tensor = self.pos_ff(self.dec_attn(x, within) * kept) * kept
        return answer


class FeedForwardTransformer(nn.Module):
    """A transformer over tokens, which it embeds, or over frames.

    Args:
        options: The config's section ``input_fft`` or ``output_fft``.
        voiced: Whether the voice is added to the input, whatever the section says.
        embeds: Whether it takes tokens.

    Attributes:
        width: Numbers of a token or frame.
        padding: The token that is none; of a transformer that embeds.
        tokens: How many tokens there are.
    """

    def __init__(self, options: Options, *, voiced: bool, embeds: bool) -> None:
        super().__init__()
        self.width, heads = options.number("d_model", least=1), options.number("n_head", least=1)
        size, inner = options.number("d_head", least=1), options.number("d_inner", least=1)
        kernel = options.number("kernel_size", least=1)
        self.voiced = added(options) or voiced
        self.pos_emb = _Positions(self.width)
        self.layers = nn.ModuleList(_Layer(self.width, heads, size, inner, kernel) for _ in range(options.count("n_layer")))
        if embeds:
            self.tokens, self.padding = options.number("n_embed", least=1), options.number("padding_idx", least=0)
            options.only("d_embed", None, self.width)
            self.word_emb = embedding(self.tokens, self.width, self.padding)
        options.only("pre_lnorm", False)
        options.without_effect(*_TRAINING)
        options.done()

    def forward(self, x: Tensor, within: Tensor, voice: Tensor | None) -> Tensor:
        """``(batch, time, width)`` to the same, zero in the padding; ``voice`` is ``(batch, 1, width)``."""
        x = x + self.pos_emb(x) * within.unsqueeze(2).to(x.dtype)
        if self.voiced and voice is not None:
            x = x + voice
        for layer in self.layers:
            x = layer(x, within)
        return x


class _Rectified(nn.Module):
    def __init__(self, channels_in: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, kernel, padding=kernel // 2)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.norm(self.conv(x.transpose(1, 2)).relu().transpose(1, 2))
        return answer


class Predictor(nn.Module):
    """Predicts one number a token: convolutions with ReLU and layer norm, then a linear layer.

    Args:
        options: The config's section.
        width: Numbers of a token, which the section repeats.
        voiced: Whether the voice is added to the input, whatever the section says.
    """

    def __init__(self, options: Options, width: int, *, voiced: bool) -> None:
        super().__init__()
        options.only("input_size", width)
        inner, kernel = options.number("filter_size", least=1), options.number("kernel_size", least=1)
        count = options.count("n_layers", 2)
        self.voiced = added(options) or voiced
        options.without_effect(*_TRAINING)
        options.done()
        self.layers = nn.ModuleList(_Rectified(inner if place else width, inner, kernel) for place in range(count))
        self.fc = nn.Linear(inner, 1)

    def forward(self, x: Tensor, within: Tensor, voice: Tensor | None) -> Tensor:
        """``(batch, token, width)`` to ``(batch, token)``, zero in the padding."""
        kept = within.unsqueeze(2).to(x.dtype)
        x = (x + voice if self.voiced and voice is not None else x) * kept
        for layer in self.layers:
            x = layer(x)
        answer: Tensor = (self.fc(x) * kept).squeeze(2)
        return answer
