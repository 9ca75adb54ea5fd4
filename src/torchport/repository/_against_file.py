"""Inputs and outputs of a configuration against those of the model's file, as the backends compare them.

Source: https://github.com/triton-inference-server/onnxruntime_backend and …/pytorch_backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torchport.repository._backend import ONNX, TORCH
from torchport.repository._files import Tensor, VersionFile
from torchport.repository._folder import Model, Notes
from torchport.repository._ports import port_paths
from torchport.repository._rules import Effect
from torchport.repository._sizes import dtype_name
from torchport.repository._text import Path

__all__ = ["check_against_file", "check_drift", "listed"]

_INDEXED = re.compile(r".*?__(\d{1,9})")
_DEFAULT_BATCH = 4
"""What the server chooses, unless it was started with another ``default-max-batch-size``."""

_NOT_IN_TORCH = {"TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64"}


def complete_batch(model: Model, files: Mapping[int, VersionFile]) -> None:
    """The batch that the server chooses by itself: where ports are left to it, and all of the file's begin with an axis that varies."""
    if model.backend != ONNX or model.most:
        return
    if model.config is not None and (model.message.input or model.message.batch_input) and model.message.output:
        return
    for version in model.served[-1:]:
        if version in files and all(tensor.dims and tensor.dims[0] == -1 for tensor in _tensors(files[version])):
            model.completed = _DEFAULT_BATCH


def _tensors(file: VersionFile) -> list[Tensor]:
    return [tensor for tensor in (*file.inputs.values(), *file.outputs.values()) if tensor is not None]


def check_against_file(notes: Notes, model: Model, file: VersionFile, others: set[str]) -> None:
    """Compares every port with the file.

    Args:
        notes: Takes findings down.
        model: The model.
        file: What a served version takes and gives.
        others: Inputs that the server fills by itself: states, controls, batch inputs.
    """
    if model.backend == TORCH:
        _check_torch(notes, model, file, others)
        return
    config = model.message
    listed_inputs = {port.name for port in config.input}
    counted = _count(config)
    if notes.auto_complete and not config.input and not config.batch_input:
        counted += len(file.inputs)  # all of them are added, also those that are a state already
    if config.input:
        for name in (one for one in file.inputs if one not in listed_inputs and one not in others):
            # The backend counts the inputs, and looks for the names of those that clients send and of controls.
            effect: Effect | None = "wrong" if counted == len(file.inputs) else None
            expected = _tensor_words(file.inputs[name])
            notes.say("io/input-missing", model, f"input {name!r} of the file is not listed", expected=expected, effect=effect)
    if model.batched and not (config.input and config.output):
        for name in (name for name, one in {**file.inputs, **file.outputs}.items() if one is not None and one.dims and one.dims[0] != -1):
            notes.say("io/batch-axis", model, f"{name!r} does not begin with a batch")
    if config.output:
        states = {state.output_name for state in config.sequence_batching.state}
        known_outputs = {port.name for port in config.output} | states
        for name in (one for one in file.outputs if one not in known_outputs):
            notes.say("io/output-unlisted", model, f"output {name!r} of the file is not listed", found=_tensor_words(file.outputs[name]))
    ports = {"input": {**file.inputs, **file.optional}, "output": file.outputs}
    names = {kind: ", ".join(sorted(known)) for kind, known in ports.items()}
    for kind, port, path in port_paths(model):
        known = ports[kind]
        if not port.name:
            continue
        if port.name not in known:
            notes.say(
                f"io/{kind}-unknown",
                model,
                f"the file has no {kind} {port.name!r}",
                at=(*path, "name"),
                found=port.name,
                expected=names[kind],
            )
            continue
        tensor = known[port.name]
        assert tensor is not None
        _check_port(notes, model, kind, port, path, tensor, required=port.name in file.inputs)
    if counted != len(file.inputs) and model.name not in notes.refused:
        found = f"{counted} with states, controls and batch inputs"
        notes.say("io/input-count", model, "the file has another number of inputs", found=found, expected=len(file.inputs))


def _count(config: Any) -> int:
    """How many inputs the backend expects of the file: those that clients send, states, kinds of controls, batch inputs."""
    batching = config.sequence_batching
    kinds = {one.kind for control in batching.control_input for one in control.control}
    return sum(not port.optional for port in config.input) + len(batching.state) + len(kinds) + len(config.batch_input)


def _check_port(notes: Notes, model: Model, kind: str, port: Any, path: Path, tensor: Tensor, *, required: bool) -> None:
    said = f"{kind} {port.name!r}"
    stated = dtype_name(port, "data_type")
    if stated == "TYPE_BF16":
        notes.say("io/dtype-unsupported", model, f"{said} is bfloat16", at=(*path, "data_type"), found=stated, effect="depends")
    elif port.data_type and stated != tensor.dtype:
        expected = tensor.dtype or f"{tensor.stated}, which Triton does not have"
        notes.say("io/dtype", model, f"{said} is another in the file", at=(*path, "data_type"), found=stated, expected=expected)
    if kind == "input" and port.optional and (model.batched or port.allow_ragged_batch or required):
        notes.say("io/optional", model, f"{said} is optional", at=(*path, "optional"))
    if kind == "input" and port.allow_ragged_batch:
        if tensor.dims != (-1,):
            notes.say("io/ragged", model, f"{said} is ragged", at=(*path, "allow_ragged_batch"), found=listed(tensor.dims), expected="[-1]")
        return
    if kind == "output" and any(port.name in one.target_name for one in model.message.batch_output):
        return
    reshaped = port.HasField("reshape")
    field: Path = (*path, "reshape") if reshaped else (*path, "dims")
    dims = tuple(port.reshape.shape if reshaped else port.dims)
    if port.dims and all(size == -1 or size > 0 for size in dims):
        _check_dims(notes, model, kind, said, dims, tensor, field)


