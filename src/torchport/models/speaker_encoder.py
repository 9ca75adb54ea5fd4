"""Speaker encoder: speech to a 256-number voice embedding, as the package ``resemblyzer`` computes it.

After Wan et al., "Generalized End-to-End Loss for Speaker Verification" (https://arxiv.org/abs/1710.10467), with the sizes, the front
end and the trained weights of https://github.com/resemble-ai/Resemblyzer (Apache-2.0). The code is torchport's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchport.errors import OptionError, PortValueError, UnknownModelError
from torchport.mixin import Exportable
from torchport.models._mel import MelFrontEnd
from torchport.models._resemblyzer import RESEMBLYZER_SHA256, resemblyzer_weights
from torchport.models._settings import read_settings, seed_setting, seeded, setting
from torchport.models.model_pt import ModelPT
from torchport.models.pretrained import PretrainedModelInfo
from torchport.ports import AxisKind, AxisType, NeuralType
from torchport.ports.elements import AudioSignal, EncodedRepresentation, LengthsType, MelSpectrogramType

__all__ = ["SpeakerEncoder", "SpeakerEncoderSettings"]

_PARTIAL_FRAMES = 160
"""Frames of a partial utterance, 1.6 s: what the weights were trained on."""

_ENGLISH, _RANDOM = "speaker-encoder-en", "speaker-encoder-random"


@dataclass(frozen=True)
class SpeakerEncoderSettings:
    """The settings of `SpeakerEncoder`.

    Attributes:
        front_end: Whether a deployment takes a waveform; ``False``: mel frames.
        sample_rate: Of the waveform, in Hz.
        window: Samples of a frame.
        hop: Samples from a frame to the next.
        mels: Mel bands.
        hidden: Width of the LSTM layers.
        layers: Number of LSTM layers.
        embedding: Numbers in an embedding.
        seed: Where the random weights start.
    """

    front_end: bool = True
    sample_rate: int = setting(16000, least=1)
    window: int = setting(400, least=2, step=2)
    hop: int = setting(160, least=1)
    mels: int = setting(40, least=1)
    hidden: int = setting(256, least=1)
    layers: int = setting(3, least=1)
    embedding: int = setting(256, least=1)
    seed: int = seed_setting()


class SpeakerEncoder(ModelPT, Exportable):
    """Speech to a voice embedding of length 1: two recordings of one voice point the same way.

    Args:
        cfg: `SpeakerEncoderSettings`, or a mapping with some of its fields.
        trainer: Kept as ``self.trainer``.

    Example:
        >>> model = SpeakerEncoder({"hidden": 8, "embedding": 4}).eval()
        >>> model(torch.zeros(2, 800), torch.tensor([800, 500])).shape
        torch.Size([2, 4])
    """

    __jit_unused_properties__: ClassVar[list[str]] = [
        *("cfg", "num_weights", "input_types", "output_types", "disabled_deployment_input_names"),
    ]

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.settings = read_settings(SpeakerEncoderSettings, self.cfg)
        self.export_config = {"front_end": self.settings.front_end}
        self.mel = MelFrontEnd(
            sample_rate=self.settings.sample_rate, window=self.settings.window, hop=self.settings.hop, bands=self.settings.mels
        )
        with seeded(self.settings.seed):
            self.lstm = nn.LSTM(self.settings.mels, self.settings.hidden, self.settings.layers, batch_first=True)
            self.linear = nn.Linear(self.settings.hidden, self.settings.embedding)

    def forward(
        self,
        waveform: Tensor | None = None,
        waveform_length: Tensor | None = None,
        mel: Tensor | None = None,
        mel_length: Tensor | None = None,
    ) -> Tensor:
        """Embeds whole utterances; give the waveform or the mel frames.

        Args:
            waveform: Samples from -1 to 1, ``(batch, samples)``; what stands in the padding has no effect.
            waveform_length: Samples of each row, int64 ``(batch,)``; ``None``: every row is full.
            mel: Mel frames as `MelFrontEnd` makes them, ``(batch, frames, mels)``.
            mel_length: Frames of each row, int64 ``(batch,)``; ``None``: every row is full.

        Returns:
            Embeddings of length 1, ``(batch, embedding)``.
        """
        if waveform is not None:
            if waveform_length is None:
                waveform_length = torch.ones_like(waveform, dtype=torch.int64).sum(dim=1)
            mel = self.mel(waveform, waveform_length)
            mel_length = self.mel.frames(waveform_length)
        if mel is None:
            raise ValueError("give `waveform` or `mel`")
        hidden, _ = self.lstm(mel)
        if mel_length is None:
            last = hidden[:, -1]
        else:
            # The layers run forward in time: a row's last true frame has seen nothing of the padding behind it.
            place = (mel_length - 1).clamp(min=0).unsqueeze(1).unsqueeze(2)
            last = torch.gather(hidden, 1, place.expand(-1, -1, hidden.size(2)))[:, 0]
        return self._unit(self.linear(last).relu())

    def _unit(self, raw: Tensor) -> Tensor:
        return raw / raw.square().sum(dim=-1, keepdim=True).sqrt().clamp(min=1e-12)

    # --- utterances ----------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed_utterance(self, waveform: Tensor, *, rate: float = 1.3, min_coverage: float = 0.75) -> Tensor:
        """Embeds one utterance of any length: the mean over windows of 1.6 s, which is what the weights were trained on.

        Silence is not cut out; `normalize_volume` first where a recording is quiet.

        Args:
            waveform: Samples from -1 to 1, ``(samples,)``.
            rate: Windows a second.
            min_coverage: A last window with less of itself inside the recording is left out.

        Returns:
            The embedding, ``(embedding,)``.
        """
        starts, samples = self._windows(waveform.numel(), rate, min_coverage)
        padded = nn.functional.pad(waveform.reshape(1, -1), (0, max(0, samples - waveform.numel())))
        mel = self.mel(padded, torch.tensor([padded.size(1)], device=padded.device))[0]
        windows = torch.stack([mel[start : start + _PARTIAL_FRAMES] for start in starts])
        return self._unit(self(mel=windows).mean(dim=0))

    def embed_speaker(self, waveforms: list[Tensor], *, rate: float = 1.3, min_coverage: float = 0.75) -> Tensor:
        """Embeds a voice from several of its utterances: the mean of their embeddings, at length 1."""
        return self._unit(torch.stack([self.embed_utterance(one, rate=rate, min_coverage=min_coverage) for one in waveforms]).mean(dim=0))

    def _windows(self, samples: int, rate: float, min_coverage: float) -> tuple[list[int], int]:
        """First frames of the windows, and the samples that they need."""
        hop = self.settings.hop
        step = round(self.settings.sample_rate / rate / hop)
        if samples < 1 or not 1 <= step <= _PARTIAL_FRAMES or not 0 < min_coverage <= 1:
            raise PortValueError(
                "the utterance cannot be cut into windows",
                stage="load",
                where="embed_utterance",
                found=f"{samples} samples, rate={rate}, min_coverage={min_coverage}",
                expected=f"1 sample or more, a rate of {self.settings.sample_rate / hop / _PARTIAL_FRAMES} or more, a coverage up to 1",
            )
        frames = math.ceil((samples + 1) / hop)
        starts = list(range(0, max(1, frames - _PARTIAL_FRAMES + step + 1), step))
        covered = (samples - starts[-1] * hop) / (_PARTIAL_FRAMES * hop)
        if covered < min_coverage and len(starts) > 1:
            starts.pop()
        return starts, (starts[-1] + _PARTIAL_FRAMES) * hop

    @staticmethod
    def normalize_volume(waveform: Tensor, target_dbfs: float = -30.0) -> Tensor:
        """Raises a quiet recording to ``target_dbfs`` (decibels, 0 being a square wave at full scale); a louder one stays as it is."""
        loudness = waveform.square().mean().sqrt()
        gain = 10.0 ** (target_dbfs / 20.0) / loudness.clamp(min=1e-12)
        return waveform * gain.clamp(min=1.0) if bool(loudness > 0) else waveform

    # --- deployment ----------------------------------------------------------------------------------------------------------------

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """The waveform, the mel frames, and the length of each."""
        waveform: bool = self.export_config["front_end"]
        return {
            "waveform": NeuralType(("B", "T"), AudioSignal(self.settings.sample_rate), optional=not waveform),
            "waveform_length": NeuralType(("B",), LengthsType(), optional=not waveform),
            "mel": NeuralType(("B", "T", AxisType(AxisKind.Dimension, self.settings.mels)), MelSpectrogramType(), optional=waveform),
            "mel_length": NeuralType(("B",), LengthsType(), optional=waveform),
        }

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """The output ``embedding``."""
        return {"embedding": NeuralType(("B", AxisType(AxisKind.Dimension, self.settings.embedding)), EncodedRepresentation())}

    @property
    def disabled_deployment_input_names(self) -> set[str]:
        """The mel frames where ``export_config["front_end"]`` is true, else the waveform."""
        return {"mel", "mel_length"} if self.export_config["front_end"] else {"waveform", "waveform_length"}

    def input_example(self, max_batch: int = 3, max_dim: int = 37) -> tuple[dict[str, Tensor]]:
        """A ragged batch of noise, the same at every call.

        Args:
            max_batch: Rows; the first is full.
            max_dim: Mel frames; a waveform has as many samples as they need.
        """
        if max_batch < 1 or max_dim < 1:
            raise OptionError(
                "an example needs a row and a frame", where="input_example", found=f"max_batch={max_batch}, max_dim={max_dim}"
            )
        generator = torch.Generator().manual_seed(0)
        waveform = self.export_config["front_end"]
        size = max_dim * self.settings.hop - 1 if waveform else max_dim
        lengths = torch.randint((size + 1) // 2, size + 1, (max_batch,), generator=generator)
        lengths[0] = size
        if waveform:
            return ({"waveform": 0.1 * torch.randn(max_batch, size, generator=generator), "waveform_length": lengths},)
        return ({"mel": torch.rand(max_batch, size, self.settings.mels, generator=generator), "mel_length": lengths},)

    # --- pretrained ----------------------------------------------------------------------------------------------------------------

    @classmethod
    def list_available_models(cls) -> list[PretrainedModelInfo]:
        """The trained English encoder, and one with seeded random weights."""
        return [
            PretrainedModelInfo(
                _ENGLISH,
                "Trained on English speech, works on others too; 1.4 M weights, those of the package resemblyzer 0.1.4 (Apache-2.0)",
                "package:resemblyzer/pretrained.pt",
                RESEMBLYZER_SHA256,
            ),
            PretrainedModelInfo(_RANDOM, "1.4 M random weights from a fixed seed, trained on nothing", f"builtin:{_RANDOM}"),
        ]

    @classmethod
    def build_pretrained(cls, info: PretrainedModelInfo) -> SpeakerEncoder:
        """Builds a listed encoder.

        Raises:
            MissingDependencyError: The package with the trained weights is not installed.
            ArchiveError: The file with the weights is another one.
            UnknownModelError: It is not listed.
        """
        if info.pretrained_model_name not in (_ENGLISH, _RANDOM):
            raise UnknownModelError("SpeakerEncoder has no such model", found=info.pretrained_model_name, expected=f"{_ENGLISH}, {_RANDOM}")
        model = cls()
        if info.pretrained_model_name == _ENGLISH:
            model.load_state_dict(resemblyzer_weights())
        return model.eval()
