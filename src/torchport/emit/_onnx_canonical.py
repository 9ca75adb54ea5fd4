"""One graph, one file: ports as declared, names that only depend on the model, no trace of the machine that exported it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes import common

from torchport.errors import EmitError
from torchport.ports import Signature

__all__ = ["declare_ports", "merge_constants", "name_everything", "strip", "tidy"]

_MERGE_BELOW = 1024
"""Constants up to this many bytes are compared by value."""

_SCOPES = "pkg.torch.onnx.name_scopes"


def tidy(model: ir.Model) -> None:
    """Inlines functions, turns ``Constant`` nodes into initializers, drops what nothing uses."""
    common.InlinePass()(model)
    _scope_from_metadata(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.LiftSubgraphInitializersToMainGraphPass()(model)
    common.IdentityEliminationPass()(model)
    _own_body_outputs(model)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    common.RemoveUnusedOpsetsPass()(model)


def _scope_from_metadata(model: ir.Model) -> None:
    """The module that a node comes from, kept in its name as the trace-based exporter does: ``/encoder/layers.0/MatMul``."""
    for node in model.graph.all_nodes():
        scopes = node.metadata_props.get(_SCOPES)
        if scopes is None:
            continue
        try:
            parts = ast.literal_eval(scopes)
        except (SyntaxError, ValueError):
            continue
        # The last part is the node itself; torch puts a placeholder where a node belongs to no module.
        module = parts[-2] if len(parts) > 1 and not parts[-2].startswith("_empty_nn_module_stack") else ""
        node.name = f"/{module}/{node.op_type}" if module else f"/{node.op_type}"


def merge_constants(model: ir.Model, keep: set[str]) -> None:
    """Makes one of small constants that are equal, then one of nodes that compute the same from the same.

    Args:
        model: Changed in place.
        keep: Weights by name: two that are equal today may differ after training.
    """
    seen: dict[tuple[int, tuple[int, ...], bytes], ir.Value] = {}
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or name in keep or value.is_graph_output() or tensor.nbytes > _MERGE_BELOW or tensor.dtype == ir.DataType.STRING:
            continue
        key = (int(tensor.dtype), tuple(tensor.shape.numpy()), tensor.tobytes())
        first = seen.setdefault(key, value)
        if first is not value:
            ir.convenience.replace_all_uses_with(value, first)
            del model.graph.initializers[name]
    declared = [(value.type, value.shape) for value in model.graph.outputs]
    common.CommonSubexpressionEliminationPass()(model)
    for value, (kind, shape) in zip(model.graph.outputs, declared, strict=True):
        value.type, value.shape = kind, shape  # an inner value that takes an output's place has neither any more


def declare_ports(model: ir.Model, signature: Signature) -> tuple[str, ...]:
    """Gives the graph the declared inputs and outputs, in order, with the declared axes.

    Returns:
        Declared inputs that nothing in the graph uses; they stay inputs all the same.

    Raises:
        EmitError: The graph takes or gives something else than what is declared.
    """
    graph = model.graph
    found = {str(value.name): value for value in graph.inputs}
    extra = [value for name, value in found.items() if name not in signature.inputs]
    graph.inputs.clear()
    for name, port in signature.inputs.items():
        value = found.get(name)
        if value is None:
            value = ir.Value(name=name, type=ir.TensorType(_dtype(str(port.dtype))))
        value.shape = _shape(signature, name, len(value.shape) if value.shape is not None else None)
        graph.inputs.append(value)
    graph.inputs.extend(extra)
    if len(graph.outputs) != len(signature.outputs):
        raise EmitError(
            "the graph has another number of outputs than declared",
            found=len(graph.outputs),
            expected=f"{len(signature.outputs)}: {', '.join(signature.outputs)}",
        )
    _own_outputs(graph)
    for value, (name, port) in zip(graph.outputs, signature.outputs.items(), strict=True):
        if value.dtype is None and port.dtype is not None:
            value.dtype = _dtype(port.dtype)
        value.shape = _shape(signature, name, len(value.shape) if value.shape is not None else None)
    return tuple(str(value.name) for value in graph.inputs if str(value.name) in signature.inputs and not value.uses())


def _own_outputs(graph: ir.Graph) -> None:
    """An input, a constant, or one tensor twice cannot be an output: each output gets a node of its own."""
    seen: set[ir.Value] = set()
    for place, value in enumerate(list(graph.outputs)):
        if value in seen or value.producer() is None:
            node = ir.Node("", "Identity", [value], name="/Identity")
            output = node.outputs[0]
            output.type, output.shape = value.type, None if value.shape is None else ir.Shape(value.shape)
            graph.append(node)
            graph.outputs[place] = output
        seen.add(value)


def _own_body_outputs(model: ir.Model) -> None:
    """The body of a loop or a branch gives values of its own, never one of the graph around it."""
    for node in list(model.graph.all_nodes()):
        for body in _subgraphs(node):
            own = {value for inner in body for value in inner.outputs} | set(body.inputs)
            for place, value in enumerate(list(body.outputs)):
                if value not in own:
                    copy = ir.Node("", "Identity", [value], name="/Identity")
                    copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
                    body.append(copy)
                    body.outputs[place] = copy.outputs[0]


def _dtype(name: str) -> ir.DataType:
    import torch
    from onnx_ir.tensor_adapters import from_torch_dtype

    return from_torch_dtype(getattr(torch, name))


def _shape(signature: Signature, name: str, rank: int | None) -> ir.Shape | None:
    port = signature.inputs.get(name) or signature.outputs[name]
    if port.axes is None:
        return None
    if rank is not None and rank != len(port.axes):
        raise EmitError("the graph's tensor has another rank than declared", where=name, found=rank, expected=len(port.axes))
    return ir.Shape([signature.symbol(name, place) or axis.size for place, axis in enumerate(port.axes)])


def strip(model: ir.Model) -> None:
    """Removes metadata, doc strings, and the types of inner values, which may still name the exporter's own symbols."""
    common.ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    model.doc_string = model.graph.doc_string = None
    model.producer_name, model.producer_version, model.domain, model.model_version = "torchport", None, None, None
    model.graph.name = "main_graph"
    model.graph.metadata_props.clear()
    ports = {*model.graph.inputs, *model.graph.outputs}
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value not in ports and not value.is_graph_output():
                value.type = value.shape = None


