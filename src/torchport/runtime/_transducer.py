"""Transducers: greedy search along the frames, in batches; each step is one run of the prediction and joint networks' graph.

A step takes the last token of each utterance and a few frames from where it stands, and gives the scores of all of them: blanks are skipped
without another run.

Sources: Graves, Sequence Transduction with Recurrent Neural Networks (2012); Xu et al., Efficient Sequence Transduction by Jointly
Predicting Tokens and Durations (2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from torchport.errors import MetadataError
from torchport.runtime._graph import OnnxGraph
from torchport.runtime._recognizer import Decoder, Recognizer

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Search", "TransducerRecognizer"]

_WINDOW = 8
"""Frames that one step looks at."""


@dataclass(frozen=True)
class Search:
    """How tokens are searched.

    Attributes:
        blank: The index of the blank symbol.
        start: The token before the first one.
        max_symbols: Tokens at one frame, at most; ``None``: no limit.
        durations: Frames that the last scores stand for; empty: none, a token stays at its frame and a blank goes one on.
    """

    blank: int
    start: int
    max_symbols: int | None = None
    durations: tuple[int, ...] = ()

    @classmethod
    def of(cls, graph: OnnxGraph) -> Search:
        """The search that a file asks for.

        Raises:
            MetadataError: It does not say all of it.
        """
        kind = graph.fact("transducer", "kind")
        settings = graph.metadata["transducer"]
        durations = tuple(graph.fact("transducer", "durations")) if kind == "tdt" else ()
        return cls(int(graph.fact("vocabulary", "blank")), int(graph.fact("transducer", "start")), settings.get("max_symbols"), durations)

    def choose(self, scores: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The best token at each frame, and how many frames it goes on: 1 at least for a blank.

        Args:
            scores: ``(…, tokens and durations)``.
        """
        tokens = scores[..., : scores.shape[-1] - len(self.durations)].argmax(-1)
        blank = tokens == self.blank
        if not self.durations:
            return tokens, blank.astype(np.int64)
        steps = np.asarray(self.durations)[scores[..., -len(self.durations) :].argmax(-1)]
        return tokens, np.where(blank, np.maximum(steps, 1), steps)


class TransducerDecoder(Decoder):
    """Searches the frames of several utterances, each at its own pace.

    Args:
        graph: The graph of a step.
        search: How tokens are searched.
        batch: Utterances.
    """

    def __init__(self, graph: OnnxGraph, search: Search, batch: int) -> None:
        self._graph, self._search = graph, search
        self._axes = graph.batch_axes()
        self._states = graph.first_states(batch)
        self._last = np.full(batch, search.start, np.int64)
        self._ahead = np.zeros(batch, np.int64)
        """How far the next frame lies beyond those that have come: a duration may lead there."""
        self._here = [0] * batch
        """Tokens found at the frame where each utterance stands."""
        self._offset = np.zeros(batch, np.int64)
        self._found: list[tuple[list[int], list[int]]] = [([], []) for _ in range(batch)]

    def found(self) -> list[tuple[list[int], list[int]]]:
        """Tokens and frames of each utterance, up to here."""
        return self._found

    def advance(self, frames: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> None:
        """Goes on by ``(batch, width, frames)``."""
        at = self._ahead.copy()
        while (rows := np.flatnonzero(at < lengths)).size:
            places = np.minimum(at[rows, None] + np.arange(_WINDOW), lengths[rows, None] - 1)
            window = np.take_along_axis(frames[rows], places[:, None, :], axis=2)
            answer = self._graph(self._fed(window, rows))
            scores = answer[self._graph.port("scores")][:, :, 0]
            tokens, steps = self._search.choose(scores)
            found = [self._walk(row, at, int(lengths[row]), tokens[place], steps[place]) for place, row in enumerate(rows.tolist())]
            self._keep(rows, np.asarray(found), self._graph.next_states(answer))
        self._ahead = at - lengths
        self._offset += lengths

    def _fed(self, window: npt.NDArray[Any], rows: npt.NDArray[Any]) -> dict[str, Any]:
        fed = {
            self._graph.port("encoded"): window,
            self._graph.port("tokens"): self._last[rows, None],
            **{name: np.take(state, rows, axis=self._axes[name]) for name, state in self._states.items()},
        }
        if (name := self._graph.optional_port("token_lengths")) is not None:
            fed[name] = np.ones(len(rows), np.int64)
        return fed

    def _walk(self, row: int, at: npt.NDArray[Any], length: int, tokens: npt.NDArray[Any], steps: npt.NDArray[Any]) -> bool:
        """Goes over blanks up to the next token, and takes it; whether there was one."""
        first = place = int(at[row])
        limit = min(length, first + _WINDOW)
        while place < limit and tokens[place - first] == self._search.blank:
            place += int(steps[place - first])
            self._here[row] = 0
        at[row] = place
        if place >= limit:
            return False
        token, step = int(tokens[place - first]), int(steps[place - first])
        self._found[row][0].append(token)
        self._found[row][1].append(place + int(self._offset[row]))
        self._last[row] = token
        self._here[row] += 1
        if step == 0 and self._search.max_symbols is not None and self._here[row] >= self._search.max_symbols:
            step = 1
        if step:
            at[row] += step
            self._here[row] = 0
        return True

    def _keep(self, rows: npt.NDArray[Any], found: npt.NDArray[Any], after: Mapping[str, npt.NDArray[Any]]) -> None:
        """The states after a token replace those before it; a blank leaves them."""
        for name, state in self._states.items():
            axis = self._axes[name]
            np.moveaxis(state, axis, 0)[rows[found]] = np.moveaxis(after[name], axis, 0)[found]


class TransducerRecognizer(Recognizer):
    """Recognises with the graph of an encoder and the graph of a step.

    Args:
        graph: The encoder.
        step: Prediction and joint network.
        first: An encoder for the first chunk of a stream.
    """

    frames_role: ClassVar[str] = "encoded"

    def __init__(self, graph: OnnxGraph, step: OnnxGraph, first: OnnxGraph | None = None) -> None:
        super().__init__(graph, first)
        self.step, self._search = step, Search.of(step)
        if (
            graph.metadata.get("transducer") != step.metadata["transducer"]
            or graph.metadata.get("vocabulary") != step.metadata["vocabulary"]
        ):
            raise MetadataError(
                "the encoder and the step belong to different models", stage="load", where=f"{graph.path.name}, {step.path.name}"
            )
        for role in ("encoded", "tokens", "scores"):
            step.port(role)
        step.batch_axes()

    def decoder(self, batch: int) -> TransducerDecoder:
        """A decoder that has heard nothing yet."""
        return TransducerDecoder(self.step, self._search, batch)

    def time_axis(self) -> int:
        """The encoder gives ``(batch, width, frames)``."""
        return 2
