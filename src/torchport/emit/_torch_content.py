"""The weights and the graph of TorchScript files and ``.pt2`` archives, for their digests; nothing in them is run."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from torchport.emit._content import Content, TensorContent
from torchport.emit._zip_content import Archive, Tensor, described

__all__ = ["exported_content", "script_content"]

_SCALARS = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64", 10: "complex64", 11: "complex128",
    12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz",
    34: "uint32", 35: "uint64",
}  # fmt: skip
"""The numbers of dtypes in a ``.pt2`` archive, fixed by its schema."""


def script_content(path: Path) -> Content:
    """What a TorchScript file computes with: the tensors of its modules and constants, and its code with every other attribute.

    Raises:
        ValueError: It is no TorchScript file.
    """
    with zipfile.ZipFile(path) as file:
        archive = Archive(file)
        tensors: dict[str, TensorContent] = {}
        graph = hashlib.sha256()
        code = sorted(name for name in archive.records if name.startswith("code/") and not name.endswith(".debug_pkl"))
        if not code:
            raise ValueError("the archive holds no code")
        for name in (*code, "version"):
            graph.update(f"{name}\n".encode() + archive.read(name) + b"\n")
        for pickle, records, prefix in (("data.pkl", "data", ""), ("constants.pkl", "constants", "constants")):
            for where, what in described(archive.read(pickle), records, prefix):
                if isinstance(what, Tensor):
                    tensors[where] = archive.tensor(what)
                    what = f"{what.dtype} {list(what.shape)}"
                graph.update(f"{pickle} {where!r}: {what}\n".encode("utf-8", "surrogatepass"))
        return Content(tensors, graph.hexdigest(), (path,))


def exported_content(path: Path) -> Content:
    """What a ``.pt2`` archive computes with: its weights and constants, and its programs.

    Raises:
        ValueError: It is no such archive, or one of an older layout.
    """
    with zipfile.ZipFile(path) as file:
        archive = Archive(file)
        programs = sorted(name for name in archive.records if name.startswith("models/") and name.endswith(".json"))
        configs = sorted(name for name in archive.records if name.startswith("data/") and name.endswith("_config.json"))
        if not programs or not configs:
            raise ValueError("the archive is not laid out as torch 2.9 and later do it")
        graph = hashlib.sha256()
        for name in programs:
            program = json.loads(archive.read(name))
            program.pop("torch_version", None)
            graph.update(f"{name}\n{json.dumps(program, sort_keys=True)}\n".encode())
        tensors = {}
        for name in configs:
            folder = name.rpartition("/")[0]
            for key, entry in json.loads(archive.read(name))["config"].items():
                tensors[key] = archive.tensor(_tensor(entry, folder))
        return Content(tensors, graph.hexdigest(), (path,))


def _tensor(entry: dict[str, Any], folder: str) -> Tensor:
    record = f"{folder}/{entry['path_name']}"
    meta = entry.get("tensor_meta")
    if meta is None or entry.get("use_pickle"):
        return Tensor(record, "pickled", (), (), 0)
    return Tensor(
        record,
        _SCALARS.get(meta["dtype"], f"scalar {meta['dtype']}"),
        tuple(size["as_int"] for size in meta["sizes"]),
        tuple(stride["as_int"] for stride in meta["strides"]),
        meta["storage_offset"]["as_int"],
    )
