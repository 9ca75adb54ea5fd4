"""Which encoder a config's section means."""

from __future__ import annotations

from typing import TypeAlias

from torchport.models.speech._options import Options
from torchport.models.speech.conformer import ConformerEncoder
from torchport.models.speech.convolutional import ConvolutionalEncoder, ParallelEncoder
from torchport.models.speech.ecapa import EcapaEncoder
from torchport.models.speech.recurrent import RecurrentEncoder

__all__ = ["Encoder", "build_encoder", "class_of"]

Encoder: TypeAlias = ConformerEncoder | ConvolutionalEncoder | EcapaEncoder | RecurrentEncoder

_ENCODERS: dict[str, type[Encoder]] = {
    "ConformerEncoder": ConformerEncoder,
    "ConvASREncoder": ConvolutionalEncoder,
    "ParallelConvASREncoder": ParallelEncoder,
    "ECAPAEncoder": EcapaEncoder,
    "RNNEncoder": RecurrentEncoder,
}


def build_encoder(section: object, where: str = "encoder") -> Encoder:
    """Builds the encoder that a section describes.

    Args:
        section: The section, with its ``_target_``.
        where: Its place in the config.

    Raises:
        UnsupportedOptionError: It is of another class, or uses an option that is not rebuilt.
    """
    options = Options(section, where)
    return _ENCODERS[class_of(options, *_ENCODERS)](options)


def class_of(options: Options, *known: str) -> str:
    """The name of the class in a section's ``_target_`` or ``cls``, one of ``known``.

    NeMo has moved its classes between modules, never renamed these: the last part of the path tells which it is.
    """
    path = options.raw("_target_") or options.raw("cls")
    name = path.rpartition(".")[2] if isinstance(path, str) else path
    options.without_effect("_target_", "cls")
    if name not in known:
        Options({"_target_": path}, options.where).text("_target_", among=[f"….{one}" for one in known])
    return str(name)
