"""Learns which frame belongs to which token while FastPitch trains; a deployed voice has no use for it.

After Badlani et al., "One TTS Alignment To Rule Them All" (https://arxiv.org/abs/2108.10447): distances between encoded frames and encoded
tokens give a soft alignment, and the best monotonic path through it gives hard durations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Aligner", "monotonic_alignment"]


class Aligner(nn.Module):
    """Soft alignment of mel frames to tokens.

    Args:
        mels: Mel bands.
        channels: Channels of the token embedding.
        attention_channels: Channels in which distances are taken.
        temperature: Scale of the distances.
    """

    def __init__(self, *, mels: int, channels: int, attention_channels: int = 80, temperature: float = 0.0005) -> None:
        super().__init__()
        self.temperature = temperature
        self.tokens = nn.Sequential(
            nn.Conv1d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.Conv1d(2 * channels, attention_channels, 1)
        )
        self.frames = nn.Sequential(
            nn.Conv1d(mels, 2 * mels, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(2 * mels, mels, 1),
            nn.ReLU(),
            nn.Conv1d(mels, attention_channels, 1),
        )

    def forward(self, spect: Tensor, embedded: Tensor, mask: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Aligns.

        Args:
            spect: Mel spectrogram, ``(batch, mels, frames)``.
            embedded: Embedded tokens, ``(batch, tokens, channels)``.
            mask: Valid tokens, booleans ``(batch, tokens)``.
            prior: How likely each pair is beforehand, ``(batch, frames, tokens)``.

        Returns:
            Probabilities over the tokens of each frame, and log-scores before the padding was masked; both ``(batch, frames, tokens)``.
        """
        keys = self.tokens(embedded.transpose(1, 2)).transpose(1, 2)
        queries = self.frames(spect).transpose(1, 2)
        scores = -self.temperature * (queries.unsqueeze(2) - keys.unsqueeze(1)).square().sum(dim=3)
        if prior is not None:
            scores = scores.log_softmax(dim=2) + (prior + 1e-8).log()
        probabilities = scores.masked_fill(~mask.unsqueeze(1), float("-inf")).softmax(dim=2)
        return probabilities, scores


@torch.no_grad()
def monotonic_alignment(probabilities: Tensor, token_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """The likeliest path that starts at the first token, ends at the last, and never goes back nor skips a token.

    Args:
        probabilities: Soft alignment, ``(batch, frames, tokens)``.
        token_lengths: Tokens of each row, ``(batch,)``; at most as many as the row has frames.
        frame_lengths: Frames of each row, ``(batch,)``.

    Returns:
        1 where a frame belongs to a token, else 0, ``(batch, frames, tokens)``.
    """
    scores = probabilities.clamp(min=1e-30).log()
    batch, frames, tokens = scores.shape
    unreachable = scores.new_full((batch, 1), float("-inf"))
    best = torch.cat((scores[:, 0, :1], unreachable.expand(batch, tokens - 1)), dim=1)
    stepped = []
    for frame in range(1, frames):
        from_previous = torch.cat((unreachable, best[:, :-1]), dim=1)
        stepped.append(from_previous > best)
        best = torch.maximum(best, from_previous) + scores[:, frame]
    path = torch.zeros_like(scores)
    rows = torch.arange(batch, device=scores.device)
    token = token_lengths - 1
    for frame in range(frames - 1, -1, -1):
        inside = frame < frame_lengths
        path[rows, frame, token] = inside.to(scores.dtype)
        if frame:
            token = token - (stepped[frame - 1][rows, token] & inside).to(token.dtype)
    return path
