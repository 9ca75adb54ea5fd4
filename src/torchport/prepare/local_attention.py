"""NeMo's sliding-window attention, written without views that overlap: exporters get those wrong. Found by qualified name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from torchport.prepare.masked_layers import derived
from torchport.prepare.replacement import Replacement, defined_by

__all__ = ["LocalAttentionReplacement", "sliding_window"]

_LOCAL = "nemo.collections.asr.parts.submodules.multi_head_attention.RelPositionMultiHeadAttentionLongformer"


class LocalAttentionReplacement(Replacement):
    """Attention of each frame to those up to ``att_context_size`` before and after it, in blocks of the wider side.

    A block of queries meets three blocks of keys: its own and its neighbours. Memory grows with the frames, as in the original.
    """

    name = "nemo-local-attention"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``, where no token is seen by all."""
        if defined_by(module, "forward") != _LOCAL:
            return False
        attention: Any = module
        window = attention.att_context_size
        return bool(attention.global_tokens == 0 and max(window) > 0 and min(window) >= 0)

    def replace(self, module: nn.Module) -> nn.Module:
        """The same projections, with the window laid out in blocks."""
        return derived(module, forward=_forward)

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A few blocks of frames, one row shorter."""
        attention: Any = module
        before, after = attention.att_context_size
        width, steps = attention.h * attention.d_k, 2 * max(before, after) + 3
        generator = torch.Generator().manual_seed(0)
        frames = torch.randn(2, steps, width, generator=generator).to(attention.pos_bias_u)
        places = torch.randn(1, before + after + 1, width, generator=generator).to(frames)
        return frames, frames.flip(1), frames * 0.5, torch.arange(steps) >= torch.tensor([[steps], [steps - 2]]), places


def _forward(self: Any, query: Any, key: Any, value: Any, pad_mask: Any, pos_emb: Any, cache: Any = None) -> Any:
    key, value, query, cache = self.update_cache(key=key, value=value, query=query, cache=cache)
    q, k, v = self.forward_qkv(query, key, value)  # (batch, head, time, size)
    places = self.linear_pos(pos_emb).view(pos_emb.shape[0], -1, self.h, self.d_k).transpose(1, 2)
    by_place = torch.matmul(q + self.pos_bias_v.unsqueeze(1), places.transpose(-2, -1))
    window = (self.att_context_size[0], self.att_context_size[1])
    answer = sliding_window(q + self.pos_bias_u.unsqueeze(1), by_place, k, v, pad_mask, window, 1 / self.s_d_k, self.dropout)
    answer = self.linear_out(answer.transpose(1, 2).flatten(2))
    return answer if cache is None else (answer, cache)


def sliding_window(
    queries: torch.Tensor,
    by_place: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    padding: torch.Tensor,
    window: tuple[int, int],
    scale: float,
    dropout: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Attention of each frame to those in a window around it.

    Args:
        queries: ``(batch, head, time, size)``.
        by_place: What a query adds for each place in its window, ``(batch, head, time, before + after + 1)``, the first place first.
        keys: As the queries.
        values: As the queries.
        padding: True where nothing counts, ``(batch, time)``.
        window: Frames before and after.
        scale: What scores are multiplied by.
        dropout: Put on the weights.

    Returns:
        ``(batch, head, time, size)``; zero for queries that are padding.
    """
    steps = queries.shape[2]
    before, after = window
    width = max(before, after)
    short = (width - steps % width) % width  # to whole blocks
    queries, by_place, keys, values = (F.pad(one, (0, 0, 0, short)) for one in (queries, by_place, keys, values))
    padding = F.pad(padding, (0, short), value=True)

    row, column = torch.arange(width).unsqueeze(1), torch.arange(3 * width).unsqueeze(0)
    place = (column - row).to(queries.device)  # of a key in the three blocks, counted from the wider side's farthest
    within = (place >= width - before) & (place <= width + after)
    # NeMo counts the places of either side from the outside in, as if both were as wide; weights have learnt it.
    early, late = place < before, place >= 2 * width - after
    place = torch.where(early, place, place + before + after - 2 * width).clamp(0, before + after)

    blocks = _blocks(queries, width)
    scores = torch.matmul(blocks, _neighbours(keys, width).transpose(-2, -1))  # (batch, head, block, width, 3 width)
    by_place = _blocks(by_place, width)
    added = torch.gather(by_place, -1, place.expand(*by_place.shape[:3], -1, -1))
    scores = scores + (added if before == after else added.masked_fill(~(early | late), 0.0))
    outside = _neighbours(padding.unsqueeze(1).unsqueeze(-1).to(queries.dtype), width, fill=1.0).transpose(-2, -1) > 0.5
    scores = (scores * scale).masked_fill(outside | ~within, float("-inf"))

    nothing = _blocks(padding.unsqueeze(1).unsqueeze(-1).to(queries.dtype), width) > 0.5  # queries that are padding see nothing
    weights = torch.softmax(scores.masked_fill(nothing, 0.0), dim=-1).masked_fill(nothing, 0.0)
    answer = torch.matmul(weights if dropout is None else dropout(weights), _neighbours(values, width))
    return answer.flatten(2, 3)[:, :, :steps]


def _blocks(x: torch.Tensor, width: int) -> torch.Tensor:
    """(batch, head, time, size) as (batch, head, block, width, size)."""
    return x.reshape(x.shape[0], x.shape[1], -1, width, x.shape[-1])


def _neighbours(x: torch.Tensor, width: int, fill: float = 0.0) -> torch.Tensor:
    """Each block with the one before and the one after it: (batch, head, block, 3 width, size)."""
    padded = _blocks(F.pad(x, (0, 0, width, width), value=fill), width)
    return torch.cat([padded[:, :, :-2], padded[:, :, 1:-1], padded[:, :, 2:]], dim=3)
