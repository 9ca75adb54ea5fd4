"""Inputs and outputs of a configuration, by themselves: names, types, sizes, reshapes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from torchport.repository._backend import ONNX
from torchport.repository._folder import Model, Notes
from torchport.repository._rules import Effect
from torchport.repository._text import Path

__all__ = ["check_ports", "port_paths", "same_elements"]


def port_paths(model: Model) -> Iterator[tuple[str, Any, Path]]:
    """Every port with its kind and its place."""
    for kind in ("input", "output"):
        for number, port in enumerate(getattr(model.message, kind)):
            yield kind, port, (kind, number)


def check_ports(notes: Notes, model: Model) -> None:
    """What the server's core checks of every port before a backend sees it."""
    config = model.message
    seen: set[tuple[str, str]] = set()
    for kind, port, path in port_paths(model):
        said = f"{kind} {port.name!r}"
        if not port.name:
            notes.say("io/name-missing", model, f"an {kind} has no name", at=path)
        elif (kind, port.name) in seen:
            # It counts the inputs, and takes two outputs of one name for one.
            effect: Effect | None = None if model.backend != ONNX else "refused" if kind == "input" else "loads"
            notes.say("io/duplicate", model, f"two {kind}s have one name", at=(*path, "name"), found=port.name, effect=effect)
        seen.add((kind, port.name))
        if not port.data_type:
            notes.say("io/dtype-missing", model, f"{said} has no data_type", at=path)
        _check_dims(notes, model, port, path, said)
        if port.HasField("reshape"):
            _check_reshape(notes, model, port, path, said)
        if kind == "input" and port.format and len(port.dims) != 3:
            notes.say("io/format-rank", model, f"{said} has an image format", at=(*path, "format"), found=_listed(port.dims))
        for field in ("is_shape_tensor", "is_non_linear_format_io"):
            if getattr(port, field) and model.backend != "tensorrt":
                notes.say("io/tensorrt-only", model, f"{said} says {field}", at=(*path, field), found=model.backend)
    _check_batch_io(notes, model, {port.name for port in config.input}, {port.name for port in config.output})


def _check_dims(notes: Notes, model: Model, port: Any, path: Path, said: str) -> None:
    if not port.dims:
        notes.say("io/dims-missing", model, f"{said} has no dims", at=path)
    shape = [] if not port.HasField("reshape") else port.reshape.shape
    for field, sizes in ((("dims",), port.dims), (("reshape", 0, "shape"), shape)):
        if any(size < 1 and size != -1 for size in sizes):
            notes.say("io/dim-size", model, f"{said} has a size that is none", at=(*path, *field), found=_listed(sizes))


def _check_reshape(notes: Notes, model: Model, port: Any, path: Path, said: str) -> None:
    shape, at = list(port.reshape.shape), (*path, "reshape")
    if not shape and not model.batched:
        notes.say("io/reshape-empty", model, f"{said} is a scalar", at=at)
    elif port.dims and not same_elements(port.dims, shape):
        notes.say(
            "io/reshape-size", model, f"{said} changes its size", at=at, found=_listed(shape), expected=f"as many as {_listed(port.dims)}"
        )


def same_elements(dims: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether two shapes always hold the same number of elements: between sizes that vary, the products are the same."""
    return _products(dims) == _products(shape)


def _products(sizes: Sequence[int]) -> list[int]:
    groups: list[list[int]] = [[]]
    for size in sizes:
        if size == -1:
            groups.append([])
        else:
            groups[-1].append(size)
    return [math.prod(group) for group in groups]


def _check_batch_io(notes: Notes, model: Model, inputs: set[str], outputs: set[str]) -> None:
    config = model.message
    for kind in ("batch_input", "batch_output"):
        for number, port in enumerate(getattr(config, kind)):
            wrong = []
            if len(port.source_input) != 1:
                wrong.append(f"{len(port.source_input)} source inputs")
            wrong += [f"no input {name!r}" for name in port.source_input if name not in inputs]
            if kind == "batch_input" and port.data_type not in (8, 11):  # TYPE_INT32, TYPE_FP32
                wrong.append("another data_type")
            if kind == "batch_output":
                wrong += [f"no output {name!r}" for name in port.target_name if name not in outputs]
                wrong += ["an output twice"] * (len(set(port.target_name)) < len(port.target_name))
            if wrong:
                notes.say("io/batch-io", model, f"a {kind} cannot be made", at=(kind, number), found=", ".join(wrong))


def _listed(sizes: Sequence[int]) -> str:
    return f"[{', '.join(map(str, sizes))}]"
