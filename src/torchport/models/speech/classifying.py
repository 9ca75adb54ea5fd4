"""Models that answer what is heard, for a whole row or for each frame: keywords, languages, voice activity.

After Majumdar and Ginsburg, "MatchboxNet" (https://arxiv.org/abs/2004.08531), and Jia et al., "MarbleNet" (https://arxiv.org/abs/2010.13886).
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from torchport.models.speech._features import FeatureModel
from torchport.models.speech._metadata import of_encoder, of_labels
from torchport.models.speech._options import Options
from torchport.models.speech.encoders import class_of
from torchport.ports import NeuralType
from torchport.ports.elements import LogitsType

__all__ = ["ClassifierHead", "Classifier", "FrameClassifier", "FrameHead"]

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class ClassifierHead(nn.Module):
    """Scores of every class for a whole row.

    Args:
        section: The config's section ``decoder``.
    """

    def __init__(self, section: object) -> None:
        super().__init__()
        options = Options(section, "decoder")
        class_of(options, "ConvASRDecoderClassification")
        width, classes = options.number("feat_in", least=1), options.number("num_classes", least=1)
        self.greatest = options.text("pooling_type", "avg", among=("avg", "max")) == "max"
        self.normalised = not options.flag("return_logits", True)
        options.without_effect("init_mode")
        options.done()
        self.decoder_layers = nn.Sequential(nn.Linear(width, classes))

    def forward(self, encoded: Tensor) -> Tensor:
        """``(batch, width, time)`` to scores ``(batch, class)``; frames in the padding count too, as they do in training."""
        scores: Tensor = self.decoder_layers(encoded.amax(dim=2) if self.greatest else encoded.mean(dim=2))
        return scores.softmax(dim=-1) if self.normalised else scores


class FrameHead(nn.Module):
    """Scores of every class for each frame: linear layers with an activation in between.

    Args:
        section: The config's section ``decoder``.
    """

    def __init__(self, section: object) -> None:
        super().__init__()
        options = Options(section, "decoder")
        class_of(options, "MultiLayerPerceptron")
        width, classes = options.number("hidden_size", least=1), options.number("num_classes", least=1)
        count = options.count("num_layers", 2)
        activation = _ACTIVATIONS[options.text("activation", "relu", among=_ACTIVATIONS)]
        self.normalised = options.flag("log_softmax", True)
        options.only("channel_idx", None)
        options.done()
        self.count = 2 * count - 1
        for place in range(self.count):
            last = place == self.count - 1
            self.add_module(f"layer{place}", activation() if place % 2 else nn.Linear(width, classes if last else width))

    def forward(self, encoded: Tensor) -> Tensor:
        """``(batch, width, time)`` to scores ``(batch, time, class)``."""
        x = encoded.transpose(1, 2)
        for place in range(self.count):
            x = self.get_submodule(f"layer{place}")(x)
        return x.log_softmax(dim=-1) if self.normalised else x


class _Classifying(FeatureModel):
    """An encoder, and a head that classifies what it gives.

    Attributes:
        head: The class of the head, made from the config's section ``decoder``.
        task: What the artifact says that it is for.
    """

    head: ClassVar[type[nn.Module]]
    task: ClassVar[str]

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.decoder = self.head(self.cfg.get("decoder"))

    def forward(self, audio_signal: Tensor, length: Tensor) -> Tensor:
        """Classifies features ``(batch, band, time)`` with lengths int64 ``(batch,)``; gives what the head gives."""
        encoded, _ = self.encoder(audio_signal, length)
        answer: Tensor = self.decoder(encoded)
        return answer

    def export_metadata(self, subnet: str = "self") -> dict[str, Any]:
        """Feature settings and what the classes are called."""
        stated = of_encoder(self.cfg, self.encoder)
        return {"task": self.task, "model_class": self.cfg["target"], **stated, **of_labels(self.cfg)}


class Classifier(_Classifying):
    """An encoder and a classifier of whole rows: NeMo's ``EncDecClassificationModel``.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    head = ClassifierHead
    task = "classification"

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """Scores of every class, ``(batch, class)``."""
        return {"logits": NeuralType(("B", "D"), LogitsType())}


class FrameClassifier(_Classifying):
    """An encoder and a classifier of frames: NeMo's ``EncDecFrameClassificationModel``.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    head = FrameHead
    task = "frame_classification"

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """Scores of every class for each frame, ``(batch, time, class)``."""
        return {"outputs": NeuralType(("B", "T", "D"), LogitsType())}
