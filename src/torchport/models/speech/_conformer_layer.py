"""One layer of a Conformer: half a feed-forward, attention, convolution, half a feed-forward, each added to what it saw.

After Gulati et al., "Conformer: Convolution-augmented Transformer for Speech Recognition" (https://arxiv.org/abs/2005.08100).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchport.models.speech._attention import Attention

__all__ = ["ConformerLayer", "ConvolutionModule", "FeedForward"]


class FeedForward(nn.Module):
    """Two linear layers.

    Args:
        width: Numbers of a frame.
        inner: Numbers between.
        bias: Whether they have biases.
    """

    def __init__(self, width: int, inner: int, *, bias: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, inner, bias=bias)
        self.linear2 = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, time, width)`` to the same."""
        answer: Tensor = self.linear2(F.silu(self.linear1(x)))
        return answer


class ConvolutionModule(nn.Module):
    """A gate, a depthwise convolution over time, a normalisation.

    Args:
        width: Numbers of a frame.
        before: Frames that the convolution sees before each.
        after: Frames that it sees after each.
        norm: A normalisation; one of channels-last frames where it is a ``LayerNorm``.
        bias: Whether the convolutions have biases.
    """

    def __init__(self, width: int, before: int, after: int, norm: nn.Module, *, bias: bool) -> None:
        super().__init__()
        self.sides = (before, after)
        self.around = before if before == after else 0
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=bias)
        self.depthwise_conv = nn.Conv1d(width, width, before + after + 1, padding=self.around, groups=width, bias=bias)
        self.batch_norm = norm  # of whatever kind: the name is the weights'
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=bias)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """``(batch, time, width)`` to the same; ``padding`` ``(batch, time)`` is true where nothing may be seen."""
        x = self._gated(x, padding)
        return self._normed(self.depthwise_conv(x if self.around else F.pad(x, self.sides)))

    def stream(self, x: Tensor, padding: Tensor, before: Tensor, dropped: int) -> tuple[Tensor, Tensor]:
        """The same for a chunk, after what the convolution saw before it.

        Args:
            x: The chunk, ``(batch, time, width)``.
            padding: As for ``forward``.
            before: The gated frames before it, ``(batch, width, frames)``.
            dropped: How many frames at the end come again in the next chunk.

        Returns:
            The answer, and the gated frames before the next chunk.
        """
        seen = torch.cat((before, F.pad(self._gated(x, padding), (0, self.sides[1]))), dim=2)
        end = seen.size(2) - dropped
        x = self.depthwise_conv(seen)
        if self.around:  # zeros were added to what needs none
            x = x[:, :, self.around : x.size(2) - self.around]
        return self._normed(x), seen[:, :, end - self.sides[0] : end]

    def _gated(self, x: Tensor, padding: Tensor) -> Tensor:
        return F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1).masked_fill(padding.unsqueeze(1), 0.0)

    def _normed(self, x: Tensor) -> Tensor:
        by_frame = isinstance(self.batch_norm, nn.LayerNorm)
        x = self.batch_norm(x.transpose(1, 2)).transpose(1, 2) if by_frame else self.batch_norm(x)
        answer: Tensor = self.pointwise_conv2(F.silu(x))
        return answer.transpose(1, 2)


class ConformerLayer(nn.Module):
    """One layer.

    Args:
        width: Numbers of a frame.
        inner: Numbers between the linear layers of a feed-forward.
        attention: Its attention.
        convolution: Its convolution.
        bias: Whether the feed-forwards have biases.
    """

    def __init__(self, width: int, inner: int, attention: Attention, convolution: ConvolutionModule, *, bias: bool) -> None:
        super().__init__()
        self.norm_feed_forward1 = nn.LayerNorm(width)
        self.feed_forward1 = FeedForward(width, inner, bias=bias)
        self.norm_self_att = nn.LayerNorm(width)
        self.self_attn = attention
        self.norm_conv = nn.LayerNorm(width)
        self.conv = convolution
        self.norm_feed_forward2 = nn.LayerNorm(width)
        self.feed_forward2 = FeedForward(width, inner, bias=bias)
        self.norm_out = nn.LayerNorm(width)

    def forward(self, x: Tensor, hidden: Tensor, padding: Tensor, places: Tensor) -> Tensor:
        """``(batch, time, width)`` to the same; the masks are those of `Attention` and `ConvolutionModule`."""
        x = x + 0.5 * self.feed_forward1(self.norm_feed_forward1(x))
        x = x + self.self_attn(self.norm_self_att(x), hidden, places)
        x = x + self.conv(self.norm_conv(x), padding)
        return self._last(x)

    def stream(
        self, x: Tensor, hidden: Tensor, padding: Tensor, places: Tensor, caches: tuple[Tensor, Tensor], dropped: int
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The same for a chunk.

        Args:
            x: The chunk, ``(batch, time, width)``.
            hidden: As for ``forward``, with the cached frames seen too.
            padding: As for ``forward``.
            places: As for ``forward``.
            caches: What attention and convolution saw before, ``(batch, frames, width)`` and ``(batch, width, frames)``.
            dropped: How many frames at the end come again in the next chunk.

        Returns:
            The answer, and the caches for the next chunk.
        """
        attended, convolved = caches
        x = x + 0.5 * self.feed_forward1(self.norm_feed_forward1(x))
        queries = self.norm_self_att(x)
        x = x + self.self_attn(queries, hidden, places, attended)
        new = queries.size(1) - dropped
        attended = torch.cat((attended[:, new:], queries[:, :new]), dim=1)
        added, convolved = self.conv.stream(self.norm_conv(x), padding, convolved, dropped)
        return self._last(x + added), (attended, convolved)

    def _last(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.feed_forward2(self.norm_feed_forward2(x))
        answer: Tensor = self.norm_out(x)
        return answer
