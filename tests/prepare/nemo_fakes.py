"""Modules under the qualified names of NeMo's, which compute the same in fewer lines: what is swapped is found without NeMo."""

from __future__ import annotations

import torch
from torch import nn

_JASPER = "nemo.collections.asr.parts.submodules.jasper"
_ATTENTION = "nemo.collections.asr.parts.submodules.multi_head_attention"


class MaskedConv1d(nn.Module):
    """Zeroes what lies past each row's length, then convolves; its table of places grows with the longest input."""

    __module__ = _JASPER

    def __init__(self, channels=6, kernel=3, heads=-1, use_mask=True):
        super().__init__()
        self.conv = nn.Conv1d(channels if heads == -1 else heads, channels if heads == -1 else heads, kernel, stride=2, padding=1)
        self.heads, self.use_mask, self.lens = heads, use_mask, torch.arange(0)

    def forward(self, x, lens):
        if self.use_mask:
            if len(self.lens) < x.shape[2]:
                self.lens = torch.arange(int(x.shape[2]))
            x = x * (self.lens[: x.shape[2]].unsqueeze(0) < lens.unsqueeze(1)).unsqueeze(1)
        return self.conv(x), lens // 2 + 1


class SqueezeExcite(nn.Module):
    """Gates channels by their mean over the frames that count."""

    __module__ = _JASPER

    def __init__(self, channels=6, context_window=-1):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, 2, bias=False), nn.ReLU(), nn.Linear(2, channels, bias=False))
        self.context_window = context_window

    def forward(self, x, lengths):
        rows = []
        for row, length in zip(x, lengths.tolist(), strict=True):
            inside = torch.cat([row[:, :length], torch.zeros_like(row[:, length:])], dim=1)
            rows.append(inside * torch.sigmoid(self.fc(row[:, :length].mean(1))).unsqueeze(1))
        return torch.stack(rows), lengths


class RelPositionMultiHeadAttentionLongformer(nn.Module):
    """Attention to a window, one query after the other."""

    __module__ = _ATTENTION

    def __init__(self, heads=2, width=6, window=(3, 2), global_tokens=0):
        super().__init__()
        self.h, self.d_k, self.s_d_k = heads, width // heads, (width // heads) ** 0.5
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(width, width) for _ in range(4))
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u, self.pos_bias_v = (nn.Parameter(torch.randn(heads, self.d_k)) for _ in range(2))
        self.dropout, self.att_context_size, self.global_tokens = nn.Dropout(0.1), list(window), global_tokens

    def update_cache(self, key, value, query, cache):
        return key, value, query, cache

    def forward_qkv(self, query, key, value):
        layers = ((self.linear_q, query), (self.linear_k, key), (self.linear_v, value))
        return tuple(layer(x).view(x.shape[0], -1, self.h, self.d_k).transpose(1, 2) for layer, x in layers)

    def place(self, places, distance):
        """NeMo counts the places of either side from the outside in, as if both were as wide as the wider one."""
        before, after = self.att_context_size
        wide = max(before, after)
        if distance + wide < before:
            return places[distance + wide]
        return places[before + distance + after - wide] if distance + after >= wide else torch.zeros_like(places[0])

    def forward(self, query, key, value, pad_mask, pos_emb, cache=None):
        q, k, v = self.forward_qkv(query, key, value)
        places = self.linear_pos(pos_emb).view(-1, self.h, self.d_k)
        before, after = self.att_context_size
        answer = torch.zeros_like(v)
        for row, padded in enumerate(pad_mask.tolist()):
            for step in (step for step in range(q.shape[2]) if not padded[step]):
                seen = [one for one in range(max(0, step - before), min(q.shape[2], step + after + 1)) if not padded[one]]
                near = torch.stack([self.place(places, one - step) for one in seen], dim=1)  # (head, window, size)
                scores = torch.einsum("hd,hwd->hw", q[row, :, step] + self.pos_bias_u, k[row][:, seen])
                scores = scores + torch.einsum("hd,hwd->hw", q[row, :, step] + self.pos_bias_v, near)
                answer[row, :, step] = torch.einsum("hw,hwd->hd", (scores / self.s_d_k).softmax(-1), v[row][:, seen])
        return self.linear_out(answer.transpose(1, 2).reshape(*query.shape))
