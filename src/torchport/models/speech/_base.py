"""What the rebuilt models of speech share: features and lengths in, an example of them, and which of an archive's weights they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from torchport.mixin import Exportable
from torchport.models.model_pt import ModelPT
from torchport.models.speech._options import Options
from torchport.ports import AxisKind, AxisType, NeuralType
from torchport.ports.elements import LengthsType, SpectrogramType

__all__ = ["SpeechModel", "feature_ports", "features_example"]

_ROWS, _FRAMES = 3, 61
"""An odd number of frames, of which a few are left after subsampling by eight."""


def feature_ports(bands: int) -> dict[str, NeuralType]:
    """The ports of an encoder: features ``(batch, band, time)`` and the frames of each row."""
    return {
        "audio_signal": NeuralType(("B", AxisType(AxisKind.Dimension, bands), "T"), SpectrogramType()),
        "length": NeuralType(("B",), LengthsType()),
    }


def features_example(bands: int) -> dict[str, Tensor]:
    """A ragged batch of noise, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([max(1, _FRAMES - row * _FRAMES // (2 * _ROWS)) for row in range(_ROWS)])
    return {"audio_signal": torch.randn(_ROWS, bands, _FRAMES, generator=generator), "length": lengths}


class SpeechModel(ModelPT, Exportable):
    """A model of NeMo's, rebuilt for inference.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    _outside: ClassVar[tuple[str, ...]] = ("preprocessor.", "spec_augmentation.", "loss.")
    """What the names of weights begin with that the graph has no part in: the front end is fed its result, losses are for training."""

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        Options(self.cfg, "model").only("adapters", None)  # they are layers of their own inside the others

    def weights_from_archive(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The weights without those of parts that the graph has none of."""
        return {name: value for name, value in state.items() if not name.startswith(self._outside)}
