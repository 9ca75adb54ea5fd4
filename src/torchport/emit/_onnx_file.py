"""Writes an ONNX file tensor by tensor: the weights are never held a second time, neither as bytes nor as one message.

An ONNX file is one protobuf message. Its initializers are length-prefixed submessages, and the parts of a message may stand in any order,
so the graph without its initializers is serialised by protobuf and each initializer is appended with its bytes straight from the module's
storage.

Sources: https://protobuf.dev/programming-guides/encoding/ and https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
import onnx_ir as ir
import torch

from torchport._protobuf import LENGTH_DELIMITED, encoded, fields, mapped

__all__ = ["EXTERNAL_FROM", "read_properties", "write_model"]

EXTERNAL_FROM = 2**31 - 2**20
"""From this many bytes on, weights go to one file beside the model: protobuf ends at 2 GB."""

_INLINE_BELOW = 1024
"""Tensors smaller than this stay in the model file: runtimes read shapes and axes from them while loading."""

_ALIGN = 4096
"""Offsets in the data file are page-aligned, so that runtimes map them."""

# Field numbers of onnx.proto3.
_MODEL_GRAPH, _MODEL_PROPERTY = 7, 14
_GRAPH_INITIALIZER = 5
_TENSOR_RAW_DATA = 9


def write_model(model: ir.Model, path: Path, *, external_from: int = EXTERNAL_FROM) -> tuple[Path, ...]:
    """Writes ``model``; its main graph loses its initializers' registration on the way.

    Args:
        model: The model.
        path: The file.
        external_from: From this total size in bytes on, weights go to ``<path>.data``.

    Returns:
        The files written, the model first.
    """
    tensors = [_Initializer(value) for value in model.graph.initializers.values()]
    model.graph.initializers.clear()
    proto = ir.to_proto(model)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    rest = proto.SerializeToString(deterministic=True)
    total = len(rest) + len(graph) + sum(one.message_size() for one in tensors)
    with ExitStack() as stack:
        paths = [path]
        if total >= external_from:
            paths.append(path.with_name(f"{path.name}.data"))
            data = stack.enter_context(paths[1].open("wb"))
            for one in tensors:
                if one.nbytes >= _INLINE_BELOW:
                    one.write_outside(data, paths[1].name)
        file = stack.enter_context(path.open("wb"))
        file.write(rest)
        file.write(_key(_MODEL_GRAPH) + encoded(len(graph) + sum(one.field_size() for one in tensors)))
        file.write(graph)
        for one in tensors:
            one.write(file)
    return tuple(paths)


@dataclass
class _Initializer:
    value: ir.Value

    def __post_init__(self) -> None:
        tensor = self.value.const_value
        assert tensor is not None, f"{self.value.name} has no value"
        self.tensor = tensor
        self.outside = False
        if tensor.dtype == ir.DataType.STRING:
            self.header, self.nbytes = ir.serde.serialize_tensor(tensor), 0
        else:
            self.header = onnx.TensorProto(dims=list(tensor.shape.numpy()), data_type=int(tensor.dtype))
            self.nbytes = int(tensor.nbytes)
        self.header.name = str(self.value.name)

    def message_size(self) -> int:
        size = len(self.header.SerializeToString(deterministic=True))
        if self.nbytes and not self.outside:
            size += len(_key(_TENSOR_RAW_DATA)) + len(encoded(self.nbytes)) + self.nbytes
        return size

    def field_size(self) -> int:
        size = self.message_size()
        return len(_key(_GRAPH_INITIALIZER)) + len(encoded(size)) + size

    def write_outside(self, data: IO[bytes], location: str) -> None:
        data.write(b"\0" * (-data.tell() % _ALIGN))
        offset = data.tell()
        _write_bytes(self.tensor, data)
        self.header.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(self.nbytes))):
            self.header.external_data.add(key=key, value=value)
        self.outside = True

    def write(self, file: IO[bytes]) -> None:
        file.write(_key(_GRAPH_INITIALIZER) + encoded(self.message_size()))
        file.write(self.header.SerializeToString(deterministic=True))
        if self.nbytes and not self.outside:
            file.write(_key(_TENSOR_RAW_DATA) + encoded(self.nbytes))
            before = file.tell()
            _write_bytes(self.tensor, file)
            assert file.tell() - before == self.nbytes, f"{self.header.name}: {file.tell() - before} bytes of {self.nbytes}"


def _write_bytes(tensor: Any, file: IO[bytes]) -> None:
    """The tensor's little-endian bytes, without a copy where it lies contiguous in memory."""
    if isinstance(tensor, ir.LazyTensor):
        tensor = tensor.raw()
    raw = getattr(tensor, "raw", None)
    if isinstance(raw, torch.Tensor):
        flat = raw.detach().cpu().contiguous().reshape(-1)
        file.write(flat.view(torch.uint8).numpy().data)
    elif tensor.dtype.bitwidth >= 8:
        array = np.ascontiguousarray(tensor.numpy())
        file.write(array.reshape(-1).view(np.uint8).data)
    else:
        file.write(tensor.tobytes())


def _key(field: int) -> bytes:
    """The key of a length-delimited field."""
    return encoded(field << 3 | 2)


def read_properties(path: Path) -> dict[str, str]:
    """The model's ``metadata_props``, read without the graph and its weights."""
    found = {}
    known = False
    with mapped(path) as data:
        for one in fields(data, 0, len(data)):
            known = known or one.number == _MODEL_GRAPH
            if one.number == _MODEL_PROPERTY and one.wire == LENGTH_DELIMITED:
                entry = onnx.StringStringEntryProto.FromString(data[one.body : one.end])
                found[entry.key] = entry.value
    if not known:
        raise ValueError("the file holds no graph")
    return found