def name_everything(model: ir.Model, signature: Signature, weights: set[str]) -> None:
    """Names nodes after module and operator, values after their node, constants after their first consumer; weights keep their names."""
    graph = model.graph
    taken = set(signature.inputs) | set(signature.outputs)
    constants = {value: str(value.name) for value in graph.initializers.values()}
    graph.initializers.clear()
    for value, name in constants.items():
        if name in weights:
            value.name = _free(name, taken)
    for extra in graph.inputs:
        if extra.name not in signature.inputs:
            extra.name = _free(str(extra.name), taken)
    counts: Counter[str] = Counter()
    ordered: dict[ir.Value, None] = {}
    for node in graph.all_nodes():
        node.name = _numbered(f"{_scope(node)}/{node.op_type}", counts)
        for place, used in enumerate(node.inputs):
            if used is not None and used in constants and used not in ordered:
                ordered[used] = None
                if constants[used] not in weights:
                    used.name = _free(f"{node.name}_input_{place}", taken)
        for place, value in enumerate(node.outputs):
            if value.name != "":
                value.name = _free(f"{node.name}_output_{place}", taken)
        for place, inner in enumerate(_subgraphs(node)):
            inner.name = f"{node.name}_body_{place}"
            inner.doc_string = None
            for position, value in enumerate(inner.inputs):
                value.name = _free(f"{inner.name}_input_{position}", taken)
    for value, name in zip(graph.outputs, signature.outputs, strict=True):
        value.name = name
    for value in ordered:
        graph.register_initializer(value)


def _subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _scope(node: ir.Node) -> str:
    """The module path in a node's name: what stands before the last slash, where there is one."""
    return str(node.name or "").rpartition("/")[0] if str(node.name or "").startswith("/") else ""


def _numbered(name: str, counts: Counter[str]) -> str:
    counts[name] += 1
    return name if counts[name] == 1 else f"{name}_{counts[name] - 1}"


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 0
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free
