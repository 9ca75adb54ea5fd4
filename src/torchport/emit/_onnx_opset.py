"""Brings an ONNX graph to the opset that was asked for, or refuses: the file carries exactly that version."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnxscript import version_converter

from torchport.capture._reasons import reason_of
from torchport.errors import OpsetError

__all__ = ["convert", "ir_version_for"]

_KEEP_BELOW = 1024
"""Initializers up to this many bytes go through the down-converter (axes, shapes); the weights stay outside."""

_SHAPE_SLICES = 15
"""``Shape`` got its ``start`` and ``end`` here."""

_ASIDE = "torchport.aside"
"""Domain of nodes that mean the same in both opsets while the others are converted: onnx 1.23 lacks an adapter for many of them."""

_UP_FROM = 18
"""onnxscript converts from here upwards, in place."""


def convert(model: ir.Model, target: int) -> ir.Model:
    """The same graph in another opset.

    Args:
        model: The graph; may be changed in place.
        target: The opset version.

    Raises:
        OpsetError: An operator of the graph does not exist in that version.
    """
    current = model.opset_imports.get("")
    if current == target or current is None:
        model.opset_imports[""] = target
        return model
    try:
        converted = _up(model, target) if target > current else _down(model, target)
    except Exception as error:
        raise _refusal(current, target, reason_of(error)) from error
    if converted.opset_imports.get("") != target:
        raise _refusal(current, target, "an operator of the graph has no form there")
    return converted


def _refusal(current: int, target: int, reason: str) -> OpsetError:
    return OpsetError(
        f"the graph cannot be written in opset {target}",
        where="onnx_opset_version",
        found=reason,
        expected=f"a graph whose operators exist there; this one is in {current}",
        hint=f"ask for {current}, or let strategy='trace' write {target} itself" if target < current else f"ask for {current}",
    )


def _up(model: ir.Model, target: int) -> ir.Model:
    if model.opset_imports[""] < _UP_FROM:
        raise ValueError(f"graphs are only converted upwards from opset {_UP_FROM}")
    version_converter.convert_version(model, target, fallback=False)
    return model


def _down(model: ir.Model, target: int) -> ir.Model:
    """Through the converter of the onnx package, which reads a whole message: the weights become inputs on the way."""
    if target < _SHAPE_SLICES:
        _spell_out_shape_ranges(model)
    for node in model.graph.all_nodes():
        if _means_the_same(node, model.opset_imports[""], target):
            node.domain = _ASIDE
            model.opset_imports[_ASIDE] = 1
    outside = {
        name: value
        for name, value in model.graph.initializers.items()
        if value.const_value is None or value.const_value.nbytes > _KEEP_BELOW
    }
    for name, value in outside.items():
        del model.graph.initializers[name]
        model.graph.inputs.append(value)
    converted = ir.from_proto(onnx.version_converter.convert_version(ir.to_proto(model), target))
    for node in converted.graph.all_nodes():
        if node.domain == _ASIDE:
            node.domain = ""
    converted.opset_imports.pop(_ASIDE, None)
    for value in list(converted.graph.inputs):
        original = outside.get(str(value.name))
        if original is not None:
            converted.graph.inputs.remove(value)
            value.const_value, value.shape, value.type = original.const_value, original.shape, original.type
            value.meta.update(original.meta)
            converted.graph.register_initializer(value)
    return converted


def _means_the_same(node: ir.Node, current: int, target: int) -> bool:
    """Whether the node as it stands is one of the target's too; attributes that the target lacks are dropped where they say the default.

    A later version of an operator adds inputs, outputs and attributes whose absence means what the earlier version did.
    """
    if node.domain != "":
        return False
    try:
        new, old = (onnx.defs.get_schema(node.op_type, version, "") for version in (target, current))
    except onnx.defs.SchemaError:
        return False
    for name in set(node.attributes) - set(new.attributes):
        default = old.attributes[name].default_value if name in old.attributes else None
        if default is not None and default.name and ir.serde.deserialize_attribute(default).value == node.attributes[name].value:
            del node.attributes[name]
    return (
        new.min_input <= len(node.inputs) <= new.max_input
        and new.min_output <= len(node.outputs) <= new.max_output
        and set(node.attributes) <= set(new.attributes)
        and all(
            name in node.attributes or one.default_value == new.attributes[name].default_value
            for name, one in old.attributes.items()
            if name in new.attributes
        )
    )


def _spell_out_shape_ranges(model: ir.Model) -> None:
    """``Shape`` with ``start`` and ``end`` becomes ``Shape`` and ``Slice``: the converter has no way below opset 15 for it."""
    for node in list(model.graph.all_nodes()):
        if node.op_type != "Shape" or node.domain != "" or node.graph is None:
            continue
        start, end = node.attributes.pop("start", None), node.attributes.pop("end", None)
        if start is None and end is None:
            continue
        output = node.outputs[0]
        numbers = (start.as_int() if start is not None else 0, end.as_int() if end is not None else 2**31 - 1, 0)
        bounds = []
        for what, number in zip(("starts", "ends", "axes"), numbers, strict=True):
            name = f"{output.name}_{what}"
            tensor = ir.tensor([number], dtype=ir.DataType.INT64, name=name)
            bounds.append(ir.Value(name=name, shape=ir.Shape([1]), type=ir.TensorType(tensor.dtype), const_value=tensor))
            model.graph.register_initializer(bounds[-1])
        whole = ir.Node("", "Shape", [node.inputs[0]], name=node.name)
        part = ir.Node("", "Slice", [whole.outputs[0], *bounds], name=f"{node.name}_part")
        whole.outputs[0].name = f"{output.name}_whole"
        node.graph.insert_before(node, (whole, part))
        ir.convenience.replace_all_uses_with(output, part.outputs[0], replace_graph_outputs=True)
        part.outputs[0].name, part.outputs[0].type, part.outputs[0].shape = output.name, output.type, output.shape
        node.graph.remove(node, safe=True)


def ir_version_for(model: ir.Model) -> int:
    """The oldest file version that may carry the graph: what reads it is older than what writes it."""
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    oldest = onnx.helper.find_min_ir_version_for(imports, ignore_unknown=True)
    new_types = any(
        value.dtype is not None and (value.dtype.bitwidth < 8 or value.dtype.name.startswith("FLOAT8"))
        for value in model.graph.initializers.values()
    )
    return int(max(oldest, 10 if new_types else 7))