def _check_dims(notes: Notes, model: Model, kind: str, said: str, dims: tuple[int, ...], tensor: Tensor, at: Path) -> None:
    axes = tensor.dims
    if not axes:  # a scalar, or an axis count that the file does not state, which the backend takes for one
        if any(size != 1 for size in dims):
            effect: Effect | None = None if axes is not None else "depends"
            notes.say("io/rank", model, f"{said} is a scalar in the file", at=at, found=listed(dims), expected="[1]", effect=effect)
        return
    if model.batched:
        if axes[0] != -1:
            notes.say("io/batch-axis", model, f"{said} does not begin with a batch", at=at, found=f"{listed(axes)} in the file")
            return
        if len(dims) == len(axes):
            expected = listed(axes[1:])
            notes.say("io/batch-in-dims", model, f"{said} holds the batch twice", at=at, found=listed(dims), expected=expected)
            return
        axes = axes[1:]
    if len(dims) != len(axes):
        notes.say("io/rank", model, f"{said} has another number of dims", at=at, found=listed(dims), expected=listed(axes))
        return
    exact = kind == "output"
    if any(size != axis and (exact or axis != -1) for size, axis in zip(dims, axes, strict=True)):
        notes.say(f"io/{kind}-dims", model, f"{said} has another size", at=at, found=listed(dims), expected=listed(axes))


def _check_torch(notes: Notes, model: Model, file: VersionFile, others: set[str]) -> None:
    """TorchScript knows its arguments by name and neither types nor shapes; returned values have no names at all."""
    config = model.message
    for kind, port, path in port_paths(model):
        if (stated := dtype_name(port, "data_type")) in _NOT_IN_TORCH:
            notes.say("io/dtype-unsupported", model, f"{kind} {port.name!r}", at=(*path, "data_type"), found=stated)
    states = config.sequence_batching.state
    names = [port.name for port in config.input] + sorted(others - {port.name for port in config.input})
    known = ", ".join(file.inputs)
    if file.inputs and len(names) > len(file.inputs):
        said = f"forward takes {len(file.inputs)} arguments, not {len(names)}"
        notes.say("io/input-unknown", model, said, at=("input", 0), found=", ".join(names), expected=known)
    elif file.inputs and names and len(names) < len(file.inputs):
        said = f"forward takes {len(file.inputs)} arguments, not {len(names)}"
        notes.say("io/input-missing", model, said, at=("input", 0), found=", ".join(names), expected=known, effect="depends")
    elif states or len(names) > 1 or not file.inputs:
        by_name = bool(file.inputs) and set(names) <= set(file.inputs) and not states
        _check_naming(notes, model, "input", names, needed=bool(states), known=by_name, expected=known)
    given = [port.name for port in config.output]
    given += [state.output_name for state in states if state.output_name not in given]
    # Without any index, the order of the outputs is what is meant.
    _check_naming(notes, model, "output", given, needed=bool(states), known=not any(map(_INDEXED.fullmatch, given)), expected="")


def _check_naming(notes: Notes, model: Model, kind: str, names: Sequence[str], *, needed: bool, known: bool, expected: str) -> None:
    matches = [match for name in names if (match := _INDEXED.fullmatch(name)) is not None]
    found, expected = ", ".join(names), expected or f"{kind}__0, {kind}__1 …"
    if len(matches) == len(names):
        if sorted(int(match[1]) for match in matches) != list(range(len(names))):
            notes.say(
                "io/naming", model, f"the {kind}s do not count from 0 on", at=(kind, 0), found=found, expected=expected, effect="wrong"
            )
    elif needed:
        said = f"with states, every {kind} has to count"
        notes.say("io/naming", model, said, at=(kind, 0), found=found, expected=f"{kind}__0, {kind}__1 …", effect="refused")
    elif not known:
        notes.say("io/naming", model, f"the {kind}s go by their order", at=(kind, 0), found=found, expected=expected)


def check_drift(notes: Notes, model: Model, files: dict[int, VersionFile]) -> None:
    """Versions that are not served: is going back to one of them possible with this configuration?"""
    served = [version for version in model.served if version in files]
    if not served:
        return
    newest = files[served[-1]]
    for version, file in files.items():
        if version in model.served:
            continue
        differing = _differing(newest, file)
        if differing:
            notes.say(
                "versions/drift",
                model,
                f"version {version} is not version {served[-1]}",
                file=file.path,
                found=differing,
            )


def _differing(first: VersionFile, second: VersionFile) -> str:
    for kind, one, other in (("input", first.inputs, second.inputs), ("output", first.outputs, second.outputs)):
        if gone := sorted(set(one) - set(other)):
            return f"no {kind} {', '.join(gone)}"
        if new := sorted(set(other) - set(one)):
            return f"a further {kind} {', '.join(new)}"
        for name, tensor in one.items():
            if tensor != other[name]:
                return f"{kind} {name} is {_tensor_words(other[name])}, not {_tensor_words(tensor)}"
    return ""


def _tensor_words(tensor: Tensor | None) -> str:
    return "" if tensor is None else f"{tensor.dtype or tensor.stated} {listed(tensor.dims)}"


def listed(sizes: Sequence[int] | None) -> str:
    """Sizes as a configuration spells them."""
    return "of any rank" if sizes is None else f"[{', '.join(map(str, sizes))}]"
