"""Where a node of the artifact comes from: the exporters write it into the graph, the artifact leaves it out, the debug map keeps it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from torchport.capture._sources import author_line

__all__ = ["Origin", "keep_origins", "origins_of_graph", "origins_of_program", "origins_of_script", "take_origins", "write_debug_map"]

_KEY = "torchport.origin"
_SCOPES, _STACK = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.stack_trace"


@dataclass(frozen=True)
class Origin:
    """Where one node comes from.

    Attributes:
        operator: The operator.
        module: The path of the module; ``""`` for the model itself, ``None`` where it is not known.
        file: The source file; ``None`` where it is not known.
        line: The line in it.
        original: The node's name in the exporter's own graph.
    """

    operator: str
    module: str | None = None
    file: str | None = None
    line: int | None = None
    original: str = ""


def take_origins(model: ir.Model) -> dict[str, Origin]:
    """What the exporter wrote beside the nodes of an ONNX graph, by the name of each node's first output."""
    found = {}
    for node in model.graph.all_nodes():
        at = author_line(node.metadata_props.get(_STACK, "")) or author_line(node.doc_string or "") or (None, None)
        module = _module_of(node)
        found[str(node.outputs[0].name)] = Origin(node.op_type, module, at[0], at[1], str(node.name or ""))
    return found


def _module_of(node: ir.Node) -> str | None:
    scopes = node.metadata_props.get(_SCOPES)
    if scopes is None:
        name = str(node.name or "")
        return name.rpartition("/")[0].strip("/").replace("/", ".") if name.startswith("/") else None
    try:
        parts = ast.literal_eval(scopes)
    except (SyntaxError, ValueError):
        return None
    module = str(parts[-2]) if len(parts) > 1 else ""
    return None if module.startswith("_empty_nn_module_stack") else module


def keep_origins(model: ir.Model, origins: Mapping[str, Origin]) -> None:
    """Ties origins to the nodes themselves: names change from here on, nodes do not."""
    for node in model.graph.all_nodes():
        origin = origins.get(str(node.outputs[0].name))
        if origin is not None:
            node.meta[_KEY] = origin


def origins_of_graph(model: ir.Model) -> dict[str, Origin]:
    """The origin of each node under its final name; a node that torchport itself made has none but its operator."""
    return {str(node.name): node.meta.get(_KEY, Origin(node.op_type)) for node in model.graph.all_nodes()}


def origins_of_script(module: Any) -> dict[str, Origin]:
    """The origin of each operation of a TorchScript module, in order; the file has no names for them: they are numbered."""
    found: dict[str, Origin] = {}
    for node in module.inlined_graph.nodes():
        kind = node.kind()
        if not kind.startswith(("aten::", "torch")):
            continue
        at = author_line(node.sourceRange()) or (None, None)
        scope = node.scopeName().rpartition("/")[2].removeprefix("__module").removeprefix(".")
        original = next((output.debugName() for output in node.outputs()), "")
        found[f"{len(found)}"] = Origin(kind, scope, at[0], at[1], original)
    return found


def origins_of_program(program: Any) -> dict[str, Origin]:
    """The origin of each node of an exported program, under its name there."""
    found = {}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        at = author_line(node.meta.get("stack_trace") or "") or (None, None)
        stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
        found[node.name] = Origin(str(node.target), stack[-1] if stack else None, at[0], at[1], node.name)
    return found


def write_debug_map(path: Path, artifact: Path, strategy: str, digests: Mapping[str, str], origins: Mapping[str, Origin]) -> None:
    """Writes the debug map: JSON, node by node in the artifact's order.

    Args:
        path: The file to write.
        artifact: The artifact, of which the name is stated.
        strategy: The strategy that captured it.
        digests: The digests of its files: the map belongs to these.
        origins: By node.
    """
    document = {
        "artifact": artifact.name,
        "digests": dict(digests),
        "strategy": strategy,
        "nodes": {name: asdict(origin) for name, origin in origins.items()},
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
