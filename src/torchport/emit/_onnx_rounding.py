"""Whole numbers made of a share of a size, as Python and torch compute them: in double precision, where exporters write single.

``int(x.shape[1] * 1.3)`` is 117 for a size of 90; in single precision the product falls short of 117, and the file would be one step
off. That is so at about every thirtieth size.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import onnx_ir as ir

__all__ = ["double_of", "round_in_double"]

_EXACT = 2**10
"""A share in so small parts of two is exact in single precision, and so is its product with any size that fits into memory."""

_SHORT = 6
"""So many digits survive single precision: a number that shows no more was written so."""

_SIMPLE, _RARE = 64, 4096
"""Other shares are ratios of whole numbers: up to the first that is more likely than a short number, up to the second than none."""

_THROUGH = frozenset({"Gather", "Squeeze", "Unsqueeze", "Slice", "Reshape", "Concat", "Identity", "Cast"})
"""What lies between a ``Shape`` and the size that is taken from it."""


def round_in_double(model: ir.Model) -> int:
    """Computes the whole numbers that are made of shares of sizes in double precision.

    Args:
        model: Its ``Constant`` nodes are initializers already; changed in place.

    Returns:
        The number of nodes that round which were replaced.
    """
    replaced = 0
    for node in list(model.graph):
        share = _share(node)
        if share is None:
            continue
        size, constant = share
        for rounding in list(_roundings(node.outputs[0])):
            _replace(model.graph, node, rounding, size, constant)
            replaced += 1
    return replaced


def double_of(single: float) -> float:
    """The number in double precision that somebody meant by one in single precision.

    Example:
        >>> double_of(float(np.float32(1.3))), double_of(float(np.float32(1 / 9))) == 1 / 9
        (1.3, True)
    """
    written = str(np.float32(single))
    short = [float(written)] if len(written.replace(".", "").lstrip("0")) <= _SHORT else []
    simple, rare = (float(Fraction(single).limit_denominator(most)) for most in (_SIMPLE, _RARE))
    return next((one for one in (simple, *short, rare) if np.float32(one) == np.float32(single)), single)


def _share(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The size, as an integer, and the number that it is multiplied with or divided by; ``None`` where the node is no such product."""
    if node.op_type not in ("Mul", "Div") or node.domain or len(node.inputs) != 2:
        return None
    for real, constant in (tuple(node.inputs), tuple(reversed(node.inputs)))[: 1 if node.op_type == "Div" else 2]:
        size = None if real is None else _size(real)
        if size is not None and constant is not None and _is_inexact(constant):
            return size, constant
    return None


def _is_inexact(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size != 1 or value.is_graph_input():
        return False
    number = float(tensor.numpy().reshape(-1)[0])
    return bool(np.isfinite(number)) and not (number * _EXACT).is_integer()


def _size(real: ir.Value) -> ir.Value | None:
    """The integer that a real number was made of, where that is a size of a tensor."""
    cast = real.producer()
    if cast is None or cast.op_type != "Cast" or cast.inputs[0] is None:
        return None
    value: ir.Value | None = cast.inputs[0]
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _THROUGH and node.inputs:
        value = node.inputs[0]
        node = value.producer() if value is not None else None
    return cast.inputs[0] if node is not None and node.op_type == "Shape" else None


def _roundings(product: ir.Value) -> Iterator[ir.Node]:
    """The nodes that make a whole number of a product, by way of casts that change nothing."""
    for user in product.consumers():
        to = user.attributes["to"].as_int() if user.op_type == "Cast" else None
        if user.op_type in ("Floor", "Ceil") or to in (ir.DataType.INT64, ir.DataType.INT32):
            yield user
        elif to == ir.DataType.FLOAT:
            yield from _roundings(user.outputs[0])


def _replace(graph: ir.Graph, product: ir.Node, rounding: ir.Node, size: ir.Value, constant: ir.Value) -> None:
    """Writes the product and its rounding again, in double precision."""
    assert constant.const_value is not None
    number = np.full(constant.const_value.numpy().shape, double_of(float(constant.const_value.numpy().reshape(-1)[0])))
    value = ir.Value(
        name=f"{rounding.name}/share/{len(graph.initializers)}",
        shape=ir.Shape(number.shape),
        type=ir.TensorType(ir.DataType.DOUBLE),
        const_value=ir.tensor(number, name=f"{rounding.name}/share/{len(graph.initializers)}"),
    )
    graph.register_initializer(value)
    tape = ir.tape.Tape()
    inputs = [tape.op("Cast", [size], {"to": ir.DataType.DOUBLE}), value]
    result = tape.op(product.op_type, inputs if _size_first(product, constant) else list(reversed(inputs)))
    output = rounding.outputs[0]
    if rounding.op_type == "Cast":
        result = tape.op("Cast", [result], {"to": rounding.attributes["to"].as_int()})
    else:
        result = tape.op("Cast", [tape.op(rounding.op_type, [result])], {"to": ir.DataType.FLOAT})
    for made in tape.nodes:
        made.name = f"{rounding.name}/{made.op_type}"
        made.metadata_props.update(rounding.metadata_props)
    graph.insert_before(rounding, tape.nodes)
    result.type, result.shape = output.type, output.shape
    ir.convenience.replace_all_uses_with(output, result, replace_graph_outputs=True)
    graph.remove(rounding, safe=True)


def _size_first(product: ir.Node, constant: ir.Value) -> bool:
    return product.inputs[1] is constant
