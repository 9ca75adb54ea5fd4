"""The mutations of an ``.onnx`` file: every node, constant and port of its graph, weights in place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx

from torchport.verification._records import Array
from torchport.verification.power._base import Mutation, Plan, Workshop
from torchport.verification.power._onnx_files import split
from torchport.verification.power._onnx_nodes import OnnxChange, node_changes, shallow_nodes
from torchport.verification.power._onnx_ports import frozen_dims, frozen_values, instrumented, swapped_ports
from torchport.verification.power._weights import Weight
from torchport.verification.runtimes import open_artifact

__all__ = ["OnnxWorkshop"]

_DTYPES = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.DOUBLE: np.dtype(np.float64),
    onnx.TensorProto.FLOAT16: np.dtype(np.float16),
    onnx.TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}

_ROLES = {
    "Conv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "LayerNormalization": ("", "weight", "bias"),
    "BatchNormalization": ("", "weight", "bias", "mean", "variance"),
    "InstanceNormalization": ("", "weight", "bias"),
    "Gather": ("table",),
    "MatMul": ("weight", "weight"),
    "LSTM": ("", "input weight", "hidden weight", "bias"),
    "GRU": ("", "input weight", "hidden weight", "bias"),
}


class OnnxWorkshop(Workshop):
    """An ONNX file as a graph and a file of weights."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._data = plan.directory / "weights.data"
        self.model, self._placed = split(plan.artifact.path, self._data)
        self._file = self._write(self.model, "unchanged.onnx")

    @property
    def unchanged(self) -> Sequence[Path]:
        """The graph with its weights outside."""
        return self._file, self._data

    @cached_property
    def weights(self) -> Sequence[Weight]:
        """Floating-point initializers, with the operator that takes them first as their class."""
        roles: dict[str, str] = {}
        for node in shallow_nodes(self.model.graph):
            names = _ROLES.get(node.op_type, ())
            for place, name in enumerate(node.input):
                roles.setdefault(name, f"{node.op_type} {names[place] if place < len(names) and names[place] else 'operand'}")
        return [
            Weight(
                name=tensor.name,
                role=roles.get(tensor.name, "other"),
                dtype=_DTYPES[tensor.data_type],
                shape=tuple(tensor.dims),
                file=self._data,
                offset=self._placed[tensor.name].offset,
            )
            for tensor in self.model.graph.initializer
            if tensor.name in self._placed and tensor.data_type in _DTYPES and np.prod(tensor.dims) > 1
        ]

    def graph_mutations(self) -> Iterator[Mutation]:
        """Ports, nodes, constants and shapes."""
        changes: list[OnnxChange] = [*swapped_ports(self.model), *node_changes(self.model), *frozen_dims(self.model, self.plan.traced)]
        changes.extend(frozen_values(self.model, self._traced_values()))
        for kind, where, change, make in changes:
            yield Mutation(kind, where, change, partial(self._changed, make))

    def _traced_values(self) -> dict[str, Array]:
        """What the graph's computed shapes are at the traced sizes: one run, with them as outputs."""
        model = instrumented(self.model)
        if model is None:
            return {}
        file = self._write(model, "instrumented.onnx")
        with open_artifact([file, self._data]) as session:
            inputs = {name: array for name, array in self.plan.inputs.items() if name in session.input_names}
            answer = session.run(inputs)
        known = {value.name for value in self.model.graph.output}
        return {name: array for name, array in answer.items() if name not in known}

    @contextlib.contextmanager
    def _changed(self, make: Callable[[onnx.ModelProto], None]) -> Iterator[Sequence[Path]]:
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        make(model)
        file = self._write(model, "mutant.onnx")
        try:
            yield file, self._data
        finally:
            file.unlink()

    def _write(self, model: onnx.ModelProto, name: str) -> Path:
        file = self.plan.directory / name
        file.write_bytes(model.SerializeToString(deterministic=True))
        return file
