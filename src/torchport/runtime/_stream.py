"""A stream: features as they come, cut into the chunks that the graph wants, caches and decoder kept from chunk to chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from torchport.errors import MetadataError, PortValueError
from torchport.runtime._hypothesis import Hypothesis
from torchport.runtime._recognizer import Recognizer, as_features

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Stream"]


class Stream:
    """Several utterances that are heard at once.

    A graph that drops the frames it makes of what came before cannot tell a first chunk from others: it is fed zeros in front of it. A
    second graph, exported to drop nothing, takes the first chunk as the beginning that it is.

    Args:
        recognizer: With a graph that streams.
        batch: How many utterances.

    Raises:
        MetadataError: The graph takes whole utterances only.
    """

    def __init__(self, recognizer: Recognizer, batch: int = 1) -> None:
        graph = recognizer.graph
        if "streaming" not in graph.metadata:
            raise MetadataError(
                "the file takes whole utterances only", stage="load", where=graph.path.name, hint="call the recognizer itself"
            )
        self._recognizer, self._batch = recognizer, batch
        self._decoder = recognizer.decoder(batch)
        self._states = graph.first_states(batch)
        self._waiting: npt.NDArray[Any] | None = None
        """Frames that no chunk begins beyond, those before the next one in front."""
        self._before = 0
        """How many of the waiting frames were fed already."""
        self._graph = recognizer.first or graph

    def feed(self, features: npt.ArrayLike) -> list[Hypothesis]:
        """Takes more features; runs each chunk that is full.

        Args:
            features: ``(batch, bins, frames)``: any number of frames.

        Returns:
            What was recognised up to here.

        Raises:
            PortValueError: They are of another rank, or of another number of utterances.
        """
        array = as_features(features)
        if len(array) != self._batch:
            raise PortValueError("the stream has another number of utterances", stage="load", found=len(array), expected=self._batch)
        self._waiting = array if self._waiting is None else np.concatenate([self._waiting, array], axis=2)
        while self._waiting.shape[2] - self._before >= self._graph.metadata["streaming"]["chunk"]:
            self._run(self._waiting)
        return self._recognizer.hypotheses(self._decoder)

    def finish(self) -> list[Hypothesis]:
        """Runs what is left, shorter than a chunk."""
        while self._waiting is not None and self._waiting.shape[2] > self._before:
            self._run(self._waiting)
        return self._recognizer.hypotheses(self._decoder)

    def _run(self, waiting: npt.NDArray[Any]) -> None:
        cut = self._graph.metadata["streaming"]
        piece = waiting[:, :, max(0, self._before - cut["before"]) : self._before + cut["chunk"]]
        missing = max(0, cut["before"] - self._before)
        piece = np.pad(piece, ((0, 0), (0, 0), (missing, 0)))
        lengths = np.full(self._batch, piece.shape[2], np.int64)
        frames, counts, self._states = self._recognizer.run(self._graph, piece, lengths, self._states)
        self._decoder.advance(frames, counts)
        self._graph = self._recognizer.graph
        fed = min(self._before + cut["shift"], waiting.shape[2])
        kept = max(0, fed - self._graph.metadata["streaming"]["before"])
        self._waiting, self._before = waiting[:, :, kept:], fed - kept
