"""Runs an ONNX file so that every inner value is seen: as fingerprints, in chunks, so that few values are in memory at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from torchport.verification._records import Array
from torchport.verification.causes.fingerprints import Fingerprint, fingerprint

__all__ = ["LARGEST", "NodeSeen", "Seen", "load", "open_model", "run", "see", "values_of"]

LARGEST = 2**30
"""A file of more bytes than this is not opened a second time."""

_CHUNK = 48
"""So many inner values are fetched in one run."""

_SIZES = 64
"""Integer tensors of up to so many elements may be shapes."""


@dataclass(frozen=True)
class NodeSeen:
    """One node of the graph.

    Attributes:
        name: Its name.
        operator: Its operator.
        module: The path of the module it comes from, as its name tells; ``""`` for the model itself.
        inputs: The values that it reads.
        outputs: The values that it gives.
    """

    name: str
    operator: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class Seen:
    """What a file did with one set of inputs.

    Attributes:
        nodes: The nodes of the main graph, in order.
        prints: A fingerprint of each value that a node gave.
        sizes: Values that may be shapes.
        failed: The node that the runtime failed at; its values and those that follow are missing.
    """

    nodes: tuple[NodeSeen, ...]
    prints: dict[str, Fingerprint] = field(default_factory=dict)
    sizes: dict[str, Array] = field(default_factory=dict)
    failed: NodeSeen | None = None


def load(path: Path) -> onnx.ModelProto | None:
    """The whole model; ``None`` where it is too large to be opened again."""
    if sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) > LARGEST:
        return None
    return onnx.load(str(path))


def open_model(model: onnx.ModelProto) -> Any:
    """A session of a model in memory, that computes as the file says and rearranges nothing.

    Raises:
        Exception: ONNX Runtime refuses the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session: Any, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
    """One run of a session, silent; inputs that it does not take are left out.

    Raises:
        Exception: ONNX Runtime fails.
    """
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4
    taken = {value.name for value in session.get_inputs()}
    given = {name: array for name, array in inputs.items() if name in taken}
    return [np.asarray(value) for value in session.run(list(names), given, options)]


def see(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Seen:
    """Runs the model and looks at every value of its main graph.

    Args:
        model: The model; it is not changed.
        inputs: Its inputs.
    """
    nodes = tuple(_node(one) for one in model.graph.node)
    seen = Seen(nodes)
    kept = len(nodes)
    while True:
        try:
            for name, array in _values(model, nodes[:kept], inputs):
                seen.prints[name] = fingerprint(array)
                if array.dtype.kind in "iu" and array.size <= _SIZES:
                    seen.sizes[name] = array
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises: the nodes before are what can be seen
            place = _failed_at(nodes[:kept], str(error))
            if place is None:
                return seen
            seen.failed, kept = nodes[place], place
            continue
        return seen


def _values(model: onnx.ModelProto, nodes: Sequence[NodeSeen], inputs: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    names = [name for node in nodes for name in node.outputs if name]
    if not names:
        return
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    del opened.graph.node[len(nodes) :]
    del opened.graph.output[:]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_model(opened)
    for start in range(0, len(names), _CHUNK):
        chunk = names[start : start + _CHUNK]
        yield from zip(chunk, run(session, chunk, inputs), strict=True)


def values_of(model: onnx.ModelProto, names: Sequence[str], before: int, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Inner values and inputs by name.

    Args:
        model: The model; it is not changed.
        names: What is wanted.
        before: All of it is there before the node of this number.
        inputs: The model's inputs.

    Raises:
        Exception: ONNX Runtime fails.
    """
    found = {name: inputs[name] for name in names if name in inputs}
    nodes = [_node(one) for one in model.graph.node[:before]]
    inner = [name for name in names if name not in inputs]
    found.update((name, array) for name, array in _values(model, nodes, inputs) if name in inner)
    return found


def _failed_at(nodes: Sequence[NodeSeen], message: str) -> int | None:
    """The node that an error of the runtime names."""
    places = [place for place, node in enumerate(nodes) if node.name and f"'{node.name}'" in message]
    return places[0] if places else None


def _node(node: onnx.NodeProto) -> NodeSeen:
    scope = node.name.rpartition("/")[0].strip("/").replace("/", ".") if node.name.startswith("/") else ""
    return NodeSeen(node.name or node.output[0], node.op_type, scope, tuple(node.input), tuple(node.output))
