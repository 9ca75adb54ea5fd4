"""Reads of an ONNX file what a bundle promises: opsets, ports, weights and nodes. Neither onnx nor torch is needed for it.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, which never change.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchport._external_data import beside
from torchport._protobuf import LENGTH_DELIMITED, Field, fields, mapped, number_of
from torchport.ports.dtypes import known_dtype

__all__ = ["OnnxFile", "OnnxPorts", "read_onnx", "read_ports"]

_MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTIONS = 7, 8, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 8, 9, 13, 14
_TENSOR_CONTENTS = (4, 5, 6, 7, 9, 10, 11)
_BLOCK = 2**20
_MOST_FIELDS, _MOST_PORTS = 2_000_000, 5000
"""Nodes and weights of a file of which only the ports are wanted, and these: more than any model has, and soon walked over."""


@dataclass(frozen=True)
class OnnxFile:
    """What an ONNX file computes with.

    Attributes:
        opsets: Version by domain.
        inputs: Name, dtype and axes of each input, in order; initializers left out.
        outputs: The same of each output.
        weights: Name, dtype, shape and sha256 of each initializer, in order.
        nodes: The sha256 of the nodes and functions as they stand in the file.
    """

    opsets: dict[str, int]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    weights: list[dict[str, Any]]
    nodes: str


def read_onnx(path: Path) -> OnnxFile:
    """Reads an ONNX file; weights are hashed where they lie, never held.

    Raises:
        ValueError: It is no ONNX file, or weights beside it are missing, or elsewhere than beside it.
    """
    opsets: dict[str, int] = {}
    ports: dict[int, list[dict[str, Any]]] = {_GRAPH_INPUT: [], _GRAPH_OUTPUT: []}
    weights: list[dict[str, Any]] = []
    nodes = hashlib.sha256()
    graphs = 0
    with mapped(path) as data:
        for part in fields(data, 0, len(data)):
            if part.number == _MODEL_OPSET and part.wire == LENGTH_DELIMITED:
                domain, version = _opset(data, part)
                opsets[domain] = version
            elif part.number == _MODEL_FUNCTIONS:
                nodes.update(data[part.start : part.end])
            elif part.number == _MODEL_GRAPH and part.wire == LENGTH_DELIMITED:
                graphs += 1
                for one in fields(data, part.body, part.end):
                    if one.number in ports and one.wire == LENGTH_DELIMITED:
                        ports[one.number].append(_port(data, one))
                    elif one.number == _GRAPH_INITIALIZER and one.wire == LENGTH_DELIMITED:
                        weights.append(_weight(data, one, path))
                    elif one.number in (_GRAPH_NODE, _GRAPH_SPARSE):
                        nodes.update(data[one.start : one.end])
    if not graphs:
        raise ValueError("the file holds no graph")
    names = {weight["name"] for weight in weights}
    inputs = [port for port in ports[_GRAPH_INPUT] if port["name"] not in names]
    return OnnxFile(dict(sorted(opsets.items())), inputs, ports[_GRAPH_OUTPUT], weights, nodes.hexdigest())


@dataclass(frozen=True)
class OnnxPorts:
    """What an ONNX file takes and gives.

    Attributes:
        inputs: Name, dtype and axes of each input that has to be given, in order.
        optional: The same of those that need not be given, as the file holds a value for them.
        outputs: The same of each output.
        beside: The names of the files that hold weights, as the file states them.
    """

    inputs: list[dict[str, Any]]
    optional: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    beside: list[str]


def read_ports(path: Path) -> OnnxPorts:
    """Reads the ports of an ONNX file alone: no weight is looked at, and none beside it has to be there.

    Raises:
        ValueError: It is no ONNX file.
    """
    ports: dict[int, list[dict[str, Any]]] = {_GRAPH_INPUT: [], _GRAPH_OUTPUT: []}
    names: set[str] = set()
    beside: dict[str, None] = {}
    graphs = count = 0
    with mapped(path) as data:
        for part in fields(data, 0, len(data)):
            if part.number != _MODEL_GRAPH or part.wire != LENGTH_DELIMITED:
                continue
            graphs += 1
            for one in fields(data, part.body, part.end):
                count += 1
                if count > _MOST_FIELDS:
                    raise ValueError("the file holds more nodes than any model has")
                if one.number in ports and one.wire == LENGTH_DELIMITED:
                    ports[one.number].append(_port(data, one))
                elif one.number == _GRAPH_INITIALIZER and one.wire == LENGTH_DELIMITED:
                    names.update(_text(data, name) for name in _parts(data, one, _TENSOR_NAME))
                    for entry in _parts(data, one, _TENSOR_EXTERNAL):
                        key, value = _entry(data, entry)
                        if key == "location":
                            beside[value] = None
    if not graphs:
        raise ValueError("the file holds no graph")
    if any(len(found) > _MOST_PORTS for found in ports.values()):
        raise ValueError("the file has more inputs or outputs than any model")
    given, taken = ([port for port in ports[_GRAPH_INPUT] if (port["name"] in names) is known] for known in (False, True))
    return OnnxPorts(given, taken, ports[_GRAPH_OUTPUT], list(beside))


def _text(data: mmap.mmap, field: Field) -> str:
    return data[field.body : field.end].decode()


def _parts(data: mmap.mmap, field: Field, number: int) -> Iterator[Field]:
    return (one for one in fields(data, field.body, field.end) if one.number == number and one.wire == LENGTH_DELIMITED)


def _opset(data: mmap.mmap, field: Field) -> tuple[str, int]:
    domain, version = "", 0
    for one in fields(data, field.body, field.end):
        if one.number == 1 and one.wire == LENGTH_DELIMITED:
            domain = _text(data, one)
        elif one.number == 2:
            version = number_of(data, one)
    return domain or "ai.onnx", version


def _port(data: mmap.mmap, field: Field) -> dict[str, Any]:
    """A ``ValueInfoProto`` that describes a tensor."""
    name, dtype, axes = "", None, None
    for one in _parts(data, field, 1):
        name = _text(data, one)
    for kind in _parts(data, field, 2):
        for tensor in _parts(data, kind, 1):
            for one in fields(data, tensor.body, tensor.end):
                if one.number == 1:
                    dtype = _dtype(number_of(data, one))
                elif one.number == 2 and one.wire == LENGTH_DELIMITED:
                    axes = [_axis(data, axis) for axis in _parts(data, one, 1)]
    return {"name": name, "dtype": dtype, "axes": axes}


def _dtype(number: int) -> str:
    known = known_dtype(number)
    return known.name if known is not None else f"onnx {number}"


def _axis(data: mmap.mmap, field: Field) -> int | str:
    found: int | str = ""
    for one in fields(data, field.body, field.end):
        if one.number == 1:
            found = number_of(data, one)
        elif one.number == 2 and one.wire == LENGTH_DELIMITED:
            found = _text(data, one)
    return found


def _weight(data: mmap.mmap, field: Field, path: Path) -> dict[str, Any]:
    """A ``TensorProto``."""
    name, dtype, shape = "", "onnx 0", list[int]()
    contents: list[Field] = []
    external: dict[str, str] = {}
    outside = False
    for one in fields(data, field.body, field.end):
        if one.number == _TENSOR_DIMS:
            shape += [number_of(data, one)] if one.wire == 0 else _packed(data, one)
        elif one.number == _TENSOR_TYPE:
            dtype = _dtype(number_of(data, one))
        elif one.number == _TENSOR_NAME:
            name = _text(data, one)
        elif one.number == _TENSOR_LOCATION:
            outside = number_of(data, one) == 1
        elif one.number == _TENSOR_EXTERNAL and one.wire == LENGTH_DELIMITED:
            key, value = _entry(data, one)
            external[key] = value
        elif one.number in _TENSOR_CONTENTS:
            contents.append(one)
    digest = hashlib.sha256()
    if outside:
        _read_outside(path, external, digest)
    for one in contents:
        # Plain bytes count as the values that they are; anything else counts with its key, so that no layout passes for another.
        for start in range(one.body if one.number == _TENSOR_RAW else one.start, one.end, _BLOCK):
            digest.update(data[start : min(start + _BLOCK, one.end)])
    return {"name": name, "dtype": dtype, "shape": shape, "sha256": digest.hexdigest()}


def _entry(data: mmap.mmap, field: Field) -> tuple[str, str]:
    """A ``StringStringEntryProto``."""
    texts = {part.number: _text(data, part) for part in fields(data, field.body, field.end) if part.wire == LENGTH_DELIMITED}
    return texts.get(1, ""), texts.get(2, "")


def _packed(data: mmap.mmap, field: Field) -> list[int]:
    numbers, value, shift = [], 0, 0
    for byte in data[field.body : field.end]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    return numbers


def _read_outside(path: Path, external: dict[str, str], digest: Any) -> None:
    weight = beside(path, external)
    left = weight.length
    with weight.file.open("rb") as file:
        file.seek(weight.offset)
        while left > 0:
            content = file.read(min(left, _BLOCK))
            if not content:
                raise ValueError(f"{weight.file.name!r} ends before a weight does")
            digest.update(content)
            left -= len(content)
