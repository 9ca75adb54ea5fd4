"""``torchport inspect``: what an artifact says about itself, and what its file shows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.markup import escape

from torchport.cli._bundled import bundled, one_artifact
from torchport.cli._common import notes_text, output_of
from torchport.cli._output import size_text, table
from torchport.errors import EmitError, UnusablePathError

if TYPE_CHECKING:
    from torchport.ports import Axis, Port, Signature
    from torchport.verification import PortInFile

__all__ = ["inspect"]


def inspect(
    context: typer.Context,
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="A .onnx, .ts, .pt or .pt2 file, or a bundle.")],
    lock: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the artifact's contract there (m.contract.json), for `torchport diff`.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a lock that says something else.")] = False,
) -> None:
    """Show an artifact's ports, axes, opset, sizes, digests and strategy."""
    shown = output_of(context)
    with shown.progress(f"Reading {artifact.name}"):
        if lock is not None:
            facts = _locked(one_artifact(artifact, "ARTIFACT"), lock, overwrite=overwrite)
            shown.result(facts, f"[bold green]locked[/] {escape(facts['path'])} in {escape(str(lock))}")
            return
        if artifact.is_dir():
            each = {name: _facts(path, None) for name, path in bundled(artifact, "ARTIFACT").items()}
            parts = [part for facts in each.values() for part in _report(facts)]
            shown.result({"path": str(artifact), "artifacts": each}, *parts)
            return
        facts = _facts(one_artifact(artifact, "ARTIFACT"), None)
    shown.result(facts, *_report(facts))


def _locked(artifact: Path, lock: Path, *, overwrite: bool) -> dict[str, Any]:
    from torchport.contract import contract_of, write_lock

    contract = contract_of(artifact)
    facts = _facts(artifact, contract.digests) | {"lock": str(lock)}
    write_lock(contract, lock, overwrite=overwrite)
    return facts


def _facts(path: Path, digests: Mapping[str, str] | None) -> dict[str, Any]:
    from torchport.emit import format_for, read_metadata, stored_limits
    from torchport.loading import stored_signature

    format = format_for(path)
    metadata = read_metadata(path)
    stored = stored_signature(metadata)
    facts: dict[str, Any] = {
        "path": str(path),
        "format": format.name,
        "model": metadata.get("torchport.model"),
        "strategy": metadata.get("torchport.strategy"),
        "torchport": metadata.get("torchport.version"),
        "torch": metadata.get("torchport.torch"),
        "opset": None,
        "notes": [],
    }
    if not any(key.startswith("torchport.") for key in metadata):
        facts["notes"].append("torchport did not write this file: what is shown is what the file states")
    elif stored is None:
        facts["notes"].append("the ports that the file says about itself cannot be read")
    if format.name == "onnx":
        inputs, outputs = _onnx_facts(path, facts)
    else:
        inputs, outputs = _opened(path) if stored is None else ((), ())
        facts["files"] = [_file(path)]
    facts["content_digests"] = _content(path, facts) if digests is None else {"weights": None, "graph": None, **digests}
    facts["inputs"] = _ports(inputs, stored.inputs if stored else {}, stored)
    facts["outputs"] = _ports(outputs, stored.outputs if stored else {}, stored)
    facts["ranges"] = {} if stored is None else {symbol: _range(axis) for symbol, axis in stored.symbols.items()}
    facts["limits"] = list(stored_limits(metadata))
    facts["metadata"] = dict(metadata)
    return facts


def _onnx_facts(path: Path, facts: dict[str, Any]) -> tuple[tuple[PortInFile, ...], tuple[PortInFile, ...]]:
    from torchport.verification.axes import onnx_ports
    from torchport.verification.skeleton import read_skeleton

    try:
        model = read_skeleton(path)
    except ValueError as error:
        raise EmitError(str(error), stage="load", where=str(path)) from error
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    facts["opset"] = opsets.get("ai.onnx")
    facts["opsets"] = opsets
    facts["producer"] = f"{model.producer_name} {model.producer_version}".strip()
    facts["operators"] = dict(Counter(node.op_type for node in model.graph.node).most_common())
    facts["weights"] = sum(_elements(tensor.dims) for tensor in model.graph.initializer)
    facts["files"] = [_file(path)]
    locations = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    for location in sorted(locations):
        # Where a hostile file points elsewhere, nothing is read there.
        inside = PurePosixPath(location).name == location and location not in ("", ".", "..")
        beside = path.parent / location
        if not inside:
            facts["notes"].append(f"the file wants weights from outside its folder: {location!r}")
        elif beside.is_symlink() or not beside.is_file():
            facts["notes"].append(f"the file wants weights from {location!r}, which is not there")
        else:
            facts["files"].append(_file(beside))
    return onnx_ports(path)


