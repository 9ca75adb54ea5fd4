"""Self-attention of a Conformer: with positions relative to the query, to all frames or to a window; or with absolute ones added before.

After Dai et al., "Transformer-XL" (https://arxiv.org/abs/1901.02860), section 3.3, Vaswani et al. (https://arxiv.org/abs/1706.03762), and,
for the window, Beltagy et al., "Longformer" (https://arxiv.org/abs/2004.05150).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchport.prepare.local_attention import sliding_window

__all__ = ["Attention", "LocalAttention", "RelativeAttention", "Sinusoids"]

_BASE = 10000.0
_HIDDEN = -10000.0
"""The score of what is not seen. As finite as NeMo's: a row that sees nothing has even weights, which are then set to zero."""


class Sinusoids(nn.Module):
    """Codes of positions, computed for as many as there are, so that no table ends.

    Args:
        width: Numbers of a code.
        relative: Positions from the farthest ahead of a query to the farthest behind it, instead of those from zero on.
        window: Only so many frames before and after.
    """

    rates: Tensor

    def __init__(self, width: int, *, relative: bool, window: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.relative, self.window = relative, window
        # Computed on the CPU: on the device meta, where weights are held against the model first, it loads torch's compiler (a second).
        rates = torch.exp(torch.arange(0, width, 2, device="cpu").float() * -(math.log(_BASE) / width))
        self.register_buffer("rates", rates.to(torch.get_default_device()), persistent=False)

    def forward(self, x: Tensor, before: int = 0) -> Tensor:
        """Codes ``(1, position, width)`` for ``x`` ``(batch, time, width)``: 2 time - 1 positions, or time of them.

        Args:
            x: The frames.
            before: How many frames stand before them, and are seen too.
        """
        if self.window is not None:
            place = torch.arange(self.window[0], -self.window[1] - 1, -1, device=x.device)
        elif self.relative:
            place = x.size(1) + before - 1 - torch.arange(2 * (x.size(1) + before) - 1, device=x.device)
        else:
            place = torch.arange(x.size(1) + before, device=x.device)
        angle = place.to(self.rates.dtype).unsqueeze(1) * self.rates
        return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1).unsqueeze(0).to(x.dtype)


class Attention(nn.Module):
    """Attention of every frame to every frame that it sees.

    Args:
        width: Numbers of a frame.
        heads: Heads; they share the width.
        bias: Whether the projections have biases.
    """

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.size = width // heads
        self.linear_q = nn.Linear(width, width, bias=bias)
        self.linear_k = nn.Linear(width, width, bias=bias)
        self.linear_v = nn.Linear(width, width, bias=bias)
        self.linear_out = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor, hidden: Tensor, places: Tensor, before: Tensor | None = None) -> Tensor:
        """Attends.

        Args:
            x: Frames, ``(batch, time, width)``.
            hidden: True where the frame of the row does not see that of the column, ``(batch, 1, time, seen)``.
            places: Codes of positions, as `Sinusoids` gives them.
            before: Frames that stand before and are seen too, ``(batch, frames, width)``.
        """
        seen = x if before is None else torch.cat((before, x), dim=1)
        scores = self._scores(self._split(self.linear_q(x)), self._split(self.linear_k(seen)), places) / math.sqrt(self.size)
        weights = scores.masked_fill(hidden, _HIDDEN).softmax(dim=-1).masked_fill(hidden, 0.0)
        mixed = torch.matmul(weights, self._split(self.linear_v(seen)))
        answer: Tensor = self.linear_out(mixed.transpose(1, 2).flatten(2))
        return answer

    def _split(self, x: Tensor) -> Tensor:
        """``(batch, time, width)`` as ``(batch, head, time, size)``."""
        return x.view(x.size(0), x.size(1), self.heads, self.size).transpose(1, 2)

    def _scores(self, queries: Tensor, keys: Tensor, places: Tensor) -> Tensor:
        return torch.matmul(queries, keys.transpose(2, 3))


class RelativeAttention(Attention):
    """Attention that also weighs how far a frame is from the one that looks.

    Args:
        width: Numbers of a frame.
        heads: Heads; they share the width.
        bias: Whether the projections have biases.
        shared: The biases of content and position, ``(head, size)`` each, where all layers have the same.
    """

    def __init__(self, width: int, heads: int, *, bias: bool, shared: tuple[nn.Parameter, nn.Parameter] | None = None) -> None:
        super().__init__(width, heads, bias=bias)
        self.linear_pos = nn.Linear(width, width, bias=False)
        own = shared or (nn.Parameter(torch.zeros(heads, self.size)), nn.Parameter(torch.zeros(heads, self.size)))
        self.pos_bias_u, self.pos_bias_v = own

    def _scores(self, queries: Tensor, keys: Tensor, places: Tensor) -> Tensor:
        by_content = torch.matmul(queries + self.pos_bias_u.unsqueeze(1), keys.transpose(2, 3))
        by_place = torch.matmul(queries + self.pos_bias_v.unsqueeze(1), self._split(self.linear_pos(places)).transpose(2, 3))
        return by_content + _aligned(by_place, keys.size(2))


class LocalAttention(RelativeAttention):
    """Attention to a window around each frame.

    Args:
        width: Numbers of a frame.
        heads: Heads; they share the width.
        bias: Whether the projections have biases.
        window: Frames before and after.
    """

    def __init__(self, width: int, heads: int, *, bias: bool, window: tuple[int, int]) -> None:
        super().__init__(width, heads, bias=bias)
        self.window = window

    def forward(self, x: Tensor, hidden: Tensor, places: Tensor, before: Tensor | None = None) -> Tensor:
        """Attends; ``hidden`` is true for frames that are padding, ``(batch, time)``, and ``places`` are those of the window."""
        queries = self._split(self.linear_q(x))
        by_place = torch.matmul(queries + self.pos_bias_v.unsqueeze(1), self._split(self.linear_pos(places)).transpose(2, 3))
        keys, values = self._split(self.linear_k(x)), self._split(self.linear_v(x))
        mixed = sliding_window(
            queries + self.pos_bias_u.unsqueeze(1), by_place, keys, values, hidden, self.window, 1 / math.sqrt(self.size)
        )
        answer: Tensor = self.linear_out(mixed.transpose(1, 2).flatten(2))
        return answer


def _aligned(scores: Tensor, keys: int) -> Tensor:
    """From a column for each distance, the farthest ahead first, to a column for each key: row i moves left by time - 1 - i."""
    batch, heads, steps, _ = scores.shape
    skewed = F.pad(scores, (1, 0)).view(batch, heads, 2 * keys, steps)[:, :, 1:]
    return skewed.reshape(batch, heads, steps, 2 * keys - 1)[:, :, :, :keys]
