"""``torch.linspace`` as torch computes it: counted from both ends, and of one step its start.

The trace-based exporter writes ``start + range(steps) * ((end - start) / (steps - 1))``: at one step that is 0 times infinity, and its last
steps are off by roundings, so that ``torch.linspace(0, frames - 1, 8).long()`` picks another frame at every fortieth length.

Source: https://docs.pytorch.org/docs/stable/generated/torch.linspace.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["count_from_both_ends"]


def count_from_both_ends(model: ir.Model) -> int:
    """Writes the ramps of the main graph as torch computes them.

    Args:
        model: Its ``Constant`` nodes are initializers already; changed in place.

    Returns:
        The number of ramps.
    """
    found = 0
    for node in list(model.graph):
        division = _division(node)
        ramp = None if division is None else _ramp(node, division)
        if division is None or ramp is None:
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
        _count_back(model, ramp, division, least.outputs[0], dtype)
        found += 1
    return found


def _ramp(product: ir.Node, division: ir.Node) -> ir.Node | None:
    """The sum ``product + start`` where the division is ``(end - start) / (steps - 1)``; ``None`` where it is anything else."""
    span = _maker(division.inputs[0])
    if span is None or span.op_type != "Sub" or span.inputs[0] is None or division.outputs[0] not in product.inputs:
        return None
    users = list(product.outputs[0].consumers())
    if len(users) != 1 or users[0].op_type != "Add" or product.outputs[0].is_graph_output():
        return None
    start = next((one for one in users[0].inputs if one is not product.outputs[0]), None)
    return users[0] if _same(start, span.inputs[1]) else None


def _count_back(model: ir.Model, ramp: ir.Node, division: ir.Node, gap: ir.Value, dtype: ir.DataType) -> None:
    """Takes the upper half of a ramp from its end: ``end - (steps - 1 - place) * step``."""
    span, product = (
        _maker(division.inputs[0]),
        next(one.producer() for one in ramp.inputs if one is not None and _is_product(one, division)),
    )
    assert span is not None
    assert span.inputs[0] is not None
    assert product is not None
    places = next(one for one in product.inputs if one is not division.outputs[0])
    tape = ir.tape.Tape()
    end = tape.op("Cast", [span.inputs[0]], {"to": int(dtype)})
    back = tape.op("Mul", [tape.op("Sub", [gap, places]), division.outputs[0]])
    lower = tape.op("Less", [tape.op("Add", [places, places]), gap])
    whole = tape.op("Where", [lower, ramp.outputs[0], tape.op("Sub", [end, back])])
    for made in tape.nodes:
        made.name = f"{ramp.name}/{made.op_type}"
        made.metadata_props.update(ramp.metadata_props)
    old = ramp.outputs[0]
    uses = [(user, place) for user, place in old.uses() if user not in tape.nodes]
    model.graph.insert_after(ramp, tape.nodes)
    whole.type, whole.shape = old.type, old.shape
    for user, place in uses:
        user.replace_input_with(place, whole)
    for place, output in enumerate(model.graph.outputs):
        if output is old:
            whole.name, old.name = old.name, f"{old.name}/lower"
            model.graph.outputs[place] = whole


def _is_product(value: ir.Value, division: ir.Node) -> bool:
    node = value.producer()
    return node is not None and division.outputs[0] in node.inputs


def _division(node: ir.Node) -> ir.Node | None:
    """The division by ``steps - 1`` of a ramp that this product computes."""
    if node.op_type != "Mul":
        return None
    makers = [_maker(value) for value in node.inputs]
    steps = next((one for one in makers if one is not None and one.op_type == "Range"), None)
    division = next((one for one in makers if one is not None and one.op_type == "Div"), None)
    if steps is None or division is None or not _is_number(steps.inputs[0], 0) or not _is_number(steps.inputs[2], 1):
        return None
    less = _maker(division.inputs[1])
    if less is None or less.op_type != "Sub" or not _is_number(less.inputs[1], 1) or not _same(less.inputs[0], steps.inputs[1]):
        return None
    return division


def _same(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether two values are one, but for casts; numbers are compared."""
    one, other = _source(one), _source(other)
    if one is None or other is None or one is other:
        return one is other
    first, second = one.const_value, other.const_value
    return first is not None and second is not None and first.size == second.size == 1 and first.numpy().item() == second.numpy().item()


def _source(value: ir.Value | None) -> ir.Value | None:
    """The value before it was cast."""
    while value is not None and (node := value.producer()) is not None and node.op_type == "Cast":
        value = node.inputs[0]
    return value


def _maker(value: ir.Value | None) -> ir.Node | None:
    source = _source(value)
    return None if source is None else source.producer()


def _is_number(value: ir.Value | None, number: int) -> bool:
    return (
        value is not None and value.const_value is not None and value.const_value.size == 1 and value.const_value.numpy().item() == number
    )


def _dtype(value: ir.Value) -> ir.DataType | None:
    """The element type; of a cast, what it casts to."""
    node = value.producer()
    if node is not None and node.op_type == "Cast":
        return ir.DataType(node.attributes["to"].as_int())
    return value.dtype
