"""The model families that a name or a checkpoint may bring to life; listing them imports neither torch nor a family."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchport._registry import Registry
from torchport.errors import OptionError, TorchportError

if TYPE_CHECKING:
    from torchport.models.model_pt import ModelPT

__all__ = ["ENTRY_POINT_GROUP", "Family", "families", "family_of_pretrained", "family_of_target"]

ENTRY_POINT_GROUP = "torchport.models"


@dataclass(frozen=True)
class Family:
    """One model class that torchport knows by name.

    A third party's package offers its own through the entry-point group ``torchport.models``; the entry point names a ``Family``, in
    a module that imports nothing heavy.

    Attributes:
        name: What the command line calls it (``"alexnet"``).
        path: Where the class is, ``package.module:Class``. It is imported when it is needed.
        description: One sentence for the list.
        pretrained: Names that ``from_pretrained`` takes.
        aliases: Further values of ``target`` in a checkpoint's config that mean this class (``package.module.Class``).
        seed: The setting of its config where random weights start; empty where the class takes torch's own random state.

    Example:
        >>> Family("tagger", "my_package.tagger:Tagger", "Part-of-speech tagger").target
        'my_package.tagger.Tagger'
    """

    name: str
    path: str
    description: str
    pretrained: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    seed: str = ""

    def __post_init__(self) -> None:
        module, _, name = self.path.partition(":")
        if not module or not name:
            raise OptionError(
                f"the model family {self.name!r} does not say where its class is", found=self.path, expected="package.module:Class"
            )

    @property
    def target(self) -> str:
        """The class's dotted path, as a checkpoint's config spells it."""
        return self.path.replace(":", ".")

    def load(self) -> type[ModelPT]:
        """Imports the class.

        Raises:
            TorchportError: The module cannot be imported, or has no such class.
        """
        module_name, _, class_name = self.path.partition(":")
        try:
            found: object = importlib.import_module(module_name)
            for part in class_name.split("."):
                found = getattr(found, part)
        except TorchportError:
            raise
        except Exception as error:
            raise TorchportError(
                f"the model family {self.name!r} cannot be imported",
                stage="load",
                where=self.path,
                found=f"{type(error).__name__}: {error}",
            ) from error
        from torchport.models.model_pt import ModelPT

        if not (isinstance(found, type) and issubclass(found, ModelPT)):
            raise TorchportError(f"the model family {self.name!r} is not a ModelPT", stage="load", where=self.path, found=repr(found))
        return found


families: Registry[Family] = Registry("model family", group=ENTRY_POINT_GROUP)
"""Every family, by name."""

_NEMO_ASR, _NEMO_TTS = "nemo.collections.asr.models", "nemo.collections.tts.models"

for _family in (
    Family(
        "alexnet",
        "torchport.models.alexnet:AlexNet",
        "Image classifier: five convolutions, three linear layers",
        pretrained=("alexnet-random", "alexnet-small-random"),
        seed="seed",
    ),
    Family(
        "fastpitch",
        "torchport.models.fastpitch:FastPitch",
        "Text to mel spectrogram, with durations, pitch, speakers and pace",
        pretrained=("fastpitch-random", "fastpitch-multispeaker-random"),
        seed="seed",
    ),
    Family(
        "speaker-encoder",
        "torchport.models.speaker_encoder:SpeakerEncoder",
        "Speech to a 256-number voice embedding, waveform in",
        pretrained=("speaker-encoder-en", "speaker-encoder-random"),
        seed="seed",
    ),
    Family(
        "nemo-ctc",
        "torchport.models.speech.ctc:CtcModel",
        "NeMo's speech recognition with CTC, from its archive",
        aliases=(
            *(f"{_NEMO_ASR}.ctc_models.EncDecCTCModel", f"{_NEMO_ASR}.EncDecCTCModel"),
            *(f"{_NEMO_ASR}.ctc_bpe_models.EncDecCTCModelBPE", f"{_NEMO_ASR}.EncDecCTCModelBPE"),
        ),
    ),
    Family(
        "nemo-transducer",
        "torchport.models.speech.transducer:TransducerModel",
        "NeMo's speech recognition with RNNT and TDT, from its archive",
        aliases=(
            *(f"{_NEMO_ASR}.rnnt_models.EncDecRNNTModel", f"{_NEMO_ASR}.EncDecRNNTModel"),
            *(f"{_NEMO_ASR}.rnnt_bpe_models.EncDecRNNTBPEModel", f"{_NEMO_ASR}.EncDecRNNTBPEModel"),
        ),
    ),
    Family(
        "nemo-hybrid",
        "torchport.models.speech.transducer:HybridModel",
        "NeMo's speech recognition with RNNT or TDT and CTC on one encoder, from its archive",
        aliases=(
            *(f"{_NEMO_ASR}.hybrid_rnnt_ctc_models.EncDecHybridRNNTCTCModel", f"{_NEMO_ASR}.EncDecHybridRNNTCTCModel"),
            *(f"{_NEMO_ASR}.hybrid_rnnt_ctc_bpe_models.EncDecHybridRNNTCTCBPEModel", f"{_NEMO_ASR}.EncDecHybridRNNTCTCBPEModel"),
        ),
    ),
    Family(
        "nemo-classifier",
        "torchport.models.speech.classifying:Classifier",
        "NeMo's classification of speech (MatchboxNet, MarbleNet), from its archive",
        aliases=(f"{_NEMO_ASR}.classification_models.EncDecClassificationModel", f"{_NEMO_ASR}.EncDecClassificationModel"),
    ),
    Family(
        "nemo-frame-classifier",
        "torchport.models.speech.classifying:FrameClassifier",
        "NeMo's classification of frames (voice activity), from its archive",
        aliases=(f"{_NEMO_ASR}.classification_models.EncDecFrameClassificationModel", f"{_NEMO_ASR}.EncDecFrameClassificationModel"),
    ),
    Family(
        "nemo-speaker",
        "torchport.models.speech.speaker:SpeakerModel",
        "NeMo's voice embeddings (TitaNet, SpeakerNet, ECAPA), from its archive",
        aliases=(f"{_NEMO_ASR}.label_models.EncDecSpeakerLabelModel", f"{_NEMO_ASR}.EncDecSpeakerLabelModel"),
    ),
    Family(
        "nemo-fastpitch",
        "torchport.models.speech.voice:Voice",
        "NeMo's FastPitch, from its archive",
        aliases=(f"{_NEMO_TTS}.fastpitch.FastPitchModel", f"{_NEMO_TTS}.FastPitchModel"),
    ),
    Family(
        "nemo-hifigan",
        "torchport.models.speech.vocoder:Vocoder",
        "NeMo's HiFi-GAN, from its archive",
        aliases=(f"{_NEMO_TTS}.hifigan.HifiGanModel", f"{_NEMO_TTS}.HifiGanModel"),
    ),
):
    families.add(_family.name, _family)


def family_of_target(target: str) -> Family | None:
    """The family that a checkpoint's ``target`` means, if it is registered."""
    for family in families.values():
        if target == family.target or target in family.aliases:
            return family
    return None


def family_of_pretrained(name: str) -> Family | None:
    """The family that offers the pretrained model ``name``, if one does."""
    for family in families.values():
        if name in family.pretrained:
            return family
    return None
