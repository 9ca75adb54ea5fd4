"""What the numbers of a port mean: the hierarchy of element types of speech, text and vision.

VoidType stands for anything. Names and parameters follow those that speech toolkits use already, so that declared types carry over.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torchport.errors import PortValueError
from torchport.ports.dtypes import DTypeKind
from torchport.ports.element import ElementType

__all__ = [
    "AcousticEncodedRepresentation",
    "AudioSignal",
    "BoolType",
    "CategoricalValuesType",
    "ChannelType",
    "ClassificationTarget",
    "EmbeddedTextType",
    "EncodedRepresentation",
    "FloatType",
    "HypothesisType",
    "ImageFeatureValue",
    "ImageValue",
    "Index",
    "IntRange",
    "IntType",
    "LabelsType",
    "Length",
    "LengthsType",
    "LogDeterminantType",
    "LogitsType",
    "LogprobsType",
    "LossType",
    "MFCCSpectrogramType",
    "MaskType",
    "MelSpectrogramType",
    "NormalDistributionLogVarianceType",
    "NormalDistributionMeanType",
    "NormalDistributionSamplesType",
    "NormalizedImageValue",
    "OffsetsType",
    "PredictionsType",
    "ProbabilityDistributionSamplesType",
    "ProbsType",
    "RegressionValuesType",
    "SequenceToSequenceAlignmentType",
    "SpectrogramType",
    "StringLabel",
    "StringType",
    "Target",
    "TokenDurationType",
    "TokenIndex",
    "TokenLogDurationType",
    "VideoSignal",
    "VideoType",
    "VoidType",
]


_FLOAT: frozenset[DTypeKind] = frozenset({"float"})
_INT: frozenset[DTypeKind] = frozenset({"int", "uint"})
_NUMBER: frozenset[DTypeKind] = frozenset({"float", "int", "uint"})


class VoidType(ElementType):
    """Anything: compatible with every type."""

    accepts_anything = True


class FloatType(ElementType):
    """A real number of no further meaning."""

    dtype, kinds = "float32", _FLOAT


class IntType(ElementType):
    """A whole number of no further meaning."""

    dtype, kinds = "int64", _INT


class IntRange(IntType):
    """A whole number of a range.

    Args:
        min: The least that it may be.
        max: The greatest that it may be, or usually is. ``None``: not said.
        reach: The greatest that it may be, where numbers so large are rare; they are tried by themselves.

    Raises:
        PortValueError: ``min`` is above ``max``, or ``max`` above ``reach``.

    Example:
        >>> IntRange(min=1, max=12)
        IntRange(min=1, max=12)
    """

    values = "index"

    def __init__(self, min: int = 0, max: int | None = None, reach: int | None = None) -> None:
        if max is not None and min > max:
            raise PortValueError("a range has no number", where=type(self).__name__, found=f"{min} to {max}", expected="min up to max")
        if reach is not None and (max is None or reach < max):
            raise PortValueError(
                "a range ends before what is usual", where=type(self).__name__, found=f"reach={reach}", expected=f"{max} up"
            )
        self.min, self.max, self.reach = min, max, reach

    @property
    def type_parameters(self) -> dict[str, Any]:
        """The ends ``min`` and ``max``, both included, and ``reach``."""
        return {"min": self.min, "max": self.max, "reach": self.reach}


class BoolType(ElementType):
    """A truth value of no further meaning."""

    dtype, kinds = "bool", frozenset({"bool"})


class StringType(ElementType):
    """A string; it never enters a graph of torch."""

    dtype, kinds = "string", frozenset({"string"})


class StringLabel(StringType):
    """A label that is a string."""


class ChannelType(ElementType):
    """A channel of a feature map."""

    dtype, kinds, values = "float32", _FLOAT, "normal"


class EmbeddedTextType(ChannelType):
    """An embedding of a word or token."""


class EncodedRepresentation(ChannelType):
    """What an encoder makes of its input."""


class AcousticEncodedRepresentation(EncodedRepresentation):
    """What an acoustic encoder makes of a recording."""


class SpectrogramType(ChannelType):
    """A spectrogram."""


class MelSpectrogramType(SpectrogramType):
    """A spectrogram over mel bands."""


class MFCCSpectrogramType(SpectrogramType):
    """Mel-frequency cepstral coefficients."""


class _Sampled(ElementType):
    """A signal with a sampling frequency."""

    def __init__(self, freq: int | None = None) -> None:
        self.freq = freq

    @property
    def type_parameters(self) -> dict[str, Any]:
        """The sampling frequency ``freq``."""
        return {"freq": self.freq}


class AudioSignal(_Sampled):
    """A waveform, full scale being 1.

    Args:
        freq: Sampling frequency in Hz; two signals are the same only at the same frequency. ``None``: not said.
    """

    dtype, kinds, values = "float32", _NUMBER, "audio"


class VideoSignal(_Sampled):
    """A video.

    Args:
        freq: Frames per second.
    """

    dtype, kinds, values = "float32", _NUMBER, "image"


class VideoType(ElementType):
    """The value of one channel of a video's frame."""

    dtype, kinds, values = "float32", _NUMBER, "image"


