"""``torch.linspace`` with a number of steps that is known only at run time: of one step it is its start, and no division by nothing.

The trace-based exporter writes ``start + range(steps) * ((end - start) / (steps - 1))``: at one step that is 0 times infinity.

Source: https://docs.pytorch.org/docs/stable/generated/torch.linspace.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["keep_single_steps"]


def keep_single_steps(model: ir.Model) -> int:
    """Divides by one where the ramps of the main graph would divide by nothing.

    Args:
        model: Its ``Constant`` nodes are initializers already; changed in place.

    Returns:
        The number of ramps.
    """
    found = 0
    for node in list(model.graph):
        division = _division(node)
        if division is None:
            continue
        gap = division.inputs[1]
        assert gap is not None
        dtype = _dtype(gap)
        if dtype is None:
            continue
        one = ir.Value(name=f"{division.name}/one", const_value=ir.tensor(np.array(1, dtype.numpy())), type=ir.TensorType(dtype))
        one.shape = ir.Shape([])
        model.graph.initializers[one.name or ""] = one
        least = ir.node("Max", [gap, one], name=f"{division.name}/Max")
        least.outputs[0].name = f"{division.name}/Max_output"
        least.outputs[0].type, least.outputs[0].shape = gap.type or ir.TensorType(dtype), gap.shape
        least.metadata_props.update(division.metadata_props)
        model.graph.insert_before(division, least)
        division.replace_input_with(1, least.outputs[0])
        found += 1
    return found


def _division(node: ir.Node) -> ir.Node | None:
    """The division by ``steps - 1`` of a ramp that this product computes."""
    if node.op_type != "Mul":
        return None
    makers = [_maker(value) for value in node.inputs]
    steps = next((one for one in makers if one is not None and one.op_type == "Range"), None)
    division = next((one for one in makers if one is not None and one.op_type == "Div"), None)
    if steps is None or division is None:
        return None
    less = _maker(division.inputs[1])
    if less is None or less.op_type != "Sub" or not _is_one(less.inputs[1]) or _source(less.inputs[0]) is not _source(steps.inputs[1]):
        return None
    return division


def _source(value: ir.Value | None) -> ir.Value | None:
    """The value before it was cast."""
    while value is not None and (node := value.producer()) is not None and node.op_type == "Cast":
        value = node.inputs[0]
    return value


def _maker(value: ir.Value | None) -> ir.Node | None:
    source = _source(value)
    return None if source is None else source.producer()


def _is_one(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and value.const_value.size == 1 and value.const_value.numpy().item() == 1


def _dtype(value: ir.Value) -> ir.DataType | None:
    """The element type; of a cast, what it casts to."""
    node = value.producer()
    if node is not None and node.op_type == "Cast":
        return ir.DataType(node.attributes["to"].as_int())
    return value.dtype
