"""Mutations of an ONNX graph's interface and shapes: inputs swapped, outputs permuted, an axis or a computed shape frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import combinations

import numpy as np
import onnx
from onnx import numpy_helper

from torchport.verification._records import Array
from torchport.verification.power._onnx_nodes import OnnxChange

__all__ = ["frozen_dims", "frozen_values", "instrumented", "swapped_ports"]

_SHAPING: dict[str, tuple[int, ...]] = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Slice": (1, 2),
    "Resize": (2, 3),
    "Pad": (1,),
    "Split": (1,),
}
"""Operators that take sizes as values, and the inputs that hold them."""


def swapped_ports(model: onnx.ModelProto) -> Iterator[OnnxChange]:
    """Two inputs, or two outputs, of equal dtype and rank, each in the place of the other behind its name."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    for kind, values in (("inputs swapped", inputs), ("outputs permuted", list(model.graph.output))):
        for one, other in combinations(values, 2):
            if _type(one) == _type(other):
                where = f"{one.name}, {other.name}"
                yield kind, where, "each in the place of the other", partial(_swap, {one.name: other.name, other.name: one.name})


def _type(value: onnx.ValueInfoProto) -> tuple[int, int]:
    return value.type.tensor_type.elem_type, len(value.type.tensor_type.shape.dim)


def _swap(names: Mapping[str, str], model: onnx.ModelProto) -> None:
    _rename(model.graph, names)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, names)


def frozen_dims(model: onnx.ModelProto, traced: Mapping[str, int]) -> Iterator[OnnxChange]:
    """Each symbolic axis of an input or output as the number that was traced."""
    for side in ("input", "output"):
        for place, value in enumerate(getattr(model.graph, side)):
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                if dim.dim_param in traced:
                    size = traced[dim.dim_param]
                    yield "axis frozen", f"{value.name}, axis {axis}", f"{dim.dim_param} to {size}", partial(_fix, side, place, axis, size)


def _fix(side: str, place: int, axis: int, size: int, model: onnx.ModelProto) -> None:
    getattr(model.graph, side)[place].type.tensor_type.shape.dim[axis].dim_value = size


def _shape_inputs(model: onnx.ModelProto) -> Iterator[tuple[int, int, str]]:
    """Node, input and name of every computed value that shapes something, in the main graph."""
    computed = {name for node in model.graph.node if node.op_type != "Constant" for name in node.output}
    for place, node in enumerate(model.graph.node):
        for operand in _SHAPING.get(node.op_type, ()):
            if operand < len(node.input) and node.input[operand] in computed:
                yield place, operand, node.input[operand]


def instrumented(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model with every such value as a further output; ``None`` where it has none."""
    known = {value.name for value in model.graph.output}
    names = dict.fromkeys(name for _, _, name in _shape_inputs(model) if name not in known)
    if not names:
        return None
    more = onnx.ModelProto()
    more.CopyFrom(model)
    more.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return more


def frozen_values(model: onnx.ModelProto, traced: Mapping[str, Array]) -> Iterator[OnnxChange]:
    """Each computed shape as the constant that it is at the traced sizes."""
    for place, operand, name in _shape_inputs(model):
        if name in traced:
            node = model.graph.node[place]
            where = f"{node.op_type} {node.name or node.output[0]}"
            value = traced[name]
            yield "shape frozen", where, f"input {operand} to {value.tolist()}", partial(_freeze, place, operand, value)


def _freeze(place: int, operand: int, value: Array, model: onnx.ModelProto) -> None:
    node = model.graph.node[place]
    name = f"{node.input[operand]}.frozen"
    node.input[operand] = name
    model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
