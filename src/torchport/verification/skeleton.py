"""Reads an ONNX file without its weights, or with references to them: the graph of a 2 GB file costs a few hundred KB of memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import onnx

from torchport._protobuf import LENGTH_DELIMITED, Field, encoded, fields, mapped

__all__ = ["locate_contents", "read_skeleton", "refer_to_contents"]

_LARGE = 4096
"""Tensor contents of more bytes than this stay on disk."""

_MODEL_GRAPH = 7  # ModelProto.graph, and so on: field numbers of onnx.proto, fixed by the format
_GRAPH_INITIALIZER = 5
_TENSOR_NAME, _TENSOR_RAW_DATA = 8, 9
_TENSOR_CONTENTS = {4, 5, 6, 7, 9, 10, 11}  # float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data
_PARSERS_END = 2**31 - 1
"""Protobuf parses no larger message."""

_TENSOR_PLACES = {3, 13, 14}  # segment, external_data, data_location


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


def locate_contents(path: Path) -> dict[str, tuple[int, int]]:
    """Where the contents are that `read_skeleton` leaves out: initializer to the offset and the length of its bytes in the file.

    Raises:
        ValueError: The file is no ONNX model, or holds a large tensor other than as plain bytes.
    """
    places: dict[str, tuple[int, int]] = {}
    with mapped(path) as data:
        for graph in _inside(data, 0, len(data), _MODEL_GRAPH):
            for tensor in _inside(data, graph.body, graph.end, _GRAPH_INITIALIZER):
                parts = {part.number: part for part in fields(data, tensor.body, tensor.end) if part.wire == LENGTH_DELIMITED}
                large = [number for number, part in parts.items() if number in _TENSOR_CONTENTS and part.end - part.body > _LARGE]
                if large:
                    name = data[parts[_TENSOR_NAME].body : parts[_TENSOR_NAME].end].decode()
                    if large != [_TENSOR_RAW_DATA]:
                        raise ValueError(f"the tensor {name!r} is not stored as plain bytes")
                    content = parts[_TENSOR_RAW_DATA]
                    places[name] = (content.body, content.end - content.body)
    return places


def refer_to_contents(path: Path) -> bytes | None:
    """The serialised model with every large initializer referring to its own bytes in the file, as if they lay beside the model.

    Everything else is what the file says, byte for byte. A runtime that is given this maps the file instead of reading and copying it.

    Returns:
        The model; ``None`` where the file holds nothing large, or what only a parser can judge: two graphs, which it would merge, or more
        than the 2 GB at which it ends.

    Raises:
        ValueError: The file is no ONNX model, or is cut short.
    """
    if path.stat().st_size > _PARSERS_END:
        return None
    referring = 0
    with mapped(path) as data:
        parts: list[bytes] = []
        graphs = 0
        for field in fields(data, 0, len(data)):
            if field.number != _MODEL_GRAPH or field.wire != LENGTH_DELIMITED:
                parts.append(data[field.start : field.end])
                continue
            graphs += 1
            graph: list[bytes] = []
            for part in fields(data, field.body, field.end):
                tensor = _referring(data, part, path.name) if part.number == _GRAPH_INITIALIZER and part.wire == LENGTH_DELIMITED else None
                referring += tensor is not None
                graph.append(data[part.start : part.end] if tensor is None else encoded(part.key) + encoded(len(tensor)) + tensor)
            body = b"".join(graph)
            parts.append(encoded(field.key) + encoded(len(body)) + body)
    return b"".join(parts) if referring and graphs == 1 else None


def _referring(data: mmap.mmap, tensor: Field, location: str) -> bytes | None:
    """A large initializer that refers to its bytes; ``None`` where it is small, lies elsewhere, or is no plain bytes."""
    inner = list(fields(data, tensor.body, tensor.end))
    contents = [one for one in inner if one.number in _TENSOR_CONTENTS]
    if len(contents) != 1 or contents[0].number != _TENSOR_RAW_DATA or contents[0].end - contents[0].body <= _LARGE:
        return None
    if any(one.number in _TENSOR_PLACES for one in inner):
        return None
    header = onnx.TensorProto.FromString(b"".join(data[one.start : one.end] for one in inner if one is not contents[0]))
    header.data_location = onnx.TensorProto.EXTERNAL
    offset, length = contents[0].body, contents[0].end - contents[0].body
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        header.external_data.add(key=key, value=value)
    return bytes(header.SerializeToString())


def _inside(data: mmap.mmap, start: int, end: int, number: int) -> Iterator[Field]:
    """The message's submessages of one number."""
    return (field for field in fields(data, start, end) if field.number == number and field.wire == LENGTH_DELIMITED)


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
