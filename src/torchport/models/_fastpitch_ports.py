"""The ports of FastPitch: names, axes and meanings of everything that training and deployment hand in and out."""

from __future__ import annotations

import torch
from torch import Tensor

from torchport.models._fastpitch_network import FastPitchSettings
from torchport.ports import Axis, AxisKind, AxisType, ElementType, NeuralType
from torchport.ports.elements import (
    Index,
    LengthsType,
    LogprobsType,
    MelSpectrogramType,
    ProbsType,
    RegressionValuesType,
    SequenceToSequenceAlignmentType,
    TokenDurationType,
    TokenIndex,
    TokenLogDurationType,
)

__all__ = ["PaceType", "input_types", "output_types"]

TOKENS = Axis("tokens", kind=AxisKind.Time)
FRAMES = Axis("frames", kind=AxisKind.Time)
SPEC_FRAMES = Axis("spec_frames", kind=AxisKind.Time)


class PaceType(ElementType):
    """How many times faster than usual a token is spoken: a positive number."""

    dtype = "float32"

    def sample(self, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
        """Paces from 0.75 to 1.5."""
        return (0.75 + 0.75 * torch.rand(shape, generator=generator)).to(dtype)


def input_types(settings: FastPitchSettings) -> dict[str, NeuralType]:
    """Every input by name, in the order of ``forward_for_export``, then what only training takes."""
    mels = AxisType(AxisKind.Dimension, settings.mels)
    return {
        "text": NeuralType(("B", TOKENS), TokenIndex(settings.tokens)),
        "input_lens": NeuralType(("B",), LengthsType()),
        "pitch": NeuralType(("B", TOKENS), RegressionValuesType(), optional=True),
        "pace": NeuralType(("B", TOKENS), PaceType(), optional=True),
        "speaker": NeuralType(("B",), Index(settings.speakers), optional=settings.speakers == 1),
        "durs": NeuralType(("B", TOKENS), TokenDurationType(), optional=True),
        "energy": NeuralType(("B", TOKENS), RegressionValuesType(), optional=True),
        "spec": NeuralType(("B", mels, SPEC_FRAMES), MelSpectrogramType(), optional=True),
        "mel_lens": NeuralType(("B",), LengthsType(), optional=True),
        "attn_prior": NeuralType(("B", SPEC_FRAMES, TOKENS), ProbsType(), optional=True),
    }


def output_types(settings: FastPitchSettings) -> dict[str, NeuralType]:
    """Every output by name: those of a deployment, then what only training reads."""
    return {
        "spect": NeuralType(("B", AxisType(AxisKind.Dimension, settings.mels), FRAMES), MelSpectrogramType()),
        "num_frames": NeuralType(("B",), LengthsType()),
        "durs_predicted": NeuralType(("B", TOKENS), TokenDurationType(), dtype="float32"),
        "log_durs_predicted": NeuralType(("B", TOKENS), TokenLogDurationType()),
        "pitch_predicted": NeuralType(("B", TOKENS), RegressionValuesType()),
        "energy_predicted": NeuralType(("B", TOKENS), RegressionValuesType()),
        "attn_soft": NeuralType(("B", SPEC_FRAMES, TOKENS), SequenceToSequenceAlignmentType()),
        "attn_logprob": NeuralType(("B", SPEC_FRAMES, TOKENS), LogprobsType()),
        "attn_hard": NeuralType(("B", SPEC_FRAMES, TOKENS), SequenceToSequenceAlignmentType()),
        "attn_hard_dur": NeuralType(("B", TOKENS), TokenDurationType()),
    }
