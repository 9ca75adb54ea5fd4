"""What a model's file takes and gives, read without a runtime; nothing in it is run."""

from __future__ import annotations

import pickletools
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from torchport.check._onnx import read_ports
from torchport.ports.dtypes import known_dtype
from torchport.repository._backend import COMPILED, ONNX, TORCH
from torchport.repository._folder import Model, Notes, exists, is_folder, readable

__all__ = ["Tensor", "VersionFile", "read_versions"]

_READ = (ONNX, TORCH, COMPILED)
_MOST_RECORD = 2**24
_ROOT = re.compile(r"__torch__(?:\.\w+)+")
_ARGUMENTS = re.compile(r"^  def forward\(self: [\w.]+((?:,\s+\w+: [^()]*?)*)\)\s*->", re.MULTILINE)


@dataclass(frozen=True)
class Tensor:
    """One input or output.

    Attributes:
        dtype: Its data_type as a configuration spells it; empty where there is none for it.
        stated: The dtype as the file says it.
        dims: Its sizes, -1 where they vary; ``None`` where the file does not say.
    """

    dtype: str
    stated: str
    dims: tuple[int, ...] | None


@dataclass(frozen=True)
class VersionFile:
    """What one version takes and gives.

    Attributes:
        path: Its file.
        inputs: The inputs by name; of TorchScript, only their names are known.
        optional: Inputs that have a value already.
        outputs: The outputs by name; of TorchScript, nothing is known.
    """

    path: FilePath
    inputs: Mapping[str, Tensor | None]
    optional: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


def read_versions(notes: Notes, model: Model) -> dict[int, VersionFile]:
    """The files of all versions that can be read. What is missing or broken counts where the version is served."""
    if model.backend not in _READ or not model.filename:
        return {}
    found: dict[int, VersionFile] = {}
    for version in model.versions:
        path = model.path / str(version) / model.filename
        served = version in model.served
        if model.backend == ONNX and is_folder(path):
            path = path / "model.onnx"
        if not exists(path):
            if served:
                notes.say("files/model-missing", model, "the model's file is not there", file=path.parent, expected=path.name)
            continue
        if not readable(notes, model, path):
            continue
        try:
            if model.backend == COMPILED:
                _check_compiled(path)
            else:
                found[version] = _read_onnx(notes, model, path, served) if model.backend == ONNX else _read_torchscript(path)
        except (ValueError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, KeyError, EOFError, RuntimeError) as error:
            if served:
                notes.say("files/model-unreadable", model, "the model's file cannot be read", file=path, found=error)
    return found


def _read_onnx(notes: Notes, model: Model, path: FilePath, served: bool) -> VersionFile:
    ports = read_ports(path)
    for name in ports.beside:
        beside = path.parent / name
        if served and not exists(beside):
            notes.say("files/weights-missing", model, "the model's weights are not beside it", file=path, expected=name)
    inputs, optional, outputs = (
        {port["name"]: _tensor(port["dtype"], port["axes"]) for port in found} for found in (ports.inputs, ports.optional, ports.outputs)
    )
    return VersionFile(path, inputs, optional, outputs)


def _tensor(dtype: str | None, axes: list[int | str] | None) -> Tensor:
    known = known_dtype(dtype) if dtype is not None else None
    kind = (known.triton_config or "") if known is not None else ""
    dims = None if axes is None else tuple(axis if isinstance(axis, int) and 0 <= axis < 2**63 else -1 for axis in axes)
    return Tensor(kind, dtype or "no tensor", dims)


def _check_compiled(path: FilePath) -> None:
    """What AOTInductor compiled has its libraries in a folder of the archive; a program of ``torch.export`` has none."""
    with zipfile.ZipFile(path) as file:
        if not any("/data/aotinductor/" in f"/{name}" for name in file.namelist()):
            raise ValueError("the archive holds nothing that AOTInductor compiled")


def _read_torchscript(path: FilePath) -> VersionFile:
    """The names of ``forward``'s arguments: the root's class is the first that its pickle names, and its code is text."""
    with zipfile.ZipFile(path) as file:
        names = {name.partition("/")[2]: name for name in file.namelist()}
        if "data.pkl" not in names:
            exported = any(name.endswith(".json") and name.startswith("models/") for name in names)
            raise ValueError("the archive is no TorchScript file" + (", but a program of torch.export" if exported else ""))
        root = ""
        for code, argument, _ in pickletools.genops(_record(file, names["data.pkl"])):
            if code.name == "GLOBAL" and isinstance(argument, str) and argument.startswith("__torch__"):
                root = argument.replace(" ", ".")
                break
        if not _ROOT.fullmatch(root):
            raise ValueError("the archive holds no module")
        module, _, name = root.rpartition(".")
        code_record = names.get(f"code/{module.replace('.', '/')}.py")
        if code_record is None:
            raise ValueError("the archive holds no code for its module")
        text = _record(file, code_record).decode()
    start = re.search(rf"^class {re.escape(name)}\(Module\):$", text, re.MULTILINE)
    body = text[start.end() :].partition("\nclass ")[0] if start else ""
    found = _ARGUMENTS.search(body)
    arguments = re.findall(r"(\w+): (\w+)", found[1]) if found else []
    if any(kind == "Dict" for _, kind in arguments):
        arguments = []  # the inputs are its keys, which nobody sees
    return VersionFile(path, dict.fromkeys(name for name, _ in arguments), {}, {})


def _record(file: zipfile.ZipFile, name: str) -> bytes:
    if file.getinfo(name).file_size > _MOST_RECORD:
        raise ValueError("the archive's code is larger than any")
    with file.open(name) as record:
        return record.read(_MOST_RECORD)
