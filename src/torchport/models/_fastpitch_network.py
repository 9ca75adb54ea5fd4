"""FastPitch as it speaks: tokens to mel frames. Its ``forward`` is what is exported, in a form that every capture takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torchport.models._fastpitch_durations import TokenPredictor, frame_counts, repeat_by_counts
from torchport.models._fastpitch_transformer import FeedForwardTransformer, length_mask
from torchport.models._settings import seed_setting, setting

__all__ = ["FastPitchNetwork", "FastPitchSettings", "Spoken"]


@dataclass(frozen=True)
class FastPitchSettings:
    """Every setting of the model. The defaults are a small voice of 3 million weights; :meth:`classic` is the published one.

    Attributes:
        tokens: Size of the vocabulary.
        mels: Mel bands.
        channels: Channels of encoder and decoder, an even number.
        heads: Attention heads.
        head_channels: Channels of each head.
        hidden: Channels between the two convolutions of a layer.
        kernel: Kernel size of every convolution, an odd number.
        encoder_layers: Layers of the encoder.
        decoder_layers: Layers of the decoder.
        predictor_channels: Channels of the predictors of duration, pitch and energy.
        predictor_layers: Their number of convolutions.
        dropout: Dropout while training.
        speakers: Number of voices; with 1 there is no speaker input.
        energy: Whether energy is predicted and used.
        max_frames_per_token: The most frames that one token may have.
        typical_frames_per_token: Frames a token that an untrained duration predictor gives on the average.
        learn_alignment: Whether training learns the durations from the recordings; nothing of it is deployed.
        seed: Where the random weights start.
    """

    tokens: int = setting(115, least=1)
    mels: int = setting(80, least=1)
    channels: int = setting(128, least=2, step=2)
    heads: int = setting(2, least=1)
    head_channels: int = setting(64, least=1)
    hidden: int = setting(512, least=1)
    kernel: int = setting(3, least=1, odd=True)
    encoder_layers: int = setting(3, least=1)
    decoder_layers: int = setting(3, least=1)
    predictor_channels: int = setting(128, least=1)
    predictor_layers: int = setting(2, least=1)
    dropout: float = setting(0.1, least=0, most=1)
    speakers: int = setting(1, least=1)
    energy: bool = False
    max_frames_per_token: int = setting(75, least=1)
    typical_frames_per_token: float = setting(5.0, above=0)
    learn_alignment: bool = False
    seed: int = seed_setting()

    @classmethod
    def classic(cls) -> FastPitchSettings:
        """The sizes of the published single-speaker model: 45 million weights."""
        return cls(channels=384, heads=1, hidden=1536, encoder_layers=6, decoder_layers=6, predictor_channels=256)


class Spoken(NamedTuple):
    """What the network says of a text; the fields are named as the ports are.

    Attributes:
        spect: Mel spectrogram, zero in the padding, ``(batch, mels, frames)``.
        num_frames: Frames of each row, int64 ``(batch,)``.
        durs_predicted: Predicted frames of each token before rounding, ``(batch, tokens)``.
        log_durs_predicted: ``log(1 + frames)`` as predicted, ``(batch, tokens)``.
        pitch_predicted: Predicted pitch of each token plus the caller's shift, ``(batch, tokens)``.
    """

    spect: Tensor
    num_frames: Tensor
    durs_predicted: Tensor
    log_durs_predicted: Tensor
    pitch_predicted: Tensor


class FastPitchNetwork(nn.Module):
    """Encoder, predictors, length regulation, decoder.

    The steps are methods of their own, because training runs them with the true durations and pitch in place of the predicted ones.

    Args:
        settings: Every size.
    """

    def __init__(self, settings: FastPitchSettings) -> None:
        super().__init__()
        self.max_frames_per_token = settings.max_frames_per_token
        self.token_embedding = nn.Embedding(settings.tokens, settings.channels)
        self.speaker_embedding = nn.Embedding(settings.speakers, settings.channels) if settings.speakers > 1 else None
        self.encoder = self._transformer(settings, settings.encoder_layers)
        mean = math.log1p(settings.typical_frames_per_token)
        self.duration_predictor = self._predictor(settings, mean=mean, spread=0.3)
        self.pitch_predictor = self._predictor(settings)
        self.pitch_embedding = nn.Conv1d(1, settings.channels, settings.kernel, padding=settings.kernel // 2)
        self.energy_predictor = self._predictor(settings) if settings.energy else None
        self.energy_embedding = nn.Conv1d(1, settings.channels, settings.kernel, padding=settings.kernel // 2) if settings.energy else None
        self.decoder = self._transformer(settings, settings.decoder_layers)
        self.to_mels = nn.Linear(settings.channels, settings.mels)

    @staticmethod
    def _transformer(settings: FastPitchSettings, layers: int) -> FeedForwardTransformer:
        return FeedForwardTransformer(
            layers=layers,
            channels=settings.channels,
            heads=settings.heads,
            head_channels=settings.head_channels,
            hidden=settings.hidden,
            kernel=settings.kernel,
            dropout=settings.dropout,
        )

    @staticmethod
    def _predictor(settings: FastPitchSettings, mean: float = 0.0, spread: float | None = None) -> TokenPredictor:
        return TokenPredictor(
            channels=settings.channels,
            hidden=settings.predictor_channels,
            layers=settings.predictor_layers,
            kernel=settings.kernel,
            dropout=settings.dropout,
            mean=mean,
            spread=spread,
        )

    def encode(self, text: Tensor, mask: Tensor, speaker: Tensor | None) -> Tensor:
        """Encodes tokens: ``(batch, tokens)`` to ``(batch, tokens, channels)``, zero in the padding."""
        x = self.token_embedding(text)
        if self.speaker_embedding is not None:
            if speaker is None:
                raise ValueError("this voice has several speakers: give `speaker`, one index a row")
            x = x + self.speaker_embedding(speaker).unsqueeze(1)
        y: Tensor = self.encoder(x, mask)
        return y

    def durations(self, encoded: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted frames of each token before rounding, and ``log(1 + frames)`` as predicted; both ``(batch, tokens)``."""
        log_durations = self.duration_predictor(encoded, mask)
        frames = (log_durations.exp() - 1.0).clamp(0.0, float(self.max_frames_per_token))
        return frames, log_durations

    def add_pitch(self, encoded: Tensor, pitch: Tensor, mask: Tensor) -> Tensor:
        """Adds the embedded pitch of each token."""
        valid = mask.unsqueeze(2).to(encoded.dtype)
        embedded: Tensor = self.pitch_embedding((pitch * mask.to(pitch.dtype)).unsqueeze(1))
        return encoded + embedded.transpose(1, 2) * valid

    def add_energy(self, encoded: Tensor, energy: Tensor, mask: Tensor) -> Tensor:
        """Adds the embedded energy of each token; without energy in the sizes nothing changes."""
        if self.energy_embedding is None:
            return encoded
        valid = mask.unsqueeze(2).to(encoded.dtype)
        embedded: Tensor = self.energy_embedding((energy * mask.to(energy.dtype)).unsqueeze(1))
        return encoded + embedded.transpose(1, 2) * valid

    def decode(self, encoded: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Repeats and decodes: the mel spectrogram ``(batch, mels, frames)`` and the frames of each row ``(batch,)``."""
        frames, mask, totals = repeat_by_counts(encoded, counts)
        decoded = self.to_mels(self.decoder(frames, mask)) * mask.unsqueeze(2).to(encoded.dtype)
        return decoded.transpose(1, 2), totals

    def forward(
        self,
        text: Tensor,
        input_lens: Tensor | None = None,
        pitch: Tensor | None = None,
        pace: Tensor | None = None,
        speaker: Tensor | None = None,
    ) -> Spoken:
        """Speaks.

        Args:
            text: Token indices, int64 ``(batch, tokens)``; what stands in the padding has no effect.
            input_lens: Tokens of each row, int64 ``(batch,)``; ``None``: every row is full.
            pitch: What is added to the predicted pitch, ``(batch, tokens)``, in its normalised unit.
            pace: How many times faster each token is spoken, ``(batch, tokens)``, 0.25 to 4.
            speaker: Speaker indices, int64 ``(batch,)``, where there are several.
        """
        mask = torch.ones_like(text, dtype=torch.bool) if input_lens is None else length_mask(input_lens, text.size(1))
        encoded = self.encode(text, mask, speaker)
        durations, log_durations = self.durations(encoded, mask)
        pitch_predicted = self.pitch_predictor(encoded, mask)
        if pitch is not None:
            pitch_predicted = (pitch_predicted + pitch) * mask.to(encoded.dtype)
        voiced = self.add_pitch(encoded, pitch_predicted, mask)
        if self.energy_predictor is not None:
            voiced = self.add_energy(voiced, self.energy_predictor(encoded, mask), mask)
        if pace is None:
            pace = torch.ones_like(durations)
        # Rounding is a step: the counts come from the very numbers that are handed out, so that a tie can be seen in the answer.
        spect, num_frames = self.decode(voiced, frame_counts(durations, pace, self.max_frames_per_token))
        return Spoken(spect, num_frames, durations, log_durations, pitch_predicted)
