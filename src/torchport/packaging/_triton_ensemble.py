"""Several graphs become one model for clients: an ensemble, joined where an output of one bears the name of an input of a later one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torchport.errors import PackageError
from torchport.packaging._pbtxt import Message

__all__ = ["Step", "ensemble_config"]


@dataclass(frozen=True)
class Step:
    """A model of an ensemble: its name, and its inputs and outputs as its configuration describes them."""

    model: str
    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]


def ensemble_config(name: str, steps: Sequence[Step], most: int) -> dict[str, Any] | None:
    """The configuration that joins models in their order.

    What no earlier step gives is an input of the whole; what no later step takes is an output of the whole.

    Args:
        name: The ensemble's name.
        steps: Its models.
        most: The largest batch that all of them take.

    Returns:
        ``None`` where nothing joins them: then they are models of their own.

    Raises:
        PackageError: Ports of one name do not fit, or two models give outputs of one name.
    """
    if not any(_names(before.outputs) & _names(after.inputs) for place, after in enumerate(steps) for before in steps[:place]):
        return None
    given: dict[str, Mapping[str, Any]] = {}
    taken: set[str] = set()
    inputs: dict[str, dict[str, Any]] = {}
    scheduled: list[Message] = []
    for step in steps:
        for port in step.inputs:
            before = given.get(port["name"])
            if before is not None:
                _check_fits(before, port, step.model)
                taken.add(port["name"])
            elif port["name"] in inputs:
                inputs[port["name"]] = _narrower(inputs[port["name"]], port, step.model)
            else:
                inputs[port["name"]] = _of_ensemble(port)
        for port in step.outputs:
            if port["name"] in given or port["name"] in inputs:
                raise PackageError(
                    "two models of an ensemble give or take one name for different things",
                    where=f"{step.model}: {port['name']}",
                    hint="name the ports apart",
                )
            given[port["name"]] = port
        scheduled.append(
            {
                "model_name": step.model,
                "model_version": -1,
                "input_map": [{"key": port["name"], "value": port["name"]} for port in step.inputs],
                "output_map": [{"key": port["name"], "value": port["name"]} for port in step.outputs],
            }
        )
    return {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": most,
        "input": list(inputs.values()),
        "output": [_of_ensemble(port) for port in given.values() if port["name"] not in taken],
        "ensemble_scheduling": {"step": scheduled},
    }


def _names(ports: Sequence[Mapping[str, Any]]) -> set[str]:
    return {port["name"] for port in ports}


def _of_ensemble(port: Mapping[str, Any]) -> dict[str, Any]:
    """The port as clients see it; a reshape is its model's own business, and so are labels."""
    return {key: port[key] for key in ("name", "data_type", "dims")}


def _check_fits(before: Mapping[str, Any], port: Mapping[str, Any], model: str) -> None:
    if before["data_type"] != port["data_type"] or not _fit(before["dims"], port["dims"]):
        raise PackageError(
            "an output does not fit the input of its name",
            where=f"{model}: {port['name']}",
            found=f"{before['data_type'].text} {list(before['dims'])}",
            expected=f"{port['data_type'].text} {list(port['dims'])}",
        )


def _fit(some: Sequence[int], others: Sequence[int]) -> bool:
    return len(some) == len(others) and all(-1 in (a, b) or a == b for a, b in zip(some, others, strict=True))


def _narrower(known: Mapping[str, Any], port: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Two models take one input: what both accept."""
    _check_fits(known, port, model)
    dims = [b if a == -1 else a for a, b in zip(known["dims"], port["dims"], strict=True)]
    return {**known, "dims": dims}
