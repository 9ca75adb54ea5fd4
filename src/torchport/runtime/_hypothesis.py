"""One transcript: its tokens, where they were heard, and their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Hypothesis", "text_of"]


@dataclass(frozen=True)
class Hypothesis:
    """What was recognised of one utterance.

    Attributes:
        tokens: Indices into the vocabulary.
        frames: The frame of the encoder that each token was found at.
        text: The tokens as text; empty where the file has no vocabulary.
    """

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    text: str = ""


def text_of(tokens: Sequence[int], vocabulary: Mapping[str, Any]) -> str:
    """Tokens as text, by the kind of the vocabulary.

    Args:
        tokens: Indices.
        vocabulary: The ``vocabulary`` of the metadata.

    Example:
        >>> text_of([0, 1, 2], {"kind": "sentencepiece", "tokens": ["▁go", "ing", "▁on"]})
        'going on'
    """
    names = vocabulary.get("tokens", ())
    parts = [names[token] for token in tokens if token < len(names)]
    kind = vocabulary.get("kind", "characters")
    if kind == "sentencepiece":
        return "".join(parts).replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()
    if kind == "wordpiece":
        return "".join(part[2:] if part.startswith("##") else f" {part}" for part in parts).strip()
    return "".join(parts)
