"""A model whose graph begins with an encoder of features."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from torchport.models.speech._base import SpeechModel, feature_ports, features_example
from torchport.models.speech.encoders import build_encoder
from torchport.ports import NeuralType

__all__ = ["FeatureModel"]


class FeatureModel(SpeechModel):
    """An encoder, and what a subclass makes of its frames.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.encoder = build_encoder(self.cfg.get("encoder"))

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """Features and lengths."""
        return feature_ports(self.encoder.bands)

    def input_example(self) -> tuple[dict[str, Tensor]]:
        """A ragged batch of noise, the same at every call."""
        return (features_example(self.encoder.bands),)
