"""The weights and the graph of an ONNX file, for their digests; weights are hashed where they lie, never held."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from torchport._external_data import beside
from torchport._protobuf import LENGTH_DELIMITED, Field, fields, mapped
from torchport.emit._content import Content, TensorContent, hash_stream
from torchport.ports.dtypes import known_dtype

__all__ = ["onnx_content"]

# Field numbers of onnx.proto3.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9
_TENSOR_CONTENTS = {4, 5, 6, 7, 9, 10, 11}  # float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data
_NOT_COMPUTED = ("doc_string", "metadata_props", "value_info")


def onnx_content(path: Path) -> Content:
    """What the file computes with: the initializers of its main graph, and everything else.

    Raises:
        ValueError: The file is no ONNX model, or weights beside it are missing, short, or elsewhere than beside it.
    """
    rest, graph = bytearray(), bytearray()
    tensors: dict[str, TensorContent] = {}
    declared: list[onnx.TensorProto] = []
    beside: dict[str, Path] = {}
    with mapped(path) as data:
        for field in fields(data, 0, len(data)):
            if field.number != _MODEL_GRAPH or field.wire != LENGTH_DELIMITED:
                rest += data[field.start : field.end]
                continue
            for part in fields(data, field.body, field.end):
                if part.number != _GRAPH_INITIALIZER or part.wire != LENGTH_DELIMITED:
                    graph += data[part.start : part.end]
                    continue
                header, contents = _split(data, part)
                dtype = known_dtype(header.data_type)
                tensors[header.name] = TensorContent(
                    dtype.name if dtype is not None else f"onnx {header.data_type}",
                    tuple(header.dims),
                    _external(path, header, beside) if header.data_location == header.EXTERNAL else _inside(data, header, contents),
                )
                declared.append(onnx.TensorProto(name=header.name, data_type=header.data_type, dims=header.dims))
        digest = _graph_digest(bytes(rest), bytes(graph), declared)
    return Content(tensors, digest, (path, *(beside[name] for name in sorted(beside))))


def _split(data: mmap.mmap, tensor: Field) -> tuple[onnx.TensorProto, list[Field]]:
    """A tensor without its values, and where these lie."""
    header, contents = bytearray(), []
    for field in fields(data, tensor.body, tensor.end):
        if field.number in _TENSOR_CONTENTS:
            contents.append(field)
        else:
            header += data[field.start : field.end]
    return onnx.TensorProto.FromString(bytes(header)), contents


def _inside(data: mmap.mmap, header: onnx.TensorProto, contents: list[Field]) -> str:
    if contents and all(field.number == _TENSOR_RAW_DATA and field.wire == LENGTH_DELIMITED for field in contents):
        last = contents[-1]  # protobuf's rule: the last value of a field counts
        with memoryview(data) as everything, everything[last.body : last.end] as part:
            return hashlib.sha256(part).hexdigest()
    values = onnx.TensorProto.FromString(b"".join(data[field.start : field.end] for field in contents))
    return hashlib.sha256(_as_raw(header.data_type, values)).hexdigest()


def _as_raw(data_type: int, values: onnx.TensorProto) -> bytes:
    """Values in a field of their own type, as ``raw_data`` would hold them."""
    if values.string_data:
        return b"".join(len(one).to_bytes(8, "little") + one for one in values.string_data)
    dtype = known_dtype(data_type)
    bits = dtype.bits if dtype is not None else 8
    if values.int32_data:  # it also holds everything that is narrower, one element (or one packed byte) in each number
        return np.array(values.int32_data, np.int32).astype({32: "<i4", 16: "<i2"}.get(bits, "<i1")).tobytes()
    if values.uint64_data:
        return np.array(values.uint64_data, np.uint64).astype("<u4" if bits == 32 else "<u8").tobytes()
    for found, kind in ((values.float_data, "<f4"), (values.double_data, "<f8"), (values.int64_data, "<i8")):
        if found:
            return np.array(found, kind).tobytes()
    return values.raw_data


def _external(path: Path, header: onnx.TensorProto, files: dict[str, Path]) -> str:
    weight = beside(path, {entry.key: entry.value for entry in header.external_data})
    files[weight.file.name] = weight.file
    with weight.file.open("rb") as stream:
        stream.seek(weight.offset)
        return hash_stream(stream, weight.length)


def _graph_digest(rest: bytes, graph: bytes, tensors: list[onnx.TensorProto]) -> str:
    try:
        found = onnx.ModelProto.FromString(rest)
        body = onnx.GraphProto.FromString(graph)
    except Exception as error:
        raise ValueError("the file is not an ONNX model") from error
    kept = onnx.ModelProto(functions=found.functions)
    kept.graph.CopyFrom(body)
    kept.graph.ClearField("name")
    kept.graph.initializer.extend(sorted(tensors, key=lambda tensor: tensor.name))
    opsets = sorted((entry.domain or "ai.onnx", entry.version) for entry in found.opset_import)
    kept.opset_import.extend(onnx.OperatorSetIdProto(domain=domain, version=version) for domain, version in opsets)
    _leave_out_notes(kept)
    return hashlib.sha256(kept.SerializeToString(deterministic=True)).hexdigest()


def _leave_out_notes(message: Any) -> None:
    """Clears what says something about the graph and computes nothing, in every message below, too."""
    for field, value in message.ListFields():
        if field.name in _NOT_COMPUTED:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                _leave_out_notes(one)
