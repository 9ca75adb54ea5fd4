"""What stands beside a model's configuration: labels, the tensors of its warm-up, and golden cases for each version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torchport.check._arrays import write_arrays
from torchport.errors import PackageError
from torchport.packaging._pbtxt import Message
from torchport.packaging._records import Golden, Part
from torchport.packaging._triton_ports import ServedPorts

__all__ = ["GOLDENS", "LABELS", "WARMUP", "labelled_output", "warm_up", "write_goldens", "write_labels"]

GOLDENS = "goldens"
"""The folder of a version's golden cases."""

LABELS = "labels.txt"
WARMUP = "warmup"
"""The folder of the tensors that a server warms a model up with."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def labelled_output(stated: Mapping[str, Any], ports: ServedPorts) -> str | None:
    """The output whose classes the model's metadata name; ``None`` where there is none.

    Raises:
        PackageError: There are names for another number of classes than an output has, or for several.
    """
    labels = stated.get("labels")
    if not labels:
        return None
    told = (stated.get("ports") or {}).get("scores")
    fitting = [port["name"] for port in ports.outputs if port["axes"] and port["axes"][-1] == len(labels)]
    chosen = [told] if told in fitting else [] if told is not None else fitting
    if len(chosen) != 1:
        raise PackageError(
            "the labels do not say which output they name",
            where="export_metadata",
            found=f"{len(labels)} labels",
            expected="one output whose last axis has as many, or the port of the role 'scores'",
        )
    return chosen[0]


def write_labels(labels: Sequence[str], model: Path) -> None:
    """Writes one label a line, as the server reads them.

    Raises:
        PackageError: A label has a line break.
    """
    if odd := [one for one in labels if "\n" in one or "\r" in one]:
        raise PackageError("a label is a line of the server's file", where="export_metadata", found=repr(odd[0]))
    (model / LABELS).write_text("".join(f"{one}\n" for one in labels), encoding="utf-8")


def warm_up(part: Part, ports: ServedPorts, described: Sequence[Mapping[str, Any]], model: Path, most: int) -> list[Message]:
    """Writes the tensors of the first golden case and describes the request that the server makes of them before any other.

    Args:
        part: What is packaged.
        ports: Its ports.
        described: The inputs as the configuration describes them.
        model: The model's folder.
        most: The largest batch of the server; 0: clients count it.
    """
    golden = part.goldens[0]
    if any(array.dtype.kind == "O" for array in golden.inputs.values()):
        return []
    inputs = []
    (model / WARMUP).mkdir()
    by_name = {ports.names[port["name"]]: port["name"] for port in ports.inputs}
    for place, entry in enumerate(described):
        array = golden.inputs[by_name[entry["name"]]]
        row = array[0] if most else array
        dims = [int(size) for size in entry["dims"]]
        shape = list(row.shape) or [1] * len(dims)
        file = f"{golden.name}.{entry['name'] if _PLAIN.fullmatch(entry['name']) else place}"
        (model / WARMUP / file).write_bytes(np.ascontiguousarray(row, row.dtype.newbyteorder("<")).tobytes())
        inputs.append({"key": entry["name"], "value": {"data_type": entry["data_type"], "dims": shape, "input_data_file": file}})
    size = min(most, len(next(iter(golden.inputs.values())))) if most else 1
    return [{"name": golden.name, "batch_size": size, "inputs": inputs}]


def write_goldens(goldens: Sequence[Golden], names: Mapping[str, str], version: Path) -> list[dict[str, Any]]:
    """Writes each case as two files, under the names that the ports have on the server; gives their records."""
    folder = version / GOLDENS
    folder.mkdir()
    records = []
    for golden in goldens:
        for kind, arrays in (("inputs", golden.inputs), ("outputs", golden.outputs)):
            write_arrays(folder / f"{golden.name}.{kind}.npz", {names[name]: array for name, array in arrays.items()})
        records.append(
            {
                "name": golden.name,
                "sizes": dict(golden.sizes),
                "tolerances": {names[name]: tolerance for name, tolerance in golden.tolerances.items()},
            }
        )
    return records
