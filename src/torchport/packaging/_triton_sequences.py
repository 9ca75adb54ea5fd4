"""State that the server keeps for its clients: what one request of a sequence leaves, the next one of it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchport.errors import PackageError
from torchport.packaging._pbtxt import Message, Word
from torchport.packaging._triton_ports import ServedPorts
from torchport.ports.dtypes import known_dtype

__all__ = ["KeptState", "kept_states", "sequence_batching"]


@dataclass(frozen=True)
class KeptState:
    """A state that the server keeps: neither its input nor its output is a client's any more."""

    input: str
    output: str
    dtype: str
    axes: tuple[int | str, ...]


def kept_states(stated: Mapping[str, Any], ports: ServedPorts, naming: str) -> list[KeptState]:
    """The states that a model's metadata tell.

    Raises:
        PackageError: There are none, or the server cannot keep one.
    """
    states = stated.get("states") or ()
    if not states:
        raise PackageError(
            "the model does not say what goes from one call to the next",
            where="sequences",
            expected="states in export_metadata",
            hint="see docs/metadata.md; without sequences, clients send states along like any other input",
        )
    if ports.backend == "pytorch" and naming != "index":
        raise PackageError(
            "Triton's pytorch backend finds states by their index only", where="names", found=naming, hint="--set names=index"
        )
    known = {port["name"]: port for port in (*ports.inputs, *ports.outputs)}
    kept = []
    for state in states:
        first, last = known.get(state["input"]), known.get(state["output"])
        if first is None or last is None:
            raise PackageError("a state is no port of the file", where="states", found=f"{state['input']} to {state['output']}")
        if state["fill"] != 0:
            raise PackageError("the server begins every sequence with zeros", where=state["input"], found=f"filled with {state['fill']}")
        if first["dtype"] != last["dtype"] or len(first["axes"] or ()) != len(last["axes"] or ()):
            raise PackageError("a state comes back as another array than it went in", where=state["output"])
        kept.append(KeptState(state["input"], state["output"], first["dtype"], tuple(first["axes"])))
    return kept


def sequence_batching(states: Sequence[KeptState], names: Mapping[str, str], *, batched: bool, sequences: int) -> Message:
    """The entry of the configuration: whatever varies in a state begins with size 1, and every state with zeros."""
    described: list[Message] = []
    for state in states:
        dtype = known_dtype(state.dtype)
        kind = None if dtype is None else dtype.triton_config
        if kind is None:
            raise PackageError("Triton has no such dtype", where=state.input, found=state.dtype)
        axes = state.axes[1:] if batched else state.axes
        described.append(
            {
                "input_name": names[state.input],
                "output_name": names[state.output],
                "data_type": Word(kind),
                "dims": [axis if isinstance(axis, int) else -1 for axis in axes],
                "initial_state": [
                    {
                        "name": "zeros",
                        "data_type": Word(kind),
                        "dims": [axis if isinstance(axis, int) else 1 for axis in axes],
                        "zero_data": True,
                    }
                ],
            }
        )
    return {"oldest": {"max_candidate_sequences": sequences}, "state": described}
