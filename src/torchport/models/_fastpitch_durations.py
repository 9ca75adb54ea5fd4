"""From one vector a token to one vector a frame: predictors over tokens, and the repetition by predicted durations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["TokenPredictor", "average_by_counts", "frame_counts", "repeat_by_counts"]


class TokenPredictor(nn.Module):
    """Predicts one number a token: convolutions with ReLU and layer norm, then a linear layer.

    Args:
        channels: Channels of the encoder.
        hidden: Channels of the convolutions.
        layers: Number of convolutions.
        kernel: Kernel size, an odd number.
        dropout: Dropout while training.
        mean: The number that an untrained predictor gives on the average.
        spread: Its standard deviation over tokens; ``None`` leaves the linear layer as torch makes it.
    """

    def __init__(
        self, *, channels: int, hidden: int, layers: int, kernel: int, dropout: float, mean: float = 0.0, spread: float | None = None
    ) -> None:
        super().__init__()
        widths = [channels] + [hidden] * layers
        self.convolutions = nn.ModuleList(nn.Conv1d(width, hidden, kernel, padding=kernel // 2) for width in widths[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, 1)
        if spread is not None:
            nn.init.normal_(self.out.weight, std=spread * hidden**-0.5)
            nn.init.constant_(self.out.bias, mean)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Predicts.

        Args:
            x: Encoded tokens, zero in the padding, ``(batch, tokens, channels)``.
            mask: Valid tokens, booleans ``(batch, tokens)``.

        Returns:
            One number a token, zero in the padding, ``(batch, tokens)``.
        """
        valid = mask.unsqueeze(2).to(x.dtype)
        for convolution, norm in zip(self.convolutions, self.norms):  # noqa: B905 - TorchScript's zip takes no strict
            x = convolution(x.transpose(1, 2)).relu().transpose(1, 2)
            x = self.dropout(norm(x)) * valid
        y: Tensor = (self.out(x) * valid).squeeze(2)
        return y


def frame_counts(durations: Tensor, pace: Tensor, limit: int) -> Tensor:
    """Whole frames of each token.

    Halves round up, and so does what is a hair (1/4096) below them: a forced duration of 2 frames at a pace of 0.8 is 2.5 in one precision
    and 2.49999996 in another, and must be as many frames in both. A pace outside 0.25 to 4 is taken as the nearest of the two, so that no
    input can ask for endless speech.

    Args:
        durations: Frames of each token at pace 1, ``(batch, tokens)``.
        pace: How many times faster, ``(batch, tokens)`` or what broadcasts to it.
        limit: The most frames that one token may have.

    Returns:
        int64, ``(batch, tokens)``.

    Example:
        >>> frame_counts(torch.tensor([[2.0, 3.0]]), torch.tensor(2.0), 75).tolist()
        [[1, 2]]
    """
    scaled = durations / pace.clamp(0.25, 4.0)
    return (scaled + (0.5 + 1.0 / 4096.0)).floor().clamp(0, limit).to(torch.int64)


def repeat_by_counts(x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Repeats each token's vector as many times as it has frames.

    The frame ``t`` belongs to the token whose predecessors all end at or before ``t``: counting the ends gives its index, and a gather
    its vector, so no size is ever a Python number.

    Args:
        x: One vector a token, ``(batch, tokens, channels)``.
        counts: Frames of each token, int64 ``(batch, tokens)``.

    Returns:
        One vector a frame ``(batch, frames, channels)``, zero in the padding; which frames are valid, booleans ``(batch, frames)``; the
        frames of each row, int64 ``(batch,)``. A batch without any frame keeps one frame of padding.
    """
    ends = counts.cumsum(dim=1)
    totals = counts.sum(dim=1)
    # The end is a tensor: arange takes it as a value of the graph, in every capture.
    frames = torch.arange(totals.max().clamp(min=1), dtype=torch.int64, device=x.device)  # type: ignore[call-overload]
    mask: Tensor = frames.unsqueeze(0) < totals.unsqueeze(1)
    owner = (ends.unsqueeze(1) <= frames.unsqueeze(0).unsqueeze(2)).to(torch.int64).sum(dim=2)
    owner = owner.masked_fill(mask.logical_not(), 0)
    repeated = torch.gather(x, 1, owner.unsqueeze(2).expand(-1, -1, x.size(2)))
    return repeated * mask.unsqueeze(2).to(x.dtype), mask, totals


def average_by_counts(values: Tensor, counts: Tensor) -> Tensor:
    """The mean of each token's frames that are not 0: a pitch of 0 means that the frame is unvoiced.

    Args:
        values: One number a frame, ``(batch, frames)``.
        counts: Frames of each token, ``(batch, tokens)``; together at most as many as there are frames.

    Returns:
        ``(batch, tokens)``; 0 for a token without such a frame.

    Example:
        >>> average_by_counts(torch.tensor([[1.0, 3.0, 0.0, 5.0]]), torch.tensor([[2, 1, 1]])).tolist()
        [[2.0, 0.0, 5.0]]
    """
    ends = counts.cumsum(dim=1)
    starts = ends - counts

    def summed(numbers: Tensor) -> Tensor:
        running = nn.functional.pad(numbers.cumsum(dim=1), (1, 0))
        return running.gather(1, ends) - running.gather(1, starts)

    return summed(values) / summed((values != 0).to(values.dtype)).clamp(min=1.0)
