"""Ordinary models that are right, declared as people declare them: each is proved through ONNX, over the whole range that it takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchport


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 3, 2, 1, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 3, 2, 1, 1), nn.Sigmoid())

    def forward(self, x):
        return self.up(self.down(x))


class Detector(nn.Module):
    """The ten best boxes of all places, with their scores and labels."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.scores, self.boxes = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 4, 1)

    def forward(self, image):
        features = self.body(image)
        best, labels = self.scores(features).flatten(2).sigmoid().max(1)
        scores, places = best.topk(10, dim=1)
        boxes = self.boxes(features).flatten(2).transpose(1, 2)
        return boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4)), scores, labels.gather(1, places)


class Regions(nn.Module):
    """A few samples of each box of each image."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, image, boxes):
        line = torch.linspace(-1, 1, 4)
        grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
        centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
        places = grid * half[:, :, None, None] + centre[:, :, None, None]
        batch, count = boxes.shape[:2]
        taken = F.grid_sample(self.conv(image), places.reshape(batch, count * 4, 4, 2), align_corners=False)
        return taken.reshape(batch, 8, count, 16).transpose(1, 2)


class Cached(nn.Module):
    """One step of a decoder with rotary positions, over the keys and values of the steps before."""

    def __init__(self):
        super().__init__()
        self.embedding, self.qkv = nn.Embedding(40, 16), nn.Linear(16, 48)

    def forward(self, ids, past_k, past_v):
        x = self.embedding(ids)
        q, k, v = self.qkv(x).view(x.shape[0], x.shape[1], 3, 4, 4).permute(2, 0, 3, 1, 4)
        angles = torch.outer(torch.arange(past_k.shape[2], past_k.shape[2] + x.shape[1]).float(), torch.tensor([1.0, 0.01]))
        turn = torch.cat([angles, angles], -1)
        q, k = (one * turn.cos() + torch.cat([-one[..., 2:], one[..., :2]], -1) * turn.sin() for one in (q, k))
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        weights = (q @ k.transpose(-1, -2) / 2).masked_fill(~seen, float("-inf")).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2), k, v


class Reversible(nn.Module):
    """A forecast of what was normalised, put back to where it was."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(48, 12)

    def forward(self, x):
        mean, deviation = x.mean(1, keepdim=True), torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)
        return self.linear(((x - mean) / deviation).transpose(1, 2)).transpose(1, 2) * deviation + mean


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(50, 8, mode="sum")

    def forward(self, text, offsets):
        return self.bag(text, offsets)


class Experts(nn.Module):
    """Two of four experts for each step, all of them computed."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(8, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.RMSNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(4))

    def forward(self, x):
        shares = self.gate(x).softmax(-1)
        best, places = shares.topk(2, -1)
        shares = torch.zeros_like(shares).scatter(-1, places, best / best.sum(-1, keepdim=True))
        return (torch.stack([expert(x) for expert in self.experts], -2) * shares.unsqueeze(-1)).sum(-2)


class Conformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.sub = nn.Conv1d(20, 16, 3, 2, 1)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.conv, self.ctc = nn.Conv1d(16, 32, 5, padding=2), nn.Linear(16, 11)

    def forward(self, features, lengths):
        x = F.silu(self.sub(features)).transpose(1, 2)
        lengths = (lengths - 1) // 2 + 1
        padding = torch.arange(x.shape[1]) >= lengths[:, None]
        x = x + self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]
        x = x + F.glu(self.conv(x.masked_fill(padding.unsqueeze(-1), 0.0).transpose(1, 2)), 1).transpose(1, 2)
        return self.ctc(x).log_softmax(-1), lengths


def boxes():
    low = torch.rand(2, 5, 2) / 2 - 0.5
    return torch.cat([low, low + torch.rand(2, 5, 2)], -1)


MODELS = {
    Autoencoder: ({"x": "batch 1 height width"}, lambda: (torch.rand(2, 1, 28, 28),)),
    Detector: ({"image": "batch 3 height width"}, lambda: (torch.randn(2, 3, 64, 48),)),
    Regions: ({"image": "batch 3 height width", "boxes": "batch boxes 4"}, lambda: (torch.randn(2, 3, 20, 24), boxes())),
    Cached: (
        {"ids": "batch new", "past_k": "batch 4 past 4", "past_v": "batch 4 past 4"},
        lambda: (torch.randint(0, 40, (2, 3)), torch.randn(2, 4, 7, 4), torch.randn(2, 4, 7, 4)),
    ),
    Reversible: ({"x": "batch 48 channels"}, lambda: (torch.randn(4, 48, 7).cumsum(1),)),
    Bag: ({"text": "tokens", "offsets": "batch"}, lambda: (torch.randint(0, 50, (20,)), torch.tensor([0, 4, 9, 15]))),
    Experts: ({"x": "batch time 8"}, lambda: (torch.randn(2, 9, 8),)),
    Conformer: ({"features": "batch 20 time", "lengths": "batch"}, lambda: (torch.randn(3, 20, 60), torch.tensor([60, 41, 33]))),
}
BOUND = {Detector: {"height", "width"}}
"""Axes whose range is truly smaller than declared: a small image has no ten places."""


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", MODELS)
def test_a_right_model_is_proved_by_the_cheapest_strategy(tmp_path, kind, seed):
    torch.manual_seed(seed)
    types, example = MODELS[kind]
    result = torchport.export(kind(), tmp_path / "m.onnx", input_example=example(), input_types=types)
    assert result.proof.ok
    assert [attempt.strategy for attempt in result.attempts] == ["trace"]
    assert set(result.proof.ranges) == BOUND.get(kind, set())
