"""Mutations of an ONNX graph's nodes: one bypassed, an attribute changed, an integer constant moved by one, a float constant changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["OnnxChange", "node_changes", "shallow_nodes"]

OnnxChange = tuple[str, str, str, Callable[[onnx.ModelProto], None]]
"""Kind, where, the change in words, and what makes it on a copy of the model."""

_FLAGS = {
    "keepdims", "transA", "transB", "ceil_mode", "exclusive", "reverse", "select_last_index", "largest", "sorted", "count_include_pad",
    "noop_with_empty_axes", "allowzero", "layout", "linear_before_reset", "fmod", "upper", "stash_type",
}  # fmt: skip
_NOT_TOUCHED = {"to", "dtype", "training_mode", "stash_type", "output_dtype"}
"""Types: another one is refused by every runtime, that says nothing of the proof."""

_WORDS = {
    "tanh": "none", "none": "tanh", "constant": "edge", "edge": "reflect", "reflect": "edge", "nearest": "linear", "linear": "nearest",
    "cubic": "linear", "bilinear": "nearest", "half_pixel": "asymmetric", "asymmetric": "half_pixel", "align_corners": "half_pixel",
    "pytorch_half_pixel": "asymmetric", "forward": "reverse", "reverse": "forward", "DCR": "CRD", "CRD": "DCR", "add": "mul",
    "floor": "ceil", "round_prefer_floor": "ceil",
}  # fmt: skip
"""Another word for attributes that take one of a few."""

_SMALL_EPSILON = 1e-3
_LARGEST = 2**31
"""Integers beyond are ends and sentinels: moved by one they mean the same."""


def shallow_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node of the graph and of its branches, in order; bodies of loops are left alone, a mutant of theirs may never end."""
    for node in graph.node:
        yield node
        if node.op_type == "If":
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    yield from shallow_nodes(attribute.g)


def node_changes(model: onnx.ModelProto) -> Iterator[OnnxChange]:
    """Every change of a node or a constant, in graph order."""
    shapes = _shapes(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for place, node in enumerate(shallow_nodes(model.graph)):
        where = f"{node.op_type} {node.name or ', '.join(node.output)}"
        bypass = _bypass(node, shapes, weights.keys())
        if bypass is not None:
            yield "node dropped", where, f"gives its input {node.input[bypass]}", partial(_drop, place, bypass)
        for number, attribute in enumerate(node.attribute):
            if node.op_type == "Constant":
                yield from _constant_changes(where, place, number, attribute)
            elif attribute.name not in _NOT_TOUCHED and (words := _changed_attribute(attribute)):
                yield "attribute changed", where, words, partial(_change_attribute, place, number)
    counts = {name for node in model.graph.node if node.op_type in ("Loop", "Scan") for name in node.input}
    for number, tensor in enumerate(model.graph.initializer):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and tensor.name not in counts:
            yield from _tensor_changes(tensor.name, tensor, partial(_initializer, number))


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, tuple[object, ...]]]:
    """Dtype and axes of every value whose rank is known."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # noqa: BLE001 - without its help fewer nodes can be bypassed, that is all
        inferred = model
    found: dict[str, tuple[int, tuple[object, ...]]] = {}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            axes = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim)
            found[value.name] = (tensor.elem_type, axes)
    return found


def _bypass(node: onnx.NodeProto, shapes: dict[str, tuple[int, tuple[object, ...]]], weights: object) -> int | None:
    """The input that can stand for the node's output: computed, and of the same dtype, rank and static sizes."""
    if len(node.output) != 1 or node.op_type in ("Identity", "Constant", "Loop", "If", "Scan") or node.output[0] not in shapes:
        return None
    kind, axes = shapes[node.output[0]]
    for place, name in enumerate(node.input):
        if name in shapes and name not in weights and shapes[name][0] == kind and len(shapes[name][1]) == len(axes):  # type: ignore[operator]
            pairs = zip(axes, shapes[name][1], strict=True)
            if all(one == other or isinstance(one, str) or isinstance(other, str) for one, other in pairs):
                return place
    return None


def _node(model: onnx.ModelProto, place: int) -> onnx.NodeProto:
    return list(shallow_nodes(model.graph))[place]


