"""Folds constant arithmetic on weights, lazily: a transposed weight is made while it is written, never kept beside the original."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

__all__ = ["fold_constants"]

_NEVER = frozenset({
    # another answer at every run
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout",
    # a quantised weight must stay quantised
    "DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear",
})  # fmt: skip

_KEEP_BELOW = 64 * 1024
"""Results up to this many bytes are kept in memory; larger ones are made again when they are written."""

_SHARED_ABOVE = 2**20
"""A weight of this many bytes that the graph uses elsewhere too is not folded into a second copy: runtimes fold it while loading."""

Array = np.ndarray[Any, Any]


def fold_constants(model: ir.Model, opset: int) -> int:
    """Replaces nodes of the main graph whose inputs are all constants by their results.

    Args:
        model: Its ``Constant`` nodes are initializers already; changed in place.
        opset: The opset that the nodes are to be read in.

    Returns:
        The number of nodes folded.
    """
    folded = 0
    graph = model.graph
    for node in list(graph):
        output = node.outputs[0]
        if not _foldable(node) or output.is_graph_output():
            continue
        make = _maker(node, opset)
        try:
            result = make()
        except Exception:  # noqa: BLE001 - an operator that the reference evaluator does not know stays in the graph
            continue
        if _grows(node, result):
            continue
        tensor = _tensor(make, result, str(output.name))
        value = ir.Value(name=output.name, shape=ir.Shape(result.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        ir.convenience.replace_all_uses_with(output, value)
        graph.remove(node, safe=True)
        graph.register_initializer(value)
        folded += 1
    return folded


def _foldable(node: ir.Node) -> bool:
    if not _computes(node):
        return False
    # Tied weights: where something else needs the original, a folded result would be a second copy of it.
    return all(
        value is None or value.const_value is None or value.const_value.nbytes <= _SHARED_ABOVE or all(map(_computes, _users(value)))
        for value in node.inputs
    )


def _computes(node: ir.Node) -> bool:
    """Whether the node computes one tensor from constants alone."""
    if node.domain not in ("", "ai.onnx") or node.op_type in _NEVER or not node.inputs or len(node.outputs) != 1:
        return False
    if any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()):
        return False
    return all(value is None or (value.is_initializer() and not value.is_graph_input()) for value in node.inputs)


def _users(value: ir.Value) -> list[ir.Node]:
    return [use.node for use in value.uses()]


def _maker(node: ir.Node, opset: int) -> Callable[[], Array]:
    """A function that computes the node's result, as often as it is called; it outlives the node."""
    evaluator = ReferenceEvaluator(ir.to_proto(node), opsets={"": opset})
    tensors = {str(value.name): value.const_value for value in node.inputs if value is not None and value.const_value is not None}

    def make() -> Array:
        (result,) = evaluator.run(None, {name: tensor.numpy() for name, tensor in tensors.items()})
        return np.asarray(result)

    return make


def _grows(node: ir.Node, result: Array) -> bool:
    """A result much larger than what it is made of (an expanded scalar) makes the file larger and nothing faster."""
    read = sum(value.const_value.nbytes for value in node.inputs if value is not None and value.const_value is not None)
    return result.nbytes > max(_KEEP_BELOW, 2 * read)


def _tensor(make: Callable[[], Array], result: Array, name: str) -> ir.TensorProtocol:
    if result.nbytes <= _KEEP_BELOW:
        # A copy: the result may be a view of a weight that the author goes on training.
        return ir.Tensor(np.array(result, order="C"), name=name)
    dtype = ir.DataType.from_numpy(result.dtype)
    return ir.LazyTensor(lambda: ir.Tensor(make(), name=name), dtype=dtype, shape=ir.Shape(result.shape), name=name)
