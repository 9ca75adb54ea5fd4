"""The ports of an artifact as a Triton backend sees them: which backend, which file name, names, dtypes and axes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torchport.check._onnx import read_onnx
from torchport.errors import PackageError
from torchport.packaging._records import Part
from torchport.ports import Port
from torchport.ports.dtypes import known_dtype

__all__ = ["MODEL_FILES", "Naming", "ServedPorts", "check_format", "served_ports"]

MODEL_FILES = {"onnx": "model.onnx", "torchscript": "model.pt"}
"""What the file is called in the repository, by format."""

Naming = Literal["ports", "index"]

_LIBTORCH = {"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"}
_INDEXED = re.compile(r".*__(\d+)")
_NOT_TAKEN = {
    "exported_program": "Triton's pytorch backend takes TorchScript, and of .pt2 only what AOTInductor compiled: export it to .ts or .onnx",
}


@dataclass(frozen=True)
class ServedPorts:
    """How an artifact is served.

    Attributes:
        backend: Triton's name of the backend.
        platform: The platform to state beside it; ``None``: it says all.
        model_file: The file to open.
        inputs: ``name``, ``dtype`` and ``axes`` of each, in order; an axis is a size or a symbol.
        outputs: The same.
        names: What each port is called on the server, by its own name.
    """

    backend: str
    platform: str | None
    model_file: str
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]
    names: Mapping[str, str]


def served_ports(part: Part, file: Path, naming: Naming = "ports") -> ServedPorts:
    """Reads how an artifact is served.

    Args:
        part: What is packaged.
        file: Its file, in the repository.
        naming: TorchScript only: ``ports`` keeps the names, ``index`` adds ``__0``, ``__1``, … as Triton's own convention has it.

    Raises:
        PackageError: No backend of the server takes it.
    """
    check_format(part.artifact.format, part.artifact.path.name, naming)
    if part.artifact.format == "onnx":
        return _onnx(part, file)
    return _torchscript(part, naming)


def check_format(format: str, where: str, naming: Naming) -> None:
    """Refuses an artifact that no backend of the server takes.

    Raises:
        PackageError: Its format is none of `MODEL_FILES`, or cannot have its ports named so.
    """
    if format not in MODEL_FILES:
        raise PackageError(
            "the server does not take such a file",
            where=where,
            found=format,
            expected=", ".join(MODEL_FILES),
            hint=_NOT_TAKEN.get(format, "export it to .onnx"),
        )
    if format == "onnx" and naming != "ports":
        raise PackageError("an ONNX file names its ports itself", where="names", found=naming, expected="ports")


def _onnx(part: Part, path: Path) -> ServedPorts:
    file = read_onnx(path)
    known = {*part.artifact.signature.inputs}
    if weights := [port["name"] for port in file.inputs if port["name"] not in known]:
        raise PackageError(
            "the artifact takes its weights as inputs: a server has nobody to send them",
            where=part.artifact.path.name,
            found=", ".join(weights[:3]),
            hint="export it with export_params=True",
        )
    names = {port["name"]: port["name"] for port in (*file.inputs, *file.outputs)}
    return ServedPorts("onnxruntime", None, MODEL_FILES["onnx"], file.inputs, file.outputs, names)


def _torchscript(part: Part, naming: Naming) -> ServedPorts:
    signature = part.artifact.signature
    if both := [name for name in signature.inputs if name in signature.outputs]:
        raise PackageError("an input and an output have one name", where=both[0], hint="name them apart in the ports")
    names: dict[str, str] = {}
    for ports, kind in ((signature.inputs, "input"), (signature.outputs, "output")):
        for index, (name, port) in enumerate(ports.items()):
            _check_dtype(name, port)
            names[name] = f"{name}__{index}" if naming == "index" else name
        if naming == "ports":
            _check_order(list(ports), kind)
    inputs, outputs = (
        [{"name": name, "dtype": port.dtype, "axes": None if port.shape is None else list(port.shape)} for name, port in ports.items()]
        for ports in (signature.inputs, signature.outputs)
    )
    return ServedPorts("pytorch", "pytorch_libtorch", MODEL_FILES["torchscript"], inputs, outputs, names)


def _check_dtype(name: str, port: Port) -> None:
    dtype = known_dtype(port.dtype)
    if dtype is None or dtype.name not in _LIBTORCH:
        raise PackageError(
            "Triton's pytorch backend has no such dtype", where=name, found=port.dtype, expected=", ".join(sorted(_LIBTORCH))
        )


def _check_order(names: Sequence[str], kind: str) -> None:
    """Names that end in an index are read as places by the backend: they must be the right ones."""
    places = [_INDEXED.fullmatch(name) for name in names]
    if all(places) and [int(place[1]) for place in places if place] != list(range(len(names))):
        raise PackageError(
            f"Triton's pytorch backend would read these names of {kind}s as places, and they are others",
            where=", ".join(names),
            expected=", ".join(f"…__{index}" for index in range(len(names))),
            hint="--set names=index",
        )
