"""The two encoders of the benchmark that torchport does not carry: BERT-like and Conformer-like, with random weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Bert", "Conformer"]


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1, self.heads, x.size(-1) // self.heads).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(~mask[:, None, None, :], -1e4).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class _BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = _SelfAttention(width, heads)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, mask))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Bert(nn.Module):
    """12 layers of width 768 over 30 522 tokens: 109 M parameters, as BERT-base (Devlin et al., 2018).

    Shapes: ids (batch, time) int64, mask (batch, time) bool -> hidden (batch, time, 768).
    """

    def __init__(self, layers: int = 12, width: int = 768, heads: int = 12, tokens: int = 30522, positions: int = 512) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(tokens, width), nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(_BertLayer(width, heads) for _ in range(layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.words(ids) + self.positions(places))
        for layer in self.layers:
            x = layer(x, mask)
        return x


class _FeedForward(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(4 * width, width), nn.Dropout(0.1)
        )


class _RelativeAttention(_SelfAttention):
    """Attention with relative positions, as in Transformer-XL (Dai et al., 2019)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.place = nn.Linear(width, width, bias=False)
        self.u = nn.Parameter(torch.randn(heads, 1, width // heads) * 0.02)
        self.v = nn.Parameter(torch.randn(heads, 1, width // heads) * 0.02)

    def forward(self, x: Tensor, mask: Tensor, places: Tensor) -> Tensor:  # type: ignore[override]
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        p = self.split(self.place(places)[None])
        content = (q + self.u) @ k.transpose(-1, -2)
        position = (q + self.v) @ p.transpose(-1, -2)
        batch, heads, rows, columns = position.size()
        shifted = F.pad(position, (1, 0)).view(batch, heads, -1, rows)[:, :, 1:].view(batch, heads, rows, columns)
        scores = (content + shifted[..., : content.shape[-1]]) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(~mask[:, None, None, :], -1e4).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class _Convolution(nn.Module):
    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into = nn.Conv1d(width, 2 * width, 1)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.batch_norm = nn.BatchNorm1d(width)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = F.glu(self.into(self.norm(x).transpose(1, 2)), dim=1).masked_fill(~mask[:, None], 0.0)
        return self.out(F.silu(self.batch_norm(self.depthwise(y)))).transpose(1, 2)


class _ConformerLayer(nn.Module):
    def __init__(self, width: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.first, self.second = _FeedForward(width), _FeedForward(width)
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _RelativeAttention(width, heads)
        self.convolution = _Convolution(width, kernel)

    def forward(self, x: Tensor, mask: Tensor, places: Tensor) -> Tensor:
        x = x + 0.5 * self.first(x)
        x = x + self.attention(self.attention_norm(x), mask, places)
        x = x + self.convolution(x, mask)
        return self.norm(x + 0.5 * self.second(x))


class Conformer(nn.Module):
    """16 layers of width 256 with relative positions and subsampling by 4 (Gulati et al., 2020): 28 M parameters.

    Shapes: features (batch, 80, time), length (batch,) -> encoded (batch, time / 4, 256), encoded_length (batch,).
    """

    def __init__(self, layers: int = 16, width: int = 256, heads: int = 4, kernel: int = 31, bands: int = 80) -> None:
        super().__init__()
        self.width = width
        self.subsample = nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1, groups=width), nn.Conv2d(width, width, 1), nn.ReLU()
        )
        self.project = nn.Linear(width * (bands // 4), width)
        self.layers = nn.ModuleList(_ConformerLayer(width, heads, kernel) for _ in range(layers))

    def places(self, frames: Tensor) -> Tensor:
        count = frames.shape[0]
        offsets = torch.arange(count - 1, -count, -1, device=frames.device, dtype=frames.dtype)
        rates = torch.exp(torch.arange(0, self.width, 2, device=frames.device, dtype=frames.dtype) * (-math.log(10000.0) / self.width))
        angles = offsets[:, None] * rates
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)

    def forward(self, features: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        x = self.subsample(features.transpose(1, 2).unsqueeze(1))
        x = self.project(x.transpose(1, 2).flatten(2))
        encoded_length = (((length + 1) // 2) + 1) // 2
        mask = torch.arange(x.shape[1], device=x.device)[None] < encoded_length[:, None]
        places = self.places(x[0])
        for layer in self.layers:
            x = layer(x, mask, places)
        return x, encoded_length