def _drop(place: int, kept: int, model: onnx.ModelProto) -> None:
    node = _node(model, place)
    node.CopyFrom(onnx.helper.make_node("Identity", [node.input[kept]], list(node.output), name=node.name))


def _changed_attribute(attribute: onnx.AttributeProto) -> str:
    """Changes the attribute; the change in words, empty where there is none to make."""
    before = onnx.AttributeProto()
    before.CopyFrom(attribute)
    return _set_other(before)


def _change_attribute(place: int, number: int, model: onnx.ModelProto) -> None:
    _set_other(_node(model, place).attribute[number])


def _set_other(attribute: onnx.AttributeProto) -> str:
    """Gives the attribute another value; the change in words, empty where no other value makes sense."""
    name = attribute.name
    before = onnx.helper.get_attribute_value(attribute) if attribute.type != onnx.AttributeProto.GRAPH else None
    if attribute.type == onnx.AttributeProto.INT:
        if name in _FLAGS:
            attribute.i = 1 - attribute.i if attribute.i in (0, 1) else 0
        elif name == "axis":
            attribute.i += -1 if attribute.i > 0 or attribute.i == -1 else 1
        else:
            attribute.i += 1
    elif attribute.type == onnx.AttributeProto.INTS and attribute.ints:
        if name == "perm":
            if len(attribute.ints) < 2:
                return ""
            attribute.ints[-1], attribute.ints[-2] = attribute.ints[-2], attribute.ints[-1]
        else:
            attribute.ints[-1] += 1
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = _other_float(attribute.f)
    elif attribute.type == onnx.AttributeProto.FLOATS and attribute.floats:
        attribute.floats[0] = _other_float(attribute.floats[0])
    elif attribute.type == onnx.AttributeProto.STRING and attribute.s.decode() in _WORDS:
        attribute.s = _WORDS[attribute.s.decode()].encode()
    else:
        return ""
    after = onnx.helper.get_attribute_value(attribute)
    return "" if before == after else f"{name} {_shown(before)} to {_shown(after)}"


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _other_float(value: float) -> float:
    """Small numbers are epsilons, which matter by their order of magnitude."""
    if value == 0:
        return 0.5
    return value * (100.0 if abs(value) <= _SMALL_EPSILON else 1.5)


def _constant_changes(where: str, place: int, number: int, attribute: onnx.AttributeProto) -> Iterator[OnnxChange]:
    if attribute.name == "value":
        yield from _tensor_changes(where, attribute.t, lambda model: _node(model, place).attribute[number].t)
    elif attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
        words = _changed_attribute(attribute)
        if words:
            kind = "integer constant moved" if "int" in attribute.name else "float constant changed"
            yield kind, where, words, partial(_change_attribute, place, number)


def _initializer(number: int, model: onnx.ModelProto) -> onnx.TensorProto:
    tensor: onnx.TensorProto = model.graph.initializer[number]
    return tensor


def _tensor_changes(where: str, tensor: onnx.TensorProto, find: Callable[[onnx.ModelProto], onnx.TensorProto]) -> Iterator[OnnxChange]:
    array = numpy_helper.to_array(tensor)
    if array.dtype.kind in "iu" and array.size:
        index = next((place for place, value in enumerate(array.flat) if abs(int(value)) < _LARGEST), None)
        if index is not None:
            value = int(array.flat[index])
            yield "integer constant moved", where, f"{value} to {value + 1}", partial(_change_element, find, index, value + 1)
    elif array.dtype.kind == "f" and array.size and np.isfinite(array.flat[-1]):
        number = float(array.flat[-1])
        other = _other_float(number)
        yield "float constant changed", where, f"{number:g} to {other:g}", partial(_change_element, find, array.size - 1, other)
    elif array.dtype.kind == "b" and array.size:
        flipped = not array.flat[0]
        yield "boolean constant flipped", where, f"{not flipped} to {flipped}", partial(_change_element, find, 0, flipped)


def _change_element(find: Callable[[onnx.ModelProto], onnx.TensorProto], index: int, value: float, model: onnx.ModelProto) -> None:
    tensor = find(model)
    array = np.array(numpy_helper.to_array(tensor))
    array.flat[index] = value
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(array, name))
