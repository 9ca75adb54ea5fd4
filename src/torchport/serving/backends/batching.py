"""Requests become one batch, as in a native backend: one run for all of them, and each gets its own rows back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Arrays", "answer_together"]

Arrays = Mapping[str, Any]


def answer_together(feeds: Sequence[Arrays], run: Callable[[Arrays], Arrays], *, batched: bool) -> list[Arrays]:
    """Answers requests, in one run where the server counts the batch.

    Args:
        feeds: What each request brought, arrays by input name.
        run: The model.
        batched: The first axis of every array is the batch.

    Returns:
        Arrays by output name, for each request.

    Raises:
        ValueError: The model answered with another batch than it was given.
    """
    if not batched or len(feeds) == 1:
        return [run(feed) for feed in feeds]
    sizes = [len(next(iter(feed.values()))) for feed in feeds]
    answer = run({name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]})
    for name, array in answer.items():
        if not array.ndim or len(array) != sum(sizes):
            raise ValueError(f"output '{name}' has {array.shape} for a batch of {sum(sizes)}")
    ends = np.cumsum(sizes)[:-1]
    parts = {name: np.split(array, ends) for name, array in answer.items()}
    return [{name: parts[name][index] for name in answer} for index in range(len(feeds))]
