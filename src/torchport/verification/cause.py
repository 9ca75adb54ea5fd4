"""Looks for the likely cause of a wrong answer: a traced size that became a number in the file, a table shorter than its axis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from torchport.verification._records import Array
from torchport.verification.skeleton import read_skeleton

__all__ = ["Suspect", "baked_in_graph_text", "baked_in_onnx", "likely_cause", "tables_in_onnx"]

_SHAPING = {
    "Reshape": 1,
    "Expand": 1,
    "Tile": 1,
    "ConstantOfShape": 0,
    "Range": None,
    "Slice": None,
    "Split": None,
    "Resize": None,
    "Pad": 1,
}
"""Operators that take sizes as values, and the input that holds them (``None``: any)."""

_ARITHMETIC = {"Div", "Mul", "Sub", "Add", "Mod", "Equal", "Less", "Greater", "Min", "Max"}


@dataclass(frozen=True)
class Suspect:
    """A place in the file that may be the cause.

    Attributes:
        text: In words.
        rank: The lower, the likelier.
    """

    text: str
    rank: int


def likely_cause(path: Path, traced: Mapping[str, int], sizes: Mapping[str, int], graph: str = "") -> str:
    """The likeliest cause of a difference at ``sizes``.

    Args:
        path: The artifact.
        traced: The traced sizes.
        sizes: The sizes of the case that differs.
        graph: The graph's text, for TorchScript.

    Returns:
        A sentence, or ``""`` when nothing suspicious is found.
    """
    moved = {name: size for name, size in traced.items() if sizes.get(name, size) != size}
    if path.suffix.lower() != ".onnx":
        suspects = baked_in_graph_text(graph, moved)
    else:
        try:
            model = read_skeleton(path)
        except ValueError:
            return ""
        suspects = [*tables_in_onnx(model, traced, sizes), *baked_in_onnx(model, moved)]
    return min(suspects, key=lambda suspect: suspect.rank).text if suspects else ""


def baked_in_onnx(model: onnx.ModelProto, traced: Mapping[str, int]) -> list[Suspect]:
    """Traced sizes among the constants that shape or scale something, and among the shapes of initializers."""
    graph = model.graph
    constants = _constants(model)
    values = {name: array for name, tensor in constants.items() if (array := _small(tensor)) is not None}
    suspects: list[Suspect] = []
    for node in graph.node:
        for place, name in enumerate(node.input):
            for symbol, size in traced.items():
                if size < 2:
                    continue
                label = f"`{symbol}` was baked in at {size}: node {node.op_type} {node.name or node.output[0]!r}"
                if node.op_type in _SHAPING and _SHAPING[node.op_type] in (None, place) and _holds(values.get(name), size):
                    suspects.append(Suspect(label, 0 if node.op_type in ("Reshape", "Expand", "ConstantOfShape", "Range") else 1))
                elif node.op_type in _ARITHMETIC and _holds(values.get(name), size):
                    suspects.append(Suspect(label, 2))
                elif name in constants and size in constants[name].dims and node.op_type not in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
                    shape = list(constants[name].dims)
                    suspects.append(Suspect(f"{label} uses the constant {name!r} of shape {shape}", 3 if len(shape) > 1 else 4))
    return suspects


def tables_in_onnx(model: onnx.ModelProto, traced: Mapping[str, int], sizes: Mapping[str, int]) -> list[Suspect]:
    """Initializers that are sliced or gathered from, with fewer rows than a size of the case that differs."""
    weights = {name: list(tensor.dims) for name, tensor in _constants(model).items()}
    suspects = []
    for node in model.graph.node:
        if node.op_type not in ("Slice", "Gather") or not node.input or node.input[0] not in weights:
            continue
        name = node.input[0]
        for symbol, size in sizes.items():
            short = [rows for rows in weights[name] if traced.get(symbol, 0) <= rows < size]
            if short and traced.get(symbol) != size:
                text = f"the table {name!r} has {short[0]} rows, `{symbol}` is {size}: node {node.op_type} {node.name or node.output[0]!r}"
                suspects.append(Suspect(text, 0))
    return suspects


def baked_in_graph_text(graph: str, traced: Mapping[str, int]) -> list[Suspect]:
    """Traced sizes among the integer constants of a TorchScript graph, and the operation that takes them."""
    suspects = []
    for match in re.finditer(r"(%[\w.]+) : int = prim::Constant\[value=(\d+)\]", graph):
        for symbol, size in traced.items():
            if size < 2 or int(match[2]) != size:
                continue
            user = re.search(rf"(aten|prim)::(\w+)\([^\n]*{re.escape(match[1])}[,)]", graph)
            operation = f"{user[1]}::{user[2]}" if user else "a constant"
            suspects.append(Suspect(f"`{symbol}` was baked in at {size}: {operation}", 1 if user else 3))
    return suspects


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Initializers and the values of ``Constant`` nodes, by name."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
    return constants


def _small(tensor: onnx.TensorProto) -> Array | None:
    """The contents of a tensor that could be sizes."""
    if int(np.prod(list(tensor.dims) or [1])) > 16 or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError):
        return None


def _holds(values: Array | None, size: int) -> bool:
    return values is not None and values.dtype.kind in "iuf" and bool((values == size).any())
