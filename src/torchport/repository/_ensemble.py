"""Ensembles: steps, the tensors between them, and the models behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchport.repository._against_file import listed
from torchport.repository._backend import ENSEMBLE
from torchport.repository._ends import End, ends_of
from torchport.repository._files import VersionFile
from torchport.repository._folder import Model, Notes
from torchport.repository._sizes import dtype_name
from torchport.repository._text import Path

__all__ = ["check_ensemble", "check_flow", "check_steps", "ensemble_order"]

_AT: Path = ("ensemble_scheduling", 0, "step")


def check_ensemble(notes: Notes, model: Model) -> None:
    """What an ensemble says by itself, without its models."""
    config = model.message
    if config.platform != ENSEMBLE or config.backend:
        found = f"platform {config.platform!r}, backend {config.backend!r}"
        notes.say("ensemble/platform", model, "this is no ensemble's platform", at=("platform",), found=found)
        return
    for field in ("instance_group", "optimization", "model_warmup"):
        if config.HasField(field) if field == "optimization" else getattr(config, field):
            notes.say("ensemble/not-for-ensembles", model, f"an ensemble has no {field}", at=(field, 0))
    steps = config.ensemble_scheduling.step
    if not steps:
        notes.say("ensemble/steps", model, "there are no steps", at=("ensemble_scheduling", 0))
        return
    whole = True
    for number, step in enumerate(steps):
        if missing := [field for field in ("model_name", "input_map", "output_map") if not getattr(step, field)]:
            notes.say("ensemble/step", model, f"step {number} is not whole", at=(*_AT, number), found=f"no {', no '.join(missing)}")
            whole = False
    if whole:
        check_flow(notes, model, steps)


def check_flow(notes: Notes, model: Model, steps: Sequence[Any]) -> None:
    """Which tensors are written and read: each is written once, before it is read, and none in vain."""
    config = model.message
    inputs, outputs = [port.name for port in config.input], [port.name for port in config.output]
    written: dict[str, int] = {}
    for number, step in enumerate(steps):
        for tensor in step.output_map.values():
            if tensor in written:
                notes.say("ensemble/written-twice", model, f"tensor {tensor!r}", at=(*_AT, number, "output_map"), found=tensor)
            written[tensor] = number
    read = {tensor for step in steps for tensor in step.input_map.values()}
    for number, name in enumerate(inputs):
        if name not in read:
            notes.say("ensemble/unused", model, f"input {name!r} is not used", at=("input", number, "name"), found=name)
    for tensor, number in written.items():
        if tensor not in read and tensor not in outputs:
            notes.say("ensemble/unused", model, f"tensor {tensor!r} is not used", at=(*_AT, number, "output_map"), found=tensor)
    for number, name in enumerate(outputs):
        if name not in written and name not in inputs:
            notes.say("ensemble/unwritten", model, f"output {name!r} is never written", at=("output", number, "name"), found=name)
    ready, waiting = set(inputs), dict(enumerate(steps))
    while done := [number for number, step in waiting.items() if set(step.input_map.values()) <= ready]:
        for number in done:
            ready |= set(waiting.pop(number).output_map.values())
    for number, step in waiting.items():
        dangling = sorted(set(step.input_map.values()) - set(written) - set(inputs))
        for tensor in dangling:
            notes.say("ensemble/unwritten", model, f"step {number} reads {tensor!r}", at=(*_AT, number, "input_map"), found=tensor)
        if not dangling and not any(_dangles(other, written, inputs) for other in waiting.values()):
            names = ", ".join(sorted(set(step.input_map.values()) - ready))
            notes.say("ensemble/cycle", model, f"step {number} waits for a later one", at=(*_AT, number, "input_map"), found=names)


def _dangles(step: Any, written: Mapping[str, int], inputs: Sequence[str]) -> bool:
    return any(tensor not in written and tensor not in inputs for tensor in step.input_map.values())


def ensemble_order(notes: Notes, models: Mapping[str, Model]) -> list[Model]:
    """Ensembles after those that are their steps; cycles are taken down and left out."""
    order: list[Model] = []
    ensembles = {name: model for name, model in models.items() if model.backend == ENSEMBLE and model.config is not None}
    needs = {
        name: {step.model_name for step in model.message.ensemble_scheduling.step} & set(ensembles) for name, model in ensembles.items()
    }
    while ready := [name for name in needs if not needs[name] & set(needs)]:
        for name in ready:
            order.append(ensembles[name])
            del needs[name]
    for name in needs:
        notes.say("ensemble/model-cycle", ensembles[name], "this ensemble needs itself", at=("ensemble_scheduling", 0))
    return order


def check_steps(notes: Notes, model: Model, models: Mapping[str, Model], files: Mapping[str, Mapping[int, VersionFile]]) -> None:
    """The ensemble against the models of its steps."""
    config = model.message
    tensors: dict[str, End] = {}
    for port in (*config.input, *config.output):
        dims = port.reshape.shape if port.HasField("reshape") else port.dims
        tensors.setdefault(port.name, End(dtype_name(port, "data_type"), tuple(dims), model.batched))
    for number, step in enumerate(config.ensemble_scheduling.step):
        at: Path = (*_AT, number)
        other = models.get(step.model_name)
        if other is None:
            notes.say("ensemble/model-missing", model, f"step {number} has no model", at=(*at, "model_name"), found=step.model_name)
        elif other.name in notes.refused:
            notes.say("ensemble/model-refused", model, f"step {number}", at=(*at, "model_name"), found=step.model_name)
        else:
            _check_step(notes, model, step, at, other, files.get(other.name, {}), tensors)


def _check_step(
    notes: Notes, model: Model, step: Any, at: Path, other: Model, files: Mapping[int, VersionFile], tensors: dict[str, End]
) -> None:
    wanted = step.model_version
    if wanted != -1 and wanted not in other.served:
        served = ", ".join(map(str, other.served))
        notes.say(
            "ensemble/version-missing", model, f"{other.name!r}", at=(*at, "model_version"), found=wanted, expected=f"-1, or {served}"
        )
    most = other.most
    if most and most < model.message.max_batch_size:
        found = model.message.max_batch_size
        notes.say(
            "ensemble/batch-size", model, f"{other.name!r} takes less", at=("max_batch_size",), found=found, expected=f"{most} at most"
        )
    for kind, mapped in (("input", step.input_map), ("output", step.output_map)):
        ends = ends_of(other, kind, files)
        if not ends:
            continue  # left to the server, and to a file that cannot be read here
        where = (*at, f"{kind}_map")
        for name, tensor in mapped.items():
            if name not in ends:
                said = f"{other.name!r} has no {kind} {name!r}"
                notes.say("ensemble/map-unknown", model, said, at=where, found=name, expected=", ".join(sorted(ends)))
            elif tensor in tensors:
                _compare(notes, model, f"tensor {tensor!r} at {other.name!r}", tensors[tensor], ends[name], where)
            else:
                tensors[tensor] = ends[name]
        if kind == "input":
            optional = {port.name for port in other.message.input if port.optional} if other.config is not None else set()
            for name in ends:
                if name not in mapped and name not in optional:
                    notes.say("ensemble/input-unmapped", model, f"input {name!r} of {other.name!r}", at=where, expected=name)


def _compare(notes: Notes, model: Model, said: str, one: End, other: End, at: Path) -> None:
    if one.dtype != other.dtype:
        notes.say("ensemble/dtype", model, said, at=at, found=one.dtype, expected=other.dtype)
    elif not (_alike(one.dims, other.dims) or _alike(one.full, other.full)):
        notes.say("ensemble/dims", model, said, at=at, found=listed(one.full), expected=listed(other.full))


def _alike(one: Sequence[int], other: Sequence[int]) -> bool:
    return len(one) == len(other) and all(first == second or -1 in (first, second) for first, second in zip(one, other, strict=True))
