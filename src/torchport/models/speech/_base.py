"""What the rebuilt models of speech share: features and lengths in, an example of them, and which of an archive's weights they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchport.mixin import Exportable
from torchport.models.model_pt import ModelPT
from torchport.models.speech._options import Options
from torchport.models.speech._streaming import Streaming, cannot_stream
from torchport.ports import AxisKind, AxisType, NeuralType
from torchport.ports.elements import AcousticEncodedRepresentation, LengthsType, LogprobsType, SpectrogramType

__all__ = ["EncoderPart", "SpeechModel", "ctc_types", "feature_ports", "features_example"]

_ROWS, _FRAMES = 3, 61
"""An odd number of frames, of which a few are left after subsampling by eight."""


def feature_ports(bands: int) -> dict[str, NeuralType]:
    """The ports of an encoder: features ``(batch, band, time)`` and the frames of each row."""
    return {
        "audio_signal": NeuralType(("B", AxisType(AxisKind.Dimension, bands), "T"), SpectrogramType()),
        "length": NeuralType(("B",), LengthsType()),
    }


def features_example(bands: int, frames: int = _FRAMES) -> dict[str, Tensor]:
    """A ragged batch of noise, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([max(1, frames - row * frames // (2 * _ROWS)) for row in range(_ROWS)])
    return {"audio_signal": torch.randn(_ROWS, bands, frames, generator=generator), "length": lengths}


def ctc_types() -> dict[str, NeuralType]:
    """The outputs of CTC: log-probabilities ``(batch, time, token)`` and the frames of each row."""
    return {"logprobs": NeuralType(("B", "T", "D"), LogprobsType()), "encoded_lengths": NeuralType(("B",), LengthsType())}


class EncoderPart(nn.Module):
    """What an encoder says of itself, to become a graph of its own.

    Attributes:
        bands: Bands of a frame of features.
        width: Numbers of an encoded frame.
        factor: Frames of features for one encoded frame.
    """

    bands: int
    width: int
    factor: int
    chunks: Streaming | None = None
    """How the graph takes chunks, with caches; ``None``: it takes all at once."""

    def streaming(self, *, first: bool) -> Streaming:
        """How the encoder takes chunks.

        Args:
            first: The first chunk, or any other.

        Raises:
            HookError: It cannot.
        """
        raise cannot_stream("a Conformer encoder")

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """Features and lengths, and caches where it streams."""
        return {**feature_ports(self.bands), **({} if self.chunks is None else self.chunks.input_types)}

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """Encoded frames ``(batch, width, time)`` and lengths, and caches where it streams."""
        encoded = NeuralType(("B", AxisType(AxisKind.Dimension, self.width), "T"), AcousticEncodedRepresentation())
        return {"outputs": encoded, "encoded_lengths": NeuralType(("B",), LengthsType()), **self.cache_types}

    @property
    def cache_types(self) -> dict[str, NeuralType]:
        """The caches for the next chunk, where it streams."""
        return {} if self.chunks is None else self.chunks.output_types

    def input_example(self) -> tuple[dict[str, Tensor]]:
        """A ragged batch of noise, the same at every call."""
        if self.chunks is None:
            return (features_example(self.bands),)
        return ({**features_example(self.bands, self.chunks.frames), **self.chunks.example(_ROWS)},)


class SpeechModel(ModelPT, Exportable):
    """A model of NeMo's, rebuilt for inference.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    _outside: ClassVar[tuple[str, ...]] = ("preprocessor.", "spec_augmentation.", "loss.", "eval_loss.")
    """What the names of weights begin with that the graph has no part in: the front end is fed its result, losses are for training."""

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        Options(self.cfg, "model").only("adapters", None)  # they are layers of their own inside the others

    def weights_from_archive(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The weights without those of parts that the graph has none of; in single precision, as NeMo computes with any."""
        kept = {name: value for name, value in state.items() if not name.startswith(self._outside)}
        return {name: value.float() if isinstance(value, Tensor) and value.is_floating_point() else value for name, value in kept.items()}
