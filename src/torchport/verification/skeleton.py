"""Reads an ONNX file without its weights: the graph of a 2 GB file costs a few hundred KB of memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import onnx

__all__ = ["read_skeleton"]

_LARGE = 4096
"""Tensor contents of more bytes than this stay on disk."""

_MODEL_GRAPH = 7  # ModelProto.graph, and so on: field numbers of onnx.proto, fixed by the format
_GRAPH_INITIALIZER = 5
_TENSOR_CONTENTS = {4, 5, 6, 7, 9, 10, 11}  # float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data


def read_skeleton(path: Path) -> onnx.ModelProto:
    """The model with every large initializer emptied; its name, dtype and shape stay.

    Raises:
        ValueError: The file is no ONNX model.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            kept = b"".join(_without_contents(data, 0, len(data), (_MODEL_GRAPH, _GRAPH_INITIALIZER)))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(kept)
    except Exception as error:
        raise ValueError("the file is not an ONNX model") from error
    return model


def _without_contents(data: mmap.mmap, start: int, end: int, path: tuple[int, ...]) -> Iterator[bytes]:
    """The message in ``data[start:end]``; messages on ``path`` are rewritten, at its end the large contents of tensors are left out."""
    position = start
    while position < end:
        field_start = position
        key, position = _varint(data, position, end)
        number, wire = key >> 3, key & 7
        if wire == 2:
            length, position = _varint(data, position, end)
            body, position = position, position + length
            if position > end:
                raise ValueError("the file is cut short")
            if path and number == path[0]:
                inner = b"".join(_without_contents(data, body, position, path[1:]))
                yield _encoded(key) + _encoded(len(inner)) + inner
                continue
            if not path and number in _TENSOR_CONTENTS and length > _LARGE:
                continue
        elif wire == 0:
            _, position = _varint(data, position, end)
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise ValueError("the file is not an ONNX model")
        yield data[field_start:position]


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("the file is not an ONNX model")


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
