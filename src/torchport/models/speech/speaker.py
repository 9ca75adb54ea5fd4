"""Models that know speakers by their voice: an encoder, a vector for the row, scores of the speakers that training knew.

After Koluguri et al., "TitaNet" (https://arxiv.org/abs/2110.04410) and "SpeakerNet" (https://arxiv.org/abs/2010.12653).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from torchport.models.speech._features import FeatureModel
from torchport.models.speech._metadata import of_encoder, of_labels
from torchport.models.speech._options import Options
from torchport.models.speech._tdnn import AttentivePooling, StatisticsPooling
from torchport.models.speech.encoders import class_of
from torchport.ports import NeuralType
from torchport.ports.elements import AcousticEncodedRepresentation, LogitsType

__all__ = ["SpeakerHead", "SpeakerModel"]


class SpeakerHead(nn.Module):
    """Pools the frames of a row, and makes a vector and scores of it.

    Args:
        section: The config's section ``decoder``.
    """

    def __init__(self, section: object) -> None:
        super().__init__()
        options = Options(section, "decoder")
        class_of(options, "SpeakerDecoder")
        width, speakers = options.number("feat_in", least=1), options.number("num_classes", least=1)
        self.angular = options.flag("angular", False)
        mode = options.text("pool_mode", "xvector").lower()
        Options({"pool_mode": mode}, "decoder").only("pool_mode", "xvector", "tap", "attention")
        inner = options.number("attention_channels", 128, least=1)
        sizes = options.numbers("emb_sizes", [256])
        options.without_effect("init_mode")
        options.done()
        attends = mode == "attention"
        self._pooling = AttentivePooling(width, inner) if attends else StatisticsPooling(width, deviation=mode == "xvector")
        shapes = [self._pooling.width, *sizes]
        layers = [_convolved(before, after) if attends else _linear(before, after) for before, after in zip(shapes, sizes, strict=False)]
        self.emb_layers = nn.ModuleList(layers)
        self.final = nn.Linear(shapes[-1], speakers, bias=not self.angular)

    def forward(self, encoded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, width, time)`` and lengths to scores ``(batch, speaker)`` and the vector ``(batch, number)``."""
        x = self._pooling(encoded, lengths)
        vector = x
        for layer in self.emb_layers:
            assert isinstance(layer, nn.Sequential)  # of two layers and sometimes a ReLU, before which the vector is taken
            vector = layer[:2](x)
            x = layer[2:](vector)
        x, vector = x.flatten(1), vector.flatten(1)
        return self.final(F.normalize(x, dim=1) if self.angular else x), vector


class SpeakerModel(FeatureModel):
    """An encoder and a speaker decoder: NeMo's ``EncDecSpeakerLabelModel``, with any encoder.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.decoder = SpeakerHead(self.cfg.get("decoder"))

    def forward(self, audio_signal: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Knows the speakers of features ``(batch, band, time)`` with lengths int64 ``(batch,)``.

        Returns:
            Scores ``(batch, speaker)`` and the vectors ``(batch, number)`` that voices are compared by.
        """
        scores, vectors = self.decoder(*self.encoder(audio_signal, length))
        return scores, vectors

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """Scores of every speaker and the vectors."""
        return {"logits": NeuralType(("B", "D"), LogitsType()), "embs": NeuralType(("B", "D"), AcousticEncodedRepresentation())}

    def export_metadata(self, subnet: str = "self") -> dict[str, Any]:
        """Feature settings and who the speakers are."""
        stated = of_encoder(self.cfg, self.encoder)
        return {"task": "speaker", "model_class": self.cfg["target"], **stated, **of_labels(self.cfg)}


def _convolved(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(before), nn.Conv1d(before, after, 1))


def _linear(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, after), nn.BatchNorm1d(after, affine=False), nn.ReLU())
