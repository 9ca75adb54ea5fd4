"""From files or a bundle to a recognizer: what each file is for, it says itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torchport.errors import MetadataError
from torchport.runtime._ctc import CtcRecognizer
from torchport.runtime._graph import OnnxGraph
from torchport.runtime._recognizer import Recognizer
from torchport.runtime._transducer import TransducerRecognizer

__all__ = ["open_recognizer"]

_WHAT = "a CTC graph, or the encoder and the step of a transducer"


def open_recognizer(*paths: str | os.PathLike[str], threads: int | None = None) -> Recognizer:
    """Opens the artifacts of a speech model for recognition.

    Args:
        *paths: The ``.onnx`` files, in any order: a CTC graph; or ``encoder-….onnx`` and ``decoder_joint-….onnx`` of a transducer. A second
            streaming graph that drops nothing is taken for first chunks. Or one folder that holds them, a bundle among others.
        threads: Threads of one operation; ``None``: as many as ONNX Runtime likes.

    Raises:
        UnusablePathError: A file is not there.
        RuntimeFailure: ONNX Runtime refuses one.
        MetadataError: A file does not say what decoding needs, or the files do not make up a recognizer.

    Example:
        >>> recognizer = open_recognizer("encoder-m.onnx", "decoder_joint-m.onnx")  # doctest: +SKIP
        >>> print(recognizer(features, lengths)[0].text)  # doctest: +SKIP
    """
    files = [Path(path) for path in paths]
    if len(files) == 1 and files[0].is_dir():
        files = sorted(files[0].glob("*.onnx"))
    graphs = [OnnxGraph(path, threads=threads) for path in files]
    by_task: dict[str, list[OnnxGraph]] = {}
    for graph in graphs:
        by_task.setdefault(str(graph.metadata.get("task")), []).append(graph)
    tasks = set(by_task)
    if tasks == {"ctc"}:
        return CtcRecognizer(*_graph_and_first(by_task["ctc"]))
    if tasks == {"transducer_encoder", "transducer_step"}:
        graph, first = _graph_and_first(by_task["transducer_encoder"])
        if len(by_task["transducer_step"]) == 1:
            return TransducerRecognizer(graph, by_task["transducer_step"][0], first)
    raise MetadataError(
        "the files do not make up a recognizer",
        stage="load",
        found=", ".join(f"{graph.path.name} ({graph.metadata.get('task')})" for graph in graphs) or "no file",
        expected=_WHAT,
    )


def _graph_and_first(graphs: Sequence[OnnxGraph]) -> tuple[OnnxGraph, OnnxGraph | None]:
    """The graph of all chunks and the one of the first, of one or two graphs of one kind."""
    if len(graphs) == 1:
        return graphs[0], None
    firsts = [graph for graph in graphs if graph.metadata.get("streaming", {}).get("dropped") == 0]
    others = [graph for graph in graphs if graph not in firsts and "streaming" in graph.metadata]
    if len(firsts) != 1 or len(others) != 1:
        raise MetadataError(
            "two graphs of one kind make up a recognizer where one of them is for the first chunk of a stream",
            stage="load",
            found=", ".join(graph.path.name for graph in graphs),
            expected=_WHAT,
        )
    return others[0], firsts[0]
