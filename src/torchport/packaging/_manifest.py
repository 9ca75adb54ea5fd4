"""Writes the manifest of a bundle: the same to the byte for the same artifacts and versions."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torchport._version import __version__
from torchport.check import MANIFEST_VERSION, parse_manifest
from torchport.check._onnx import read_onnx
from torchport.contract import PortTerm, contract_of
from torchport.metadata import stated_metadata
from torchport.packaging._records import Part
from torchport.verification import Proof

__all__ = ["artifact_entry", "format_manifest"]

_PACKAGES = ("torch", "onnx", "onnxruntime", "numpy")


def artifact_entry(part: Part, files: Sequence[Path], cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry of one artifact.

    Args:
        part: What is packaged.
        files: Its files in the bundle, the one to open first.
        cases: The entries of its golden cases.
    """
    contract = contract_of(files[0])
    ports: dict[str, list[dict[str, Any]]] = {"inputs": _ports(contract.inputs), "outputs": _ports(contract.outputs)}
    weights, nodes, opsets = None, None, {}
    if part.artifact.format == "onnx":
        found = read_onnx(files[0])
        weights, nodes, opsets = found.weights, found.nodes, found.opsets
        for side, shown in (("inputs", found.inputs), ("outputs", found.outputs)):
            meanings = {port["name"]: port["meaning"] for port in ports[side]}
            ports[side] = [{**port, "meaning": meanings.get(port["name"])} for port in shown]
    return {
        "name": part.name,
        "model": part.model,
        "format": part.artifact.format,
        "strategy": part.artifact.strategy,
        "files": [path.name for path in files],
        "opsets": opsets,
        **ports,
        "symbols": {name: dict(vars(limits)) for name, limits in contract.symbols.items()},
        "weights": weights,
        "nodes": nodes,
        "digests": {name: contract.digests.get(name) for name in ("weights", "graph", "artifact")},
        "proof": None if part.proof is None else _proof(part.proof),
        "goldens": {"from": part.goldens_from, "cases": list(cases)},
        "metadata": stated_metadata(part.artifact.metadata, where=files[0].name),
        "notes": list(dict.fromkeys((*part.notes, *(part.proof.notes if part.proof is not None else ())))),
    }


def _ports(terms: Sequence[PortTerm]) -> list[dict[str, Any]]:
    return [
        {
            "name": term.name,
            "dtype": term.dtype,
            "axes": None if term.axes is None else [(axis.symbol or "") if axis.size is None else axis.size for axis in term.axes],
            "meaning": term.element,
        }
        for term in terms
    ]


def _proof(proof: Proof) -> dict[str, Any]:
    """What the proof showed; how long it took is of no use to anybody later."""
    found = proof.to_dict()
    kept = ("runtime", "worst_error", "noise_source", "tolerances", "ranges", "rows", "notes")
    return {
        **{name: found[name] for name in kept},
        "cases": [{name: case[name] for name in ("sizes", "label", "error", "tolerance")} for case in found["cases"]],
        "power": None if proof.power is None else proof.power.summary(),
    }


def format_manifest(
    artifacts: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]], metadata: Mapping[str, str], signer: str | None
) -> bytes:
    """The manifest's bytes; what is written keeps the schema that it is read by.

    Args:
        artifacts: The entries of the artifacts.
        files: The entries of all files.
        metadata: What the caller wants to be written down.
        signer: The kind of the signature; ``None``: there is none.
    """
    document = {
        "torchport_bundle": MANIFEST_VERSION,
        "artifacts": list(artifacts),
        "files": list(files),
        "versions": _versions(),
        "metadata": dict(sorted(metadata.items())),
        "signer": signer,
    }
    content = (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()
    parse_manifest(content)
    return content


def _versions() -> dict[str, str]:
    found = {"torchport": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
