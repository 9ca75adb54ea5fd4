"""An ONNX file as a small graph and one file of weights: mutants of the graph share the weights, those of weights change them in place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import onnx
from onnx import numpy_helper

from torchport.verification.skeleton import locate_contents, read_skeleton

__all__ = ["Contents", "split"]

_ALIGN = 4096
_READ_WHILE_LOADING = {"Resize", "Upsample", "Pad", "Clip"}
"""Operators whose small floating-point operands a runtime reads while it loads: they stay in the graph."""

_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


@dataclass(frozen=True)
class Contents:
    """Where a tensor's bytes are: its place in the file of weights."""

    offset: int
    length: int


def split(path: Path, weights: Path) -> tuple[onnx.ModelProto, dict[str, Contents]]:
    """The graph of ``path``, its tensors in ``weights`` instead.

    Floating-point tensors of more than one element and all large ones are moved, streamed from file to file; what a runtime reads while it
    loads (shapes, axes) stays in the graph.

    Args:
        path: The ONNX file; its external data lies beside it.
        weights: The file to write.

    Returns:
        The graph, which names ``weights`` as the external data, and the place of every tensor there.
    """
    model = read_skeleton(path)
    located = locate_contents(path)
    placed: dict[str, Contents] = {}
    kept = {name for node in model.graph.node if node.op_type in _READ_WHILE_LOADING for name in node.input}
    with ExitStack() as stack:
        target = stack.enter_context(weights.open("wb"))
        own = stack.enter_context(path.open("rb"))
        for tensor in model.graph.initializer:
            outside = {entry.key: entry.value for entry in tensor.external_data}
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                with (path.parent / outside["location"]).open("rb") as source:
                    start = int(outside.get("offset", 0))
                    length = int(outside.get("length", 0)) or source.seek(0, 2) - start
                    placed[tensor.name] = _moved(source, start, length, target)
            elif tensor.name in located:
                placed[tensor.name] = _moved(own, *located[tensor.name], target)
            elif tensor.data_type in _FLOATS and np.prod(tensor.dims) > 1 and tensor.name not in kept:
                content = numpy_helper.to_array(tensor).tobytes()
                placed[tensor.name] = Contents(_aligned(target), len(content))
                target.write(content)
    for tensor in model.graph.initializer:
        if tensor.name in placed:
            _refer(tensor, weights.name, placed[tensor.name])
    return model, placed


def _moved(source: IO[bytes], start: int, length: int, target: IO[bytes]) -> Contents:
    place = Contents(_aligned(target), length)
    source.seek(start)
    for part in _chunks(source, length):
        target.write(part)
    return place


def _chunks(source: IO[bytes], length: int) -> Iterator[bytes]:
    while length:
        part = source.read(min(length, shutil.COPY_BUFSIZE))  # type: ignore[attr-defined]  # there since Python 3.8
        if not part:
            raise ValueError("the file of weights is cut short")
        length -= len(part)
        yield part


def _aligned(target: IO[bytes]) -> int:
    target.write(b"\0" * (-target.tell() % _ALIGN))
    return target.tell()


def _refer(tensor: onnx.TensorProto, location: str, place: Contents) -> None:
    header = onnx.TensorProto(dims=tensor.dims, data_type=tensor.data_type, name=tensor.name, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(place.offset)), ("length", str(place.length))):
        header.external_data.add(key=key, value=value)
    tensor.CopyFrom(header)