def _elements(dims: Iterable[int]) -> int:
    product = 1
    for dim in dims:
        product *= dim
    return product


def _opened(path: Path) -> tuple[tuple[PortInFile, ...], tuple[PortInFile, ...]]:
    from torchport.verification import open_artifact

    with open_artifact(path) as session:
        return session.inputs, session.outputs


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}


def _content(path: Path, facts: dict[str, Any]) -> dict[str, str | None] | None:
    from torchport.emit import content_digests

    try:
        return content_digests(path).to_dict()
    except UnusablePathError as error:
        facts["notes"].append(f"there are no digests of weights and graph: {error.message}")
        return None


def _ports(found: tuple[PortInFile, ...], stated: Mapping[str, Port], signature: Signature | None) -> list[dict[str, Any]]:
    """What the file shows, with what it states about meaning and ranges; where it shows nothing, what it states."""
    from torchport._foreign import as_port

    shown = {port.name: as_port(port) for port in found} or dict(stated)
    entries = []
    for name, port in shown.items():
        said = stated.get(name)
        axes = None if port.axes is None else [_axis(axis, signature) for axis in port.axes]
        element = None if said is None or type(said.element).__name__ == "VoidType" else type(said.element).__name__
        entries.append({"name": name, "dtype": port.dtype or (said.dtype if said else None), "axes": axes, "element": element})
    return entries


def _axis(axis: Axis, signature: Signature | None) -> dict[str, Any]:
    if not axis.dynamic:
        return {"size": axis.size, "symbol": None}
    known = signature.symbols.get(axis.name) if signature is not None else None
    return {"size": None, "symbol": axis.name, **(_range(known) if known is not None else {})}


def _range(axis: Axis) -> dict[str, Any]:
    return {"min": axis.min, "max": axis.max, "multiple_of": axis.multiple_of}


def _report(facts: Mapping[str, Any]) -> list[RenderableType]:
    rows = [
        ("format", facts["format"] + (f", opset {facts['opset']}" if facts["opset"] else "")),
        ("model", facts["model"] or "not stated"),
        ("strategy", facts["strategy"] or "not stated"),
        *((("written by", f"torchport {facts['torchport']}, torch {facts['torch']}"),) if facts["torchport"] else ()),
        *((("producer", facts["producer"]),) if facts.get("producer") else ()),
        *((("weights", f"{facts['weights']:,} numbers"),) if "weights" in facts else ()),
        *((f"digest of {part}", one) for part, one in (facts["content_digests"] or {}).items() if one and part != "artifact"),
        *((("operators", ", ".join(f"{name} {count}" for name, count in facts["operators"].items())),) if "operators" in facts else ()),
    ]
    head = table(Path(facts["path"]).name, ("", ""), rows)
    head.show_header = False
    files = [(Path(file["path"]).name, size_text(file["bytes"]), file["sha256"]) for file in facts["files"]]
    ports = [
        (kind, port["name"], port["dtype"] or "not stated", _axes_text(port["axes"]), port["element"] or "")
        for kind, group in (("input", facts["inputs"]), ("output", facts["outputs"]))
        for port in group
    ]
    parts: list[RenderableType] = [
        head,
        table("Files", ("file", "size", "sha256"), files, right=("size",)),
        table("Ports", ("", "name", "dtype", "axes", "meaning"), ports),
    ]
    if facts["ranges"]:
        ranges = [(symbol, _range_text(limits)) for symbol, limits in facts["ranges"].items()]
        parts.append(table("Ranges", ("axis", "sizes"), ranges))
    if facts["limits"]:
        parts.append(table("Limits", ("the model was found to refuse all else",), [(limit,) for limit in facts["limits"]]))
    if facts["notes"]:
        parts.append(notes_text(facts["notes"]))
    return parts


def _axes_text(axes: list[dict[str, Any]] | None) -> str:
    if axes is None:
        return "not stated"
    return escape(" ".join(str(axis["size"] if axis["symbol"] is None else axis["symbol"]) for axis in axes)) or "a scalar"


def _range_text(limits: Mapping[str, Any]) -> str:
    text = f"{limits['min']} or more" if limits["max"] is None else f"{limits['min']} to {limits['max']}"
    return text if limits["multiple_of"] == 1 else f"{text}, a multiple of {limits['multiple_of']}"
