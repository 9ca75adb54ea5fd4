"""Reads an ONNX file without its weights: the graph of a 2 GB file costs a few hundred KB of memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import onnx

from torchport.emit._protobuf import LENGTH_DELIMITED, encoded, fields, mapped

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
    with mapped(path) as data:
        kept = b"".join(_without_contents(data, 0, len(data), (_MODEL_GRAPH, _GRAPH_INITIALIZER)))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(kept)
    except Exception as error:
        raise ValueError("the file is not an ONNX model") from error
    return model


def _without_contents(data: mmap.mmap, start: int, end: int, path: tuple[int, ...]) -> Iterator[bytes]:
    """The message in ``data[start:end]``; messages on ``path`` are rewritten, at its end the large contents of tensors are left out."""
    for field in fields(data, start, end):
        if field.wire == LENGTH_DELIMITED:
            if path and field.number == path[0]:
                inner = b"".join(_without_contents(data, field.body, field.end, path[1:]))
                yield encoded(field.key) + encoded(len(inner)) + inner
                continue
            if not path and field.number in _TENSOR_CONTENTS and field.end - field.body > _LARGE:
                continue
        yield data[field.start : field.end]
