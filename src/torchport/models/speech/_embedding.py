"""Embeddings that cost nothing where weights are only held against the model."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["embedding"]


def embedding(count: int, width: int, padding: int | None = None) -> nn.Embedding:
    """An embedding; without first values on the device meta, where making them loads torch's compiler (a second).

    Args:
        count: How many rows it has.
        width: Numbers of a row.
        padding: The row that stands for nothing.
    """
    if torch.get_default_device().type != "meta":
        return nn.Embedding(count, width, padding_idx=padding)
    made: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]  # torch has no types for it
        torch.empty(count, width), freeze=False, padding_idx=padding
    )
    return made
