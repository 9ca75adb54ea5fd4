"""What every recognizer is: features in, hypotheses out, whole or bit by bit."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from torchport.errors import MetadataError, PortValueError
from torchport.runtime._graph import OnnxGraph
from torchport.runtime._hypothesis import Hypothesis, text_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from torchport.runtime._stream import Stream

__all__ = ["Decoder", "Recognizer"]


class Decoder(abc.ABC):
    """Tokens of several utterances as their frames come in; what it knows of each goes from call to call."""

    @abc.abstractmethod
    def advance(self, frames: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> None:
        """Goes on.

        Args:
            frames: What the graph with the encoder gave.
            lengths: How many frames of each utterance count.
        """

    @abc.abstractmethod
    def found(self) -> list[tuple[list[int], list[int]]]:
        """Tokens and frames of each utterance, up to here."""


class Recognizer(abc.ABC):
    """Features to hypotheses.

    Args:
        graph: The graph that takes the features.
        first: A graph for the first chunk of a stream, where the others are fed what came before them.

    Attributes:
        metadata: What the file of `graph` says of its use.
    """

    frames_role: ClassVar[str] = "encoded"
    """The output that is decoded."""

    def __init__(self, graph: OnnxGraph, first: OnnxGraph | None = None) -> None:
        self.graph, self.first = graph, first
        self.metadata = graph.metadata
        self.takes = "waveform" if graph.optional_port("waveform") is not None else "features"
        """What the graph takes: features, or the waveform itself."""
        graph.port(self.takes)
        graph.port(self.frames_role)

    @abc.abstractmethod
    def decoder(self, batch: int) -> Decoder:
        """A decoder that has heard nothing yet, for ``batch`` utterances."""

    @abc.abstractmethod
    def time_axis(self) -> int:
        """The axis of frames of the output that is decoded."""

    @final
    def __call__(self, features: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> list[Hypothesis]:
        """Recognises whole utterances.

        Args:
            features: ``(batch, bins, frames)``, as the file's ``features`` say they are made; ``(batch, samples)`` where the graph begins
                at the waveform.
            lengths: Frames or samples of each utterance; ``None``: all.

        Raises:
            MetadataError: The file only takes features bit by bit: use `stream`.
            PortValueError: The features are of another rank, or a length is none of them.
        """
        if "streaming" in self.metadata:
            raise MetadataError("the file takes features bit by bit", stage="load", where=self.graph.path.name, hint="use stream()")
        array = as_features(features, waveform=self.takes == "waveform")
        counts = as_lengths(lengths, array)
        decoder = self.decoder(len(array))
        decoder.advance(*self.run(self.graph, array, counts, {})[:2])
        return self.hypotheses(decoder)

    def stream(self, batch: int = 1) -> Stream:
        """Recognises features as they come.

        Args:
            batch: How many utterances at once.

        Raises:
            MetadataError: The file takes whole utterances only.
        """
        from torchport.runtime._stream import Stream

        return Stream(self, batch)

    @final
    def run(
        self, graph: OnnxGraph, features: npt.NDArray[Any], lengths: npt.NDArray[Any], states: dict[str, npt.NDArray[Any]]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], dict[str, npt.NDArray[Any]]]:
        """Frames, how many of them count, and the states that follow.

        Args:
            graph: The graph to run: that of all chunks, or of the first.
            features: ``(batch, bins, frames)``.
            lengths: Of the features.
            states: By input.
        """
        fed = {graph.port(self.takes): features, **states}
        if (name := graph.optional_port("waveform_lengths" if self.takes == "waveform" else "feature_lengths")) is not None:
            fed[name] = lengths
        answer = graph(fed)
        frames = answer[graph.port(self.frames_role)]
        role = "score_lengths" if self.frames_role == "scores" else "encoded_lengths"
        name = graph.optional_port(role)
        counts = answer[name] if name is not None else np.full(len(frames), frames.shape[self.time_axis()])
        return frames, counts.astype(np.int64), graph.next_states(answer)

    @final
    def hypotheses(self, decoder: Decoder) -> list[Hypothesis]:
        """What a decoder has found, with its text."""
        vocabulary = self.metadata.get("vocabulary", {})
        return [Hypothesis(tuple(tokens), tuple(frames), text_of(tokens, vocabulary)) for tokens, frames in decoder.found()]


def as_features(features: npt.ArrayLike, *, waveform: bool = False) -> npt.NDArray[Any]:
    """The features, or the waveforms, as an array of as many axes as they have.

    Raises:
        PortValueError: They have another number.
    """
    array = np.asarray(features)
    what, expected = ("waveforms", "(batch, samples)") if waveform else ("features", "(batch, bins, frames)")
    if array.ndim != 2 + (not waveform):
        raise PortValueError(f"{what} have {expected.count(',') + 1} axes", stage="load", found=array.shape, expected=expected)
    return array


def as_lengths(lengths: npt.ArrayLike | None, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The lengths as an array; all of the features where there are none.

    Raises:
        PortValueError: There is not one for each utterance, or one is beyond the features.
    """
    most = features.shape[-1]
    if lengths is None:
        return np.full(len(features), most, np.int64)
    array = np.asarray(lengths)
    if array.shape != (len(features),) or array.dtype.kind not in "iu" or (array < 0).any() or (array > most).any():
        raise PortValueError(
            "lengths are one number for each utterance", stage="load", found=array, expected=f"{len(features)} from 0 to {most}"
        )
    return array.astype(np.int64)
