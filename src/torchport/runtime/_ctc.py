"""CTC: the best token of each frame, repeats joined, blanks dropped.

Source: Graves et al., Connectionist Temporal Classification (2006), best path decoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from torchport.runtime._graph import OnnxGraph
from torchport.runtime._recognizer import Decoder, Recognizer

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["CtcRecognizer", "greedy_ctc"]


def greedy_ctc(scores: npt.NDArray[Any], length: int, blank: int, before: int | None = None) -> tuple[list[int], list[int]]:
    """Tokens of one utterance, and the frame at which each begins.

    Args:
        scores: ``(frames, tokens)``.
        length: How many frames count.
        blank: The index of the blank symbol.
        before: The best token of the frame before the first one, in a stream.

    Example:
        >>> greedy_ctc(np.eye(3)[[0, 0, 2, 0, 1]], 5, blank=2)
        ([0, 0, 1], [0, 3, 4])
    """
    best = scores[:length].argmax(-1)
    previous = np.concatenate([[blank if before is None else before], best[:-1]]) if length else best
    frames = np.flatnonzero((best != blank) & (best != previous))
    return best[frames].tolist(), frames.tolist()


class CtcDecoder(Decoder):
    """Joins tokens over the border of two calls, too.

    Args:
        batch: Utterances.
        blank: The index of the blank symbol.
    """

    def __init__(self, batch: int, blank: int) -> None:
        self._blank = blank
        self._last = [blank] * batch
        self._offset = [0] * batch
        self._found: list[tuple[list[int], list[int]]] = [([], []) for _ in range(batch)]

    def advance(self, frames: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> None:
        """Goes on by ``(batch, frames, tokens)``."""
        for row, length in enumerate(lengths.tolist()):
            tokens, places = greedy_ctc(frames[row], length, self._blank, self._last[row])
            self._found[row][0].extend(tokens)
            self._found[row][1].extend(place + self._offset[row] for place in places)
            if length:
                self._last[row] = int(frames[row, length - 1].argmax())
                self._offset[row] += length

    def found(self) -> list[tuple[list[int], list[int]]]:
        """Tokens and frames of each utterance, up to here."""
        return self._found


class CtcRecognizer(Recognizer):
    """Recognises with one graph that gives the scores of each frame.

    Args:
        graph: The graph.
        first: A graph for the first chunk of a stream.
    """

    frames_role: ClassVar[str] = "scores"

    def __init__(self, graph: OnnxGraph, first: OnnxGraph | None = None) -> None:
        super().__init__(graph, first)
        self._blank = int(graph.fact("vocabulary", "blank"))

    def decoder(self, batch: int) -> CtcDecoder:
        """A decoder that has heard nothing yet."""
        return CtcDecoder(batch, self._blank)

    def time_axis(self) -> int:
        """Scores are ``(batch, frames, tokens)``."""
        return 1
