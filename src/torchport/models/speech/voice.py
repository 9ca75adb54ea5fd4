"""NeMo's FastPitch: tokens to a mel spectrogram, with pitch, pace, speaker and volume in the caller's hand.

After Łańcucki, "FastPitch: Parallel Text-to-speech with Pitch Prediction" (https://arxiv.org/abs/2006.06873). The built-in ``fastpitch``
is a network of its own; this one is NeMo's, for its archives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchport.errors import HookError
from torchport.models._config import Config
from torchport.models._fastpitch_durations import repeat_by_counts
from torchport.models._fastpitch_ports import PaceType
from torchport.models.speech._base import SpeechModel
from torchport.models.speech._embedding import embedding
from torchport.models.speech._metadata import of_sound
from torchport.models.speech._options import Options
from torchport.models.speech._voice_layers import FeedForwardTransformer, Predictor
from torchport.models.speech.encoders import class_of
from torchport.ports import Axis, AxisKind, AxisType, NeuralType
from torchport.ports.elements import (
    Index,
    LengthsType,
    MelSpectrogramType,
    RegressionValuesType,
    TokenDurationType,
    TokenIndex,
    TokenLogDurationType,
)

__all__ = ["Voice", "VoiceNetwork"]

_ROWS, _TOKENS = 3, 23
_EMBEDDING = "fastpitch.encoder.word_emb.weight"
_TEXT, _FRAMES = Axis("tokens", kind=AxisKind.Time), Axis("frames", kind=AxisKind.Time)


class VoiceNetwork(nn.Module):
    """The network.

    Args:
        config: The config of the archive.
    """

    pitch_mean: Tensor
    pitch_std: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        options = Options(config, "model")
        options.only("speaker_encoder", None)
        voices, width = options.number("n_speakers", 0, least=0), options.number("symbols_embedding_dim", least=1)
        prosody = options.flag("speaker_emb_condition_prosody", False)
        self.encoder = _transformer(options, "input_fft", "FFTransformerEncoder", voiced=voices > 1)
        self.decoder = _transformer(
            options, "output_fft", "FFTransformerDecoder", voiced=options.flag("speaker_emb_condition_decoder", False)
        )
        self.duration_predictor = _predictor(options, "duration_predictor", width, voiced=prosody)
        self.pitch_predictor = _predictor(options, "pitch_predictor", width, voiced=prosody)
        self.speaker_emb = embedding(voices, width) if voices > 1 else None
        self.pitch_emb = _embedding(options.number("pitch_embedding_kernel_size", least=1), width)
        self.energy_predictor = self.energy_emb = None
        if options.raw("energy_predictor") is not None:
            again = Options(config, "model")  # its section was taken to see whether there is one
            self.energy_predictor = _predictor(again, "energy_predictor", width, voiced=False)
            self.energy_emb = _embedding(options.number("energy_embedding_kernel_size", least=1), width)
        self.least, self.most = options.real("min_token_duration", 0), options.real("max_token_duration")
        self.mels = options.number("n_mel_channels", least=1)
        self.register_buffer("pitch_mean", torch.zeros(1))  # what training measured, kept for those who ask
        self.register_buffer("pitch_std", torch.zeros(1))
        self.proj = nn.Linear(self.decoder.width, self.mels)

    def forward(self, text: Tensor, pitch: Tensor, pace: Tensor, volume: Tensor | None, speaker: Tensor | None) -> tuple[Tensor, ...]:
        """As `Voice.forward`, with ``None`` for what the voice does not take."""
        within = text != self.encoder.padding
        voice = self.speaker_emb(speaker).unsqueeze(1) if self.speaker_emb is not None else None
        encoded = self.encoder(self.encoder.word_emb(text), within, voice)
        log_durations = self.duration_predictor(encoded, within, voice)
        durations = (log_durations.exp() - 1.0).clamp(self.least, self.most) * within.to(encoded.dtype)
        pitches = self.pitch_predictor(encoded, within, voice) + pitch
        encoded = encoded + self.pitch_emb(pitches.unsqueeze(1)).transpose(1, 2)
        if self.energy_predictor is not None and self.energy_emb is not None:
            energies = self.energy_predictor(encoded, within, voice)
            encoded = encoded + self.energy_emb(energies.unsqueeze(1)).transpose(1, 2)
        counts = (durations.float() / pace + 0.5).floor().to(torch.int64)
        frames, valid, totals = repeat_by_counts(encoded, counts)
        spectrogram = self.proj(self.decoder(frames, valid, voice)).transpose(1, 2)
        loudness = () if volume is None else (repeat_by_counts(volume.unsqueeze(2), counts)[0].squeeze(2),)
        return (spectrogram, totals, durations, log_durations, pitches, *loudness)


class Voice(SpeechModel):
    """NeMo's ``FastPitchModel``, with one voice or several.

    ``set_export_config({"enable_volume": True})`` adds the volume of each token, as in NeMo. A batch without any frame keeps one frame of
    padding.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    _outside: ClassVar[tuple[str, ...]] = ("preprocessor.", "aligner.", "fastpitch.aligner.")

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.fastpitch = VoiceNetwork(self.cfg)
        self.export_config = {"enable_volume": False, "enable_ragged_batches": False}

    @classmethod
    def config_from_archive(cls, config: Config, state: Mapping[str, Any]) -> Config:
        """How many tokens there are, and which is padding, is with the tokenizer, unless the config says it: the embedding shows it too.

        Training leaves the padding's row at zero, and no other.
        """
        section, table = config.get("input_fft"), state.get(_EMBEDDING)
        if not isinstance(section, Mapping) or not isinstance(table, Tensor) or table.dim() != 2 or "n_embed" in section:
            return config
        empty = (table == 0).all(dim=1).nonzero().flatten().tolist()
        known = {"n_embed": table.size(0), **({"padding_idx": empty[0]} if len(empty) == 1 else {})}
        return Config({**config, "input_fft": {**known, **section}})

    def forward(
        self, text: Tensor, pitch: Tensor, pace: Tensor, volume: Tensor | None = None, speaker: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Speaks.

        Args:
            text: Tokens, int64 ``(batch, token)``; padding is a token of its own.
            pitch: What is added to the predicted pitch of each token, ``(batch, token)``.
            pace: How many times faster each token is spoken, ``(batch, token)``.
            volume: How loud each token is, ``(batch, token)``.
            speaker: Who speaks, int64 ``(batch,)``, where there are several.

        Returns:
            The spectrogram ``(batch, band, frame)``, frames of each row, durations and their logarithms, pitch, and volume by frame.
        """
        answer: tuple[Tensor, ...] = self.fastpitch(text, pitch, pace, volume if self.export_config["enable_volume"] else None, speaker)
        return answer

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """Tokens, pitch, pace, and what else the voice takes.

        Raises:
            HookError: Ragged batches were asked for.
        """
        if self.export_config["enable_ragged_batches"]:
            raise HookError("ragged batches are not rebuilt", where="export_config.enable_ragged_batches", hint="pad the rows of a batch")
        by_token = (AxisKind.Batch, _TEXT)
        types = {
            "text": NeuralType(by_token, TokenIndex(self.fastpitch.encoder.tokens)),
            "pitch": NeuralType(by_token, RegressionValuesType()),
            "pace": NeuralType(by_token, PaceType()),
        }
        if self.export_config["enable_volume"]:
            types["volume"] = NeuralType(by_token, PaceType())
        if self.fastpitch.speaker_emb is not None:
            types["speaker"] = NeuralType(("B",), Index(self.fastpitch.speaker_emb.num_embeddings))
        return types

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """The spectrogram and what was predicted for it."""
        by_token, mels = (AxisKind.Batch, _TEXT), AxisType(AxisKind.Dimension, self.fastpitch.mels)
        types = {
            "spect": NeuralType(("B", mels, _FRAMES), MelSpectrogramType()),
            "num_frames": NeuralType(("B",), LengthsType()),
            "durs_predicted": NeuralType(by_token, TokenDurationType(), dtype="float32"),
            "log_durs_predicted": NeuralType(by_token, TokenLogDurationType()),
            "pitch_predicted": NeuralType(by_token, RegressionValuesType()),
        }
        if self.export_config["enable_volume"]:
            types["volume_aligned"] = NeuralType(("B", _FRAMES), RegressionValuesType())
        return types

    def input_example(self) -> tuple[dict[str, Tensor]]:
        """A padded batch, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        encoder = self.fastpitch.encoder
        text = torch.randint(0, encoder.tokens, (_ROWS, _TOKENS), generator=generator)
        for row in range(1, _ROWS):
            text[row, _TOKENS - row * _TOKENS // (2 * _ROWS) :] = encoder.padding
        example = {
            "text": text,
            "pitch": 0.5 * torch.randn(text.shape, generator=generator),
            "pace": 0.75 + 0.75 * torch.rand(text.shape, generator=generator),
            "volume": 0.75 + 0.75 * torch.rand(text.shape, generator=generator),
        }
        if self.fastpitch.speaker_emb is not None:
            example["speaker"] = torch.arange(_ROWS) % self.fastpitch.speaker_emb.num_embeddings
        return ({name: example[name] for name in self.input_types},)

    def export_metadata(self, subnet: str = "self") -> dict[str, Any]:
        """Sample rate and feature settings."""
        return {"task": "spectrogram", "model_class": self.cfg["target"], **of_sound(self.cfg)}


def _transformer(options: Options, name: str, kind: str, *, voiced: bool) -> FeedForwardTransformer:
    section = Options(options.raw(name), name)
    class_of(section, kind)
    return FeedForwardTransformer(section, voiced=voiced, embeds=kind == "FFTransformerEncoder")


def _predictor(options: Options, name: str, width: int, *, voiced: bool) -> Predictor:
    section = Options(options.raw(name), name)
    class_of(section, "TemporalPredictor")
    return Predictor(section, width, voiced=voiced)


def _embedding(kernel: int, width: int) -> nn.Conv1d:
    return nn.Conv1d(1, width, kernel, padding=(kernel - 1) // 2)
