"""Batching, instances, labels and the response cache."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torchport.repository._folder import Model, Notes, exists, readable
from torchport.repository._text import Path

__all__ = ["check_cache", "check_dynamic_batching", "check_instances", "check_labels", "check_preferred"]

_MOST_LABELS = 2**24
_DELAY = 1
_KINDS = {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3}


def check_dynamic_batching(notes: Notes, model: Model) -> None:
    """The sizes and the queue of the dynamic batcher."""
    config = model.message
    if not config.HasField("dynamic_batching"):
        return
    batching, at = config.dynamic_batching, ("dynamic_batching", 0)
    if not model.batched:
        notes.say("batching/unbatched", model, "there is no batch to put together", at=at, found="max_batch_size: 0")
    check_preferred(notes, model, batching.preferred_batch_size, (*at, "preferred_batch_size"))
    levels = batching.priority_levels
    if levels:
        wrong = [batching.default_priority_level, *batching.priority_queue_policy]
        if any(not 1 <= level <= levels for level in wrong):
            expected = f"1 to {levels}"
            notes.say("batching/priority", model, "a priority is out of range", at=at, found=", ".join(map(str, wrong)), expected=expected)
    if batching.preserve_ordering:
        policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
        if levels > 1 or any(one.default_timeout_microseconds and one.timeout_action == _DELAY for one in policies):
            notes.say("batching/ordering", model, "requests that wait cannot keep their order", at=(*at, "preserve_ordering"))


def check_preferred(notes: Notes, model: Model, sizes: Iterable[int], at: Path) -> None:
    """Preferred sizes, of the dynamic batcher or of sequences."""
    most = model.message.max_batch_size
    if wrong := [size for size in sizes if not 1 <= size <= most]:
        found = ", ".join(map(str, wrong))
        notes.say("batching/preferred-size", model, "a preferred size cannot be had", at=at, found=found, expected=f"1 to {most}")


def check_instances(notes: Notes, model: Model) -> None:
    """Where instances run, and how many."""
    for number, group in enumerate(model.message.instance_group):
        at = ("instance_group", number)
        if group.kind not in _KINDS.values():
            notes.say("instance/kind", model, "there is no such kind", at=(*at, "kind"), found=group.kind)
        if group.kind == _KINDS["KIND_GPU"] or (group.gpus and group.kind == _KINDS["KIND_AUTO"]):
            notes.say("instance/gpu", model, "the model asks for a GPU", at=(*at, "kind"))
        elif group.gpus and group.kind in (_KINDS["KIND_CPU"], _KINDS["KIND_MODEL"]):
            notes.say("instance/gpus", model, "GPUs are listed", at=(*at, "gpus"), found=", ".join(map(str, group.gpus)))
        if group.profile and model.backend != "tensorrt":
            notes.say("instance/profile", model, "a profile is named", at=(*at, "profile"), found=model.backend)
        if model.config is not None and (*at, "count") in model.config.places and group.count < 1:
            notes.say("instance/count", model, "there is no such number of instances", at=(*at, "count"), found=group.count)


def check_cache(notes: Notes, model: Model) -> None:
    """What the response cache cannot keep, and who else has a say when a model is loaded."""
    config = model.message
    new = {"model_metrics": (), "max_inflight_responses": ("ensemble_scheduling", 0)}
    for name, at in new.items():
        if model.config is not None and (*at, name) in model.config.places:
            notes.say("config/new-field", model, "a new field", at=(*at, name), found=name)
    if config.model_repository_agents.agents:
        found = ", ".join(agent.name for agent in config.model_repository_agents.agents)
        notes.say("model/agent", model, "agents are named", at=("model_repository_agents", 0), found=found)
    if not config.response_cache.enable:
        return
    if config.HasField("sequence_batching"):
        notes.say("cache/sequence", model, "sequences are not cached", at=("response_cache", 0))
    if config.model_transaction_policy.decoupled:
        notes.say("cache/decoupled", model, "a decoupled model's answers are not cached", at=("response_cache", 0))


def check_labels(notes: Notes, model: Model) -> None:
    """The files of labels: the server reads them when it loads the model."""
    for number, port in enumerate(model.message.output):
        name = port.label_filename
        if not name:
            continue
        at, path = ("output", number, "label_filename"), model.path / name
        if not exists(path):
            notes.say("files/labels-missing", model, f"output {port.name!r} has no labels", at=at, found=name)
        elif readable(notes, model, path):
            _check_labels(notes, model, port, path, at)


def _check_labels(notes: Notes, model: Model, port: Any, path: Any, at: Path) -> None:
    with path.open("rb") as file:
        content: bytes = file.read(_MOST_LABELS)
    labels = len(content.splitlines())
    classes = math.prod(port.dims) if port.dims and all(size > 0 for size in port.dims) else labels
    if labels != classes and len(content) < _MOST_LABELS:
        notes.say("files/labels-count", model, f"output {port.name!r} has other labels", at=at, found=labels, expected=classes)
