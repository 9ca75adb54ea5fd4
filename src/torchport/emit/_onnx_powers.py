"""Powers of whole numbers as products: a runtime may compute them in double precision, which holds whole numbers up to 2**53 only.

ONNX Runtime squares integers exactly in some shapes and by ``pow`` of doubles in others, as of 1.32.
"""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["multiply_powers"]

_MOST = 4
"""A power of more factors than this leaves 64 bits soon."""


def multiply_powers(model: ir.Model) -> int:
    """Replaces small powers of integers in the main graph by products.

    Args:
        model: Its ``Constant`` nodes are initializers already, and its values have types; changed in place.

    Returns:
        The number of nodes replaced.
    """
    replaced = 0
    for node in list(model.graph):
        factors = _factors(node)
        base, output = (node.inputs[0], node.outputs[0]) if factors else (None, None)
        if base is None or output is None:
            continue
        tape = ir.tape.Tape()
        product = base
        for _ in range(factors - 1):
            product = tape.op("Mul", [product, base])
        for made in tape.nodes:
            made.name = f"{node.name}/{made.op_type}"
            made.metadata_props.update(node.metadata_props)
        model.graph.insert_before(node, tape.nodes)
        product.type, product.shape = output.type, output.shape
        ir.convenience.replace_all_uses_with(output, product, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
        replaced += 1
    return replaced


def _factors(node: ir.Node) -> int:
    """How often an integer is multiplied with itself; 0 where the node is no such power."""
    if node.op_type != "Pow" or node.domain or node.inputs[0] is None or node.inputs[1] is None:
        return 0
    if node.inputs[0].dtype not in (ir.DataType.INT64, ir.DataType.INT32) or node.outputs[0].dtype not in (None, node.inputs[0].dtype):
        return 0
    exponent = node.inputs[1].const_value
    if exponent is None or exponent.size != 1 or len(exponent.shape) > len(node.inputs[0].shape or ()):
        return 0
    number = exponent.numpy().item()
    return int(number) if 2 <= number <= _MOST and float(number).is_integer() else 0