class ImageValue(ElementType):
    """The value of one channel of an image."""

    dtype, kinds, values = "float32", _NUMBER, "image"


class NormalizedImageValue(ImageValue):
    """The value of one channel of an image, from 0 to 1."""


class ImageFeatureValue(ImageValue):
    """The value of one channel of a feature map of an image."""

    values = "normal"


class LogitsType(ElementType):
    """A score before softmax."""

    dtype, kinds, values = "float32", _FLOAT, "normal"


class ProbsType(ElementType):
    """A probability; the classes lie along the last dimension axis and sum to 1."""

    dtype, kinds, values = "float32", _FLOAT, "probability"


class LogprobsType(ElementType):
    """The logarithm of a probability."""

    dtype, kinds, values = "float32", _FLOAT, "log_probability"


class ProbabilityDistributionSamplesType(ElementType):
    """A sample of a probability distribution."""

    dtype, kinds, values = "float32", _FLOAT, "normal"


class NormalDistributionSamplesType(ProbabilityDistributionSamplesType):
    """A sample of a normal distribution."""


class NormalDistributionMeanType(ElementType):
    """The mean of a normal distribution."""

    dtype, kinds, values = "float32", _FLOAT, "normal"


class NormalDistributionLogVarianceType(ElementType):
    """The logarithm of a normal distribution's variance."""

    dtype, kinds, values = "float32", _FLOAT, "normal"


class LogDeterminantType(ElementType):
    """The logarithm of a determinant, of a flow."""

    dtype, kinds, values = "float32", _FLOAT, "normal"


class SequenceToSequenceAlignmentType(ElementType):
    """How much each step of one sequence attends to each step of another."""

    dtype, values = "float32", "probability"


class _Classes(ElementType):
    """One of a number of classes."""

    def __init__(self, num_classes: int | None = None) -> None:
        if num_classes is not None and num_classes < 1:
            raise PortValueError("a type needs at least one class", where=type(self).__name__, found=num_classes, expected="1 or more")
        self.num_classes = num_classes

    @property
    def type_parameters(self) -> dict[str, Any]:
        """The number of classes ``num_classes``."""
        return {"num_classes": self.num_classes}


class LabelsType(_Classes):
    """A label.

    Args:
        num_classes: How many labels there are: valid ones run from 0 to ``num_classes - 1``. ``None``: not said.
    """

    dtype, values = "int64", "index"
    kinds: ClassVar[frozenset[DTypeKind] | None] = _NUMBER


class PredictionsType(LabelsType):
    """A label that a model predicts."""


class RegressionValuesType(PredictionsType):
    """A number that a model predicts."""

    dtype, kinds, values = "float32", _FLOAT, "normal"


class CategoricalValuesType(PredictionsType):
    """A category that a model predicts."""


class MaskType(PredictionsType):
    """Whether a position counts."""

    dtype, kinds, values = "bool", None, "mask"


class HypothesisType(LabelsType):
    """A hypothesis of a decoder."""

    kinds = None


class Target(ElementType):
    """A value to train against."""

    dtype, kinds, values = "int64", _NUMBER, "index"


class ClassificationTarget(Target):
    """The class to train against."""

    kinds = _INT


class LengthsType(ElementType):
    """How many steps of a time axis count, per item of the batch."""

    dtype, kinds, values = "int64", _NUMBER, "length"


class Length(LengthsType):
    """One length."""


class OffsetsType(ElementType):
    """Where each row of a flat axis begins, and where the last one ends: running sums of lengths, one more than there are rows."""

    dtype, kinds, values = "int64", _INT, "offset"


class LossType(ElementType):
    """A loss."""

    dtype, kinds, values = "float32", _FLOAT, "normal"


class Index(_Classes):
    """A place in a table: a speaker, a language.

    Args:
        num_classes: How many places the table has. ``None``: not said.
    """

    dtype, kinds, values = "int64", _INT, "index"


class TokenIndex(_Classes):
    """A token of a vocabulary.

    Args:
        num_classes: The size of the vocabulary. ``None``: not said.
    """

    dtype, kinds, values = "int64", _INT, "index"


class TokenDurationType(ElementType):
    """For how many frames a token lasts."""

    dtype, kinds, values = "int64", _NUMBER, "duration"


class TokenLogDurationType(ElementType):
    """The logarithm of one plus a token's duration."""

    dtype, kinds, values = "float32", _FLOAT, "log_duration"
