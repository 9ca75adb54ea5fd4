"""What a sequence leaves for its next request, which native backends keep by themselves and the Python backend does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["SequenceStates"]

_START, _END = 1, 2
_GARBAGE = 1e9
"""What a state begins with whose initial value nobody gave: a native backend begins with whatever the memory holds."""


class SequenceStates:
    """The states of every sequence that is under way.

    Args:
        states: The entries ``sequence_batching.state`` of a configuration.
        dtypes: The numpy dtype of each state, by its input's name.
        batched: The server counts the batch, so the dims of a state are those of one row.
    """

    def __init__(self, states: Sequence[Mapping[str, Any]], dtypes: Mapping[str, str], *, batched: bool) -> None:
        self._first = {state["input_name"]: _first(state, dtypes[state["input_name"]], batched) for state in states}
        self._by_output = {state["output_name"]: state["input_name"] for state in states}
        self._kept: dict[Any, dict[str, Any]] = {}

    def before(self, sequence: Any, flags: int) -> dict[str, Any]:
        """The states that a request of a sequence begins with, by input name."""
        if flags & _START or sequence not in self._kept:
            return dict(self._first)
        return self._kept[sequence]

    def after(self, sequence: Any, flags: int, outputs: Mapping[str, Any]) -> None:
        """Keeps what a request of a sequence left."""
        if flags & _END:
            self._kept.pop(sequence, None)
        else:
            self._kept[sequence] = {name: outputs[output] for output, name in self._by_output.items()}


def _first(state: Mapping[str, Any], dtype: str, batched: bool) -> Any:
    initial = (state.get("initial_state") or [None])[0]
    dims = [int(size) for size in (state if initial is None else initial)["dims"]]
    shape = [*([1] if batched else []), *(1 if size < 0 else size for size in dims)]
    return np.zeros(shape, dtype) if initial is not None and initial.get("zero_data") else np.full(shape, _GARBAGE).astype(dtype)
