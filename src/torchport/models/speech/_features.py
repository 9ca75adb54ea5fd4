"""A model whose graph begins with an encoder of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from torchport.models.speech._base import SpeechModel
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
        """Features and lengths, and caches where the encoder streams."""
        return self.encoder.input_types

    def input_example(self) -> tuple[dict[str, Tensor]]:
        """A ragged batch of noise, the same at every call."""
        return self.encoder.input_example()

    def set_export_config(self, config: Mapping[str, Any]) -> None:
        """Changes export settings; ``cache_support`` makes the encoder take chunks with caches, ``first_chunk`` the first of them.

        Raises:
            OptionError: The model has no such setting.
            HookError: The encoder cannot take chunks.
        """
        known = self.get_export_config()
        wanted = {**known, **{name: value for name, value in config.items() if name in known}}
        chunks = self.encoder.streaming(first=bool(wanted["first_chunk"])) if wanted.get("cache_support") else None
        super().set_export_config(config)
        self.encoder.chunks = chunks
