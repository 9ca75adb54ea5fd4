"""Runtime: speech artifacts become transcripts with numpy and ONNX Runtime alone; all else that is needed stands in the files."""

from __future__ import annotations

from torchport.runtime._ctc import CtcRecognizer, greedy_ctc
from torchport.runtime._graph import OnnxGraph
from torchport.runtime._hypothesis import Hypothesis, text_of
from torchport.runtime._open import open_recognizer
from torchport.runtime._recognizer import Recognizer
from torchport.runtime._stream import Stream
from torchport.runtime._transducer import Search, TransducerRecognizer

__all__ = [
    # files to transcripts
    "open_recognizer",
    "Recognizer",
    "CtcRecognizer",
    "TransducerRecognizer",
    "Stream",
    "Hypothesis",
    # the parts
    "OnnxGraph",
    "Search",
    "greedy_ctc",
    "text_of",
]
