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


class FilterbankFeatures(nn.Module):
    """Does what NeMo's does, by complex transforms."""

    __module__ = "nemo.collections.asr.parts.preprocessing.features"

    def __init__(self, normalize="per_feature", exact_pad=False, preemph=0.97, power=2.0, guard=("add", 2**-24), pad_to=16, log=True):
        super().__init__()
        self.n_fft, self.win_length, self.hop_length = 64, 50, 20
        self.register_buffer("window", torch.hann_window(50, periodic=False))
        self.register_buffer("fb", torch.rand(1, 8, 33, generator=torch.Generator().manual_seed(0)))
        self.normalize, self.preemph, self.mag_power, self.log, self.pad_to, self.pad_value = normalize, preemph, power, log, pad_to, 0.0
        self.log_zero_guard_type, self.log_zero_guard_value = guard
        self.stft_pad_amount = (64 - 20) // 2 if exact_pad else None
        self.use_grads, self.frame_splicing = False, 1
        self.forward = torch.no_grad()(self.forward)

    def log_zero_guard_value_fn(self, x):
        return torch.finfo(x.dtype).tiny if self.log_zero_guard_value == "tiny" else self.log_zero_guard_value

    def forward(self, x, seq_len):
        around = 0 if self.stft_pad_amount is None else self.stft_pad_amount
        frames = torch.where(seq_len == 0, 0, (seq_len + 2 * (around or 32) - 64) // 20)
        x = nn.functional.pad(x, (around, around))
        if self.preemph is not None:
            inside = torch.arange(x.shape[1])[None] < seq_len[:, None]
            x = torch.cat((x[:, :1], x[:, 1:] - self.preemph * x[:, :-1]), 1).masked_fill(~inside, 0.0)
        x = torch.stft(x, 64, 20, 50, self.window, center=not around, pad_mode="constant", return_complex=True).abs()
        x = self.fb @ x.pow(self.mag_power)
        if self.log:
            guard = self.log_zero_guard_value_fn(x)
            x = (x + guard if self.log_zero_guard_type == "add" else x.clamp(min=guard)).log()
        for row, count in enumerate(frames.tolist()):
            if self.normalize:
                seen = x[row, :, :count]
                over = 1 if self.normalize == "per_feature" else (0, 1)
                spread = seen.std(over, keepdim=True).nan_to_num(0.0) if count else 0.0
                x[row] = (x[row] - seen.mean(over, keepdim=True)) / (spread + 1e-5)
            x[row, :, count:] = self.pad_value
        return nn.functional.pad(x, (0, -x.shape[2] % self.pad_to if self.pad_to else 0)), frames


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
