"""FastPitch: text to mel spectrogram, with durations, pitch, speakers and pace in the caller's hand.

After Łańcucki, "FastPitch: Parallel Text-to-speech with Pitch Prediction" (https://arxiv.org/abs/2006.06873). ``forward`` is what training
calls, with forced keywords; ``forward_for_export`` is what a deployment needs. Both run the same network.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from torchport.errors import OptionError, UnknownModelError
from torchport.mixin import Exportable
from torchport.models._fastpitch_aligner import Aligner, monotonic_alignment
from torchport.models._fastpitch_durations import average_by_counts, frame_counts
from torchport.models._fastpitch_network import FastPitchNetwork, FastPitchSettings, Spoken
from torchport.models._fastpitch_ports import input_types, output_types
from torchport.models._fastpitch_transformer import length_mask
from torchport.models._settings import read_settings, seeded
from torchport.models.model_pt import ModelPT
from torchport.models.pretrained import PretrainedModelInfo
from torchport.ports import NeuralType

__all__ = ["FastPitch", "FastPitchSettings"]

_PRETRAINED = {
    "fastpitch-random": (FastPitchSettings(), "One voice, 3 M weights: random ones from a fixed seed, so what it says is noise"),
    "fastpitch-multispeaker-random": (
        FastPitchSettings(speakers=4, energy=True),
        "Four voices and energy, 3 M weights: random ones from a fixed seed, so what they say is noise",
    ),
}


class FastPitch(ModelPT, Exportable):
    """Text to mel spectrogram.

    Rounding the durations is a step: a predicted duration that ends in .5 to the last digit may be a frame more in another runtime. So
    ``durs_predicted`` holds the numbers before rounding, where such a tie can be seen.

    Args:
        cfg: `FastPitchSettings`, or a mapping with some of its fields.
        trainer: Kept as ``self.trainer``.

    Example:
        >>> model = FastPitch({"encoder_layers": 1, "decoder_layers": 1, "channels": 32, "hidden": 64}).eval()
        >>> spect, num_frames, *_ = model.forward_for_export(torch.tensor([[5, 7, 9]]))
        >>> spect.shape[2] == num_frames.item()
        True
    """

    __jit_unused_properties__: ClassVar[list[str]] = [
        *("cfg", "num_weights", "input_types", "output_types", "disabled_deployment_input_names", "disabled_deployment_output_names"),
    ]

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.settings = read_settings(FastPitchSettings, self.cfg)
        with seeded(self.settings.seed):
            self.network = FastPitchNetwork(self.settings)
            self.aligner = Aligner(mels=self.settings.mels, channels=self.settings.channels) if self.settings.learn_alignment else None

    # --- training ------------------------------------------------------------------------------------------------------------------

    def forward(
        self,
        *,
        text: Tensor,
        durs: Tensor | None = None,
        pitch: Tensor | None = None,
        speaker: Tensor | None = None,
        pace: Tensor | float = 1.0,
        spec: Tensor | None = None,
        attn_prior: Tensor | None = None,
        mel_lens: Tensor | None = None,
        input_lens: Tensor | None = None,
        energy: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What training calls: true durations, pitch and energy take the place of the predicted ones where they are given.

        Args:
            text: Token indices, int64 ``(batch, tokens)``.
            durs: True frames of each token, ``(batch, tokens)``.
            pitch: True pitch of each token ``(batch, tokens)``, or of each frame of ``spec``, which is then averaged over each token.
            speaker: Speaker indices, int64 ``(batch,)``.
            pace: How many times faster; a number, or one for each token.
            spec: True mel spectrogram ``(batch, mels, spec_frames)``: the aligner, where there is one, takes the durations from it.
            attn_prior: How likely each frame belongs to each token beforehand, ``(batch, spec_frames, tokens)``.
            mel_lens: Frames of each row of ``spec``, int64 ``(batch,)``.
            input_lens: Tokens of each row, int64 ``(batch,)``.
            energy: True energy, as ``pitch``.

        Returns:
            The outputs by the names of ``output_types``.
        """
        network = self.network
        mask = torch.ones_like(text, dtype=torch.bool) if input_lens is None else length_mask(input_lens, text.size(1))
        encoded = network.encode(text, mask, speaker)
        durs_predicted, log_durs_predicted = network.durations(encoded, mask)
        pitch_predicted = network.pitch_predictor(encoded, mask)
        aligned = self._align(text, mask, spec, attn_prior, mel_lens) if spec is not None and self.aligner is not None else {}
        durations = aligned.get("attn_hard_dur", durs if durs is not None else durs_predicted)
        counts = frame_counts(durations, torch.as_tensor(pace, dtype=encoded.dtype, device=encoded.device), network.max_frames_per_token)
        voiced = network.add_pitch(encoded, pitch_predicted if pitch is None else self._per_token(pitch, durations), mask)
        outputs: dict[str, Tensor] = {}
        if network.energy_predictor is not None:
            outputs["energy_predicted"] = network.energy_predictor(encoded, mask)
            voiced = network.add_energy(voiced, outputs["energy_predicted"] if energy is None else self._per_token(energy, durations), mask)
        spect, num_frames = network.decode(voiced, counts)
        return {
            "spect": spect,
            "num_frames": num_frames,
            "durs_predicted": durs_predicted,
            "log_durs_predicted": log_durs_predicted,
            "pitch_predicted": pitch_predicted,
            **outputs,
            **aligned,
        }

    def _align(self, text: Tensor, mask: Tensor, spec: Tensor, prior: Tensor | None, mel_lens: Tensor | None) -> dict[str, Tensor]:
        assert self.aligner is not None
        if mel_lens is None:
            mel_lens = spec.new_full((spec.size(0),), spec.size(2), dtype=torch.int64)
        soft, scores = self.aligner(spec, self.network.token_embedding(text), mask, prior)
        hard = monotonic_alignment(soft, mask.sum(dim=1), mel_lens)
        return {"attn_soft": soft, "attn_logprob": scores, "attn_hard": hard, "attn_hard_dur": hard.sum(dim=1).to(torch.int64)}

    @staticmethod
    def _per_token(values: Tensor, durations: Tensor) -> Tensor:
        return values if values.size(1) == durations.size(1) else average_by_counts(values, durations.round().to(torch.int64))

    # --- deployment ----------------------------------------------------------------------------------------------------------------

    def forward_for_export(
        self,
        text: Tensor,
        input_lens: Tensor | None = None,
        pitch: Tensor | None = None,
        pace: Tensor | None = None,
        speaker: Tensor | None = None,
    ) -> Spoken:
        """What a deployment calls.

        Args:
            text: Token indices, int64 ``(batch, tokens)``; what stands in the padding has no effect.
            input_lens: Tokens of each row, int64 ``(batch,)``; ``None``: every row is full.
            pitch: What is added to the predicted pitch of each token, ``(batch, tokens)``.
            pace: How many times faster each token is spoken, ``(batch, tokens)``, 0.25 to 4.
            speaker: Speaker indices, int64 ``(batch,)``, where there are several.

        Returns:
            ``spect``, ``num_frames``, ``durs_predicted``, ``log_durs_predicted``, ``pitch_predicted``.
        """
        spoken: Spoken = self.network(text, input_lens, pitch, pace, speaker)
        return spoken

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """Every input of training and deployment, by name."""
        return input_types(self.settings)

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """Every output of training and deployment, by name."""
        return output_types(self.settings)

    @property
    def disabled_deployment_input_names(self) -> set[str]:
        """What only training takes, and the speaker of a single voice."""
        return {"durs", "spec", "attn_prior", "mel_lens", "energy"} | (set() if self.settings.speakers > 1 else {"speaker"})

    @property
    def disabled_deployment_output_names(self) -> set[str]:
        """What only training reads."""
        return {"energy_predicted", "attn_soft", "attn_logprob", "attn_hard", "attn_hard_dur"}

    def input_example(self, max_batch: int = 3, max_dim: int = 37) -> tuple[dict[str, Tensor]]:
        """A ragged batch with paces from 0.75 to 1.5, the same at every call.

        Args:
            max_batch: Rows; the first is full.
            max_dim: Tokens.
        """
        if max_batch < 1 or max_dim < 1:
            raise OptionError(
                "an example needs a row and a token", where="input_example", found=f"max_batch={max_batch}, max_dim={max_dim}"
            )
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint((max_dim + 1) // 2, max_dim + 1, (max_batch,), generator=generator)
        lengths[0] = max_dim
        size = (max_batch, max_dim)
        example = {
            "text": torch.randint(0, self.settings.tokens, size, generator=generator) * length_mask(lengths, max_dim),
            "input_lens": lengths,
            "pitch": 0.5 * torch.randn(size, generator=generator),
            "pace": 0.75 + 0.75 * torch.rand(size, generator=generator),
            "speaker": torch.arange(max_batch) % self.settings.speakers,
        }
        return ({name: tensor for name, tensor in example.items() if name not in self.disabled_deployment_input_names},)

    # --- pretrained ----------------------------------------------------------------------------------------------------------------

    @classmethod
    def list_available_models(cls) -> list[PretrainedModelInfo]:
        """Voices with seeded random weights; no trained ones can be had without a network."""
        return [PretrainedModelInfo(name, description, f"builtin:{name}") for name, (_, description) in _PRETRAINED.items()]

    @classmethod
    def build_pretrained(cls, info: PretrainedModelInfo) -> FastPitch:
        """Builds a listed voice.

        Raises:
            UnknownModelError: It is not listed.
        """
        if info.pretrained_model_name not in _PRETRAINED:
            raise UnknownModelError("FastPitch has no such model", found=info.pretrained_model_name, expected=", ".join(_PRETRAINED))
        return cls(_PRETRAINED[info.pretrained_model_name][0]).eval()
