"""AlexNet: five convolutions, three linear layers; the image classifier that exporters use as their example.

After Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (https://arxiv.org/abs/1404.5997). The weights have the
names that torchvision gives them, so that a state dict from there loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from torchport.errors import OptionError, UnknownModelError
from torchport.mixin import Exportable
from torchport.models._settings import read_settings, seed_setting, seeded, setting
from torchport.models.model_pt import ModelPT
from torchport.models.pretrained import PretrainedModelInfo
from torchport.ports import AxisKind, AxisType, NeuralType
from torchport.ports.elements import ImageValue, LogitsType

__all__ = ["AlexNet", "AlexNetSettings"]


@dataclass(frozen=True)
class AlexNetSettings:
    """The settings of `AlexNet`.

    Attributes:
        num_classes: Classes to tell apart.
        width: Factor on every hidden width; 1 is the published network of 61 million weights.
        image_size: Height and width of the images in pixels, 63 or more.
        dropout: Dropout of the classifier while training.
        seed: Where the random weights start.
    """

    num_classes: int = setting(1000, least=1)
    width: float = setting(1.0, above=0)
    image_size: int = 224
    dropout: float = setting(0.5, least=0, most=1)
    seed: int = seed_setting()


_PRETRAINED = {
    "alexnet-random": ({}, "AlexNet at its published size, 61 M weights: random ones from a fixed seed, trained on nothing"),
    "alexnet-small-random": (
        {"width": 0.25},
        "AlexNet at a quarter of its widths, 5 M weights: random ones from a fixed seed, trained on nothing",
    ),
}


def _after(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    return (size + 2 * padding - kernel) // stride + 1


def _feature_size(image_size: int) -> int:
    """Height and width of the last feature map."""
    size = _after(_after(image_size, 11, 4, 2), 3, 2)
    return _after(_after(size, 3, 2), 3, 2)


class AlexNet(ModelPT, Exportable):
    """Image classifier.

    Height and width are fixed: the linear layers know the size of the feature map, and an adaptive pool over an unknown size has no ONNX
    form. The batch is dynamic.

    Args:
        cfg: `AlexNetSettings`, or a mapping with some of its fields.
        trainer: Kept as ``self.trainer``.

    Example:
        >>> model = AlexNet({"num_classes": 10, "width": 0.0625, "image_size": 63}).eval()
        >>> model(torch.zeros(2, 3, 63, 63)).shape
        torch.Size([2, 10])
    """

    __jit_unused_properties__: ClassVar[list[str]] = ["cfg", "num_weights", "input_types", "output_types"]

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        settings = read_settings(AlexNetSettings, self.cfg)
        self.image_size = settings.image_size
        self.num_classes = settings.num_classes
        side = _feature_size(settings.image_size)
        if side < 1:
            raise OptionError(
                "the images are too small for the network", where="image_size", found=settings.image_size, expected="63 or more"
            )
        with seeded(settings.seed):
            self._build(settings, side)

    def _build(self, settings: AlexNetSettings, side: int) -> None:
        c1, c2, c3, c4, hidden = (max(1, round(channels * settings.width)) for channels in (64, 192, 384, 256, 4096))
        self.features = nn.Sequential(
            *(nn.Conv2d(3, c1, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(c1, c2, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c4, c4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.classifier = nn.Sequential(
            *(nn.Dropout(settings.dropout), nn.Linear(c4 * side * side, hidden), nn.ReLU()),
            *(nn.Dropout(settings.dropout), nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, settings.num_classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Classifies.

        Args:
            image: ``(batch, 3, image_size, image_size)``, normalised as the weights were trained.

        Returns:
            Logits, ``(batch, num_classes)``.
        """
        logits: Tensor = self.classifier(self.features(image).flatten(1))
        return logits

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """The input ``image``."""
        height, width = AxisType(AxisKind.Height, self.image_size), AxisType(AxisKind.Width, self.image_size)
        return {"image": NeuralType(("B", AxisType(AxisKind.Channel, 3), height, width), ImageValue())}

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """The output ``logits``."""
        return {"logits": NeuralType(("B", AxisType(AxisKind.Dimension, self.num_classes)), LogitsType())}

    def input_example(self, max_batch: int = 3) -> tuple[Tensor]:
        """Noise of the right shape, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        return (torch.randn(max_batch, 3, self.image_size, self.image_size, generator=generator),)

    @classmethod
    def list_available_models(cls) -> list[PretrainedModelInfo]:
        """Networks with seeded random weights; no trained ones can be had without a network."""
        return [PretrainedModelInfo(name, description, f"builtin:{name}") for name, (_, description) in _PRETRAINED.items()]

    @classmethod
    def build_pretrained(cls, info: PretrainedModelInfo) -> AlexNet:
        """Builds a listed network.

        Raises:
            UnknownModelError: It is not listed.
        """
        if info.pretrained_model_name not in _PRETRAINED:
            raise UnknownModelError("AlexNet has no such model", found=info.pretrained_model_name, expected=", ".join(_PRETRAINED))
        cfg: Mapping[str, Any] = _PRETRAINED[info.pretrained_model_name][0]
        return cls(cfg).eval()
