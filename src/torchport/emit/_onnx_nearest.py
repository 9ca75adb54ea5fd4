"""Nearest interpolation to a size that is known only at run time, as torch computes it: runtimes pick other neighbours at some sizes.

For an element of the output torch multiplies its place by ``input / output``, ONNX Runtime divides it by ``output / input``: rounded to
single precision, the two fall on different sides of a whole number at about every tenth size.

Source: https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["gather_nearest"]

_AS_TORCH = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
"""What ``torch.nn.functional.interpolate(x, size=…)`` is written as."""

_ENDLESS = 2**31 - 1


def gather_nearest(model: ir.Model) -> int:
    """Replaces the ``Resize`` nodes of the main graph that have such a size by a ``Gather`` along each axis.

    Args:
        model: Its ``Constant`` nodes are initializers already; changed in place.

    Returns:
        The number of nodes replaced.
    """
    replaced = 0
    for node in list(model.graph):
        if not _is_nearest_to_sizes(node):
            continue
        source, output = node.inputs[0], node.outputs[0]
        rank = _rank(source, node.inputs[3])
        assert source is not None
        assert rank is not None
        tape = ir.tape.Tape()
        gathered = source
        for axis in range(2, rank):
            gathered = _along(tape, model.graph, gathered, node.inputs[3], axis)
        for made in tape.nodes:
            made.name = f"{node.name}/{made.op_type}"
            made.metadata_props.update(node.metadata_props)
        model.graph.insert_before(node, tape.nodes)
        gathered.type, gathered.shape = output.type, output.shape
        ir.convenience.replace_all_uses_with(output, gathered, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
        replaced += 1
    return replaced


def _is_nearest_to_sizes(node: ir.Node) -> bool:
    if node.op_type != "Resize" or node.domain or len(node.inputs) < 4 or node.inputs[3] is None or "axes" in node.attributes:
        return False
    if any(name not in node.attributes or node.attributes[name].as_string() != value for name, value in _AS_TORCH.items()):
        return False
    source, sizes = node.inputs[0], node.inputs[3]
    rank = _rank(source, sizes)
    if rank is None or rank < 3:
        return False
    known = source is not None and source.shape is not None and all(isinstance(size, int) for size in source.shape[2:])
    return not (known and _is_known(sizes))


def _rank(source: ir.Value | None, sizes: ir.Value | None) -> int | None:
    """The rank of what is resized; where shape inference stopped before it, there is a size for each of its axes."""
    return len(source.shape) if source is not None and source.shape is not None else _count(sizes)


def _count(numbers: ir.Value | None) -> int | None:
    """How many numbers a vector has; ``None`` where that is not known."""
    if numbers is None:
        return None
    if numbers.const_value is not None:
        return int(numbers.const_value.size)
    if numbers.shape is not None and len(numbers.shape) == 1 and isinstance(numbers.shape[0], int):
        return int(numbers.shape[0])
    node = numbers.producer()
    if node is None:
        return None
    if node.op_type == "Concat":
        counts = [_count(one) for one in node.inputs]
        return None if None in counts else sum(one for one in counts if one is not None)
    if node.op_type == "Unsqueeze":
        return 1
    if node.op_type == "Slice" and len(node.inputs) >= 3:
        first, last = (None if one is None or one.const_value is None else one.const_value.numpy().item() for one in node.inputs[1:3])
        return last - first if first is not None and last is not None and 0 <= first <= last < _ENDLESS else None
    return _count(node.inputs[0]) if node.op_type == "Cast" else None


def _is_known(sizes: ir.Value | None) -> bool:
    """Whether sizes are numbers of the graph, but for those of batch and channels in front of them."""
    node = None if sizes is None else sizes.producer()
    if node is None:
        return sizes is not None and sizes.const_value is not None
    if node.op_type == "Concat" and len(node.inputs) > 1:
        return all(_is_known(one) for one in node.inputs[1:])
    return node.op_type == "Cast" and _is_known(node.inputs[0])


def _along(tape: ir.tape.Tape, graph: ir.Graph, x: ir.Value, sizes: ir.Value | None, axis: int) -> ir.Value:
    """``x`` with ``sizes[axis]`` elements on one axis."""
    before = tape.op("Gather", [tape.op("Shape", [x]), _constant(graph, axis)], {"axis": 0})
    after = tape.op("Gather", [sizes, _constant(graph, axis)], {"axis": 0})
    ratio = tape.op("Div", [_real(tape, before), _real(tape, after)])
    places = tape.op("Range", [_constant(graph, 0), after, _constant(graph, 1)])
    nearest = tape.op("Floor", [tape.op("Mul", [_real(tape, places), ratio])])
    last = tape.op("Sub", [before, _constant(graph, 1)])
    index = tape.op("Min", [tape.op("Cast", [nearest], {"to": ir.DataType.INT64}), last])
    return tape.op("Gather", [x, index], {"axis": axis})


def _real(tape: ir.tape.Tape, whole: ir.Value) -> ir.Value:
    return tape.op("Cast", [whole], {"to": ir.DataType.FLOAT})


def _constant(graph: ir.Graph, number: int) -> ir.Value:
    """A number of the graph; equal ones become one later."""
    tensor = ir.tensor(np.int64(number), name=f"/nearest/{len(graph.initializers)}")
    value = ir.Value(name=tensor.name, shape=ir.Shape([]), type=ir.TensorType(ir.DataType.INT64), const_value=tensor)
    graph.register_initializer(value)
    return value
