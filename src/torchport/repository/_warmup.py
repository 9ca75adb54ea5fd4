"""Warm-up requests: they are sent when the model is loaded, and one that fails refuses the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchport.repository._against_file import listed
from torchport.repository._ends import End, ends_of
from torchport.repository._files import VersionFile
from torchport.repository._folder import Model, Notes
from torchport.repository._sequence import filled_inputs
from torchport.repository._sizes import byte_count, check_bytes, dtype_name
from torchport.repository._text import Path

__all__ = ["check_warmup"]


def check_warmup(notes: Notes, model: Model, files: Mapping[int, VersionFile]) -> None:
    """Every warm-up against the inputs."""
    config = model.message
    inputs, filled = ends_of(model, "input", files), filled_inputs(model)
    optional = {port.name for port in config.input if port.optional}
    for number, warmup in enumerate(config.model_warmup):
        at = ("model_warmup", number)
        if warmup.batch_size == 0:
            notes.say("warmup/skipped", model, f"warm-up {warmup.name!r} is skipped", at=at)
            continue
        if warmup.batch_size > max(model.most, 1):
            expected = f"{max(model.most, 1)} at most"
            notes.say("warmup/batch-size", model, f"warm-up {warmup.name!r}", at=at, found=warmup.batch_size, expected=expected)
        for name, given in warmup.inputs.items():
            _check_input(notes, model, name, given, at)
            if name in inputs:
                _check_against(notes, model, name, given, inputs[name], at)
            elif inputs and name not in filled:
                expected = ", ".join(sorted(inputs))
                notes.say("warmup/input", model, "a warm-up sends an unknown input", at=at, found=name, expected=expected)
        for name in inputs:
            if name not in warmup.inputs and name not in optional and name not in filled:
                notes.say("warmup/input", model, f"a warm-up leaves input {name!r} out", at=at, expected=name)


def _check_input(notes: Notes, model: Model, name: str, given: Any, at: Path) -> None:
    said = f"warm-up input {name!r}"
    if any(size < 0 for size in given.dims):
        notes.say("warmup/dims", model, said, at=at, found=listed(given.dims))
        return
    choice = given.WhichOneof("data")
    if choice is None:
        notes.say("warmup/data", model, said, at=at)
    elif choice == "input_data_file":
        check_bytes(notes, model, "warmup/file", said, "warmup", given.input_data_file, byte_count(given), at)


def _check_against(notes: Notes, model: Model, name: str, given: Any, port: End, at: Path) -> None:
    said = f"warm-up input {name!r}"
    if (found := dtype_name(given, "data_type")) != port.dtype:
        notes.say("warmup/dtype", model, said, at=at, found=found, expected=port.dtype)
    dims, own = tuple(given.dims), port.dims
    if any(size < 0 for size in dims):
        return
    if len(dims) != len(own) or any(size not in (-1, one) for size, one in zip(own, dims, strict=True)):
        notes.say("warmup/shape", model, said, at=at, found=listed(dims), expected=listed(own))
