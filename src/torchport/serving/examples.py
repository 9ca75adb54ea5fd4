"""A request for a model that is served: its golden case, or zeros of the smallest shape; as a ready call for a shell and for Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from torchport.ports.dtypes import dtype_of
from torchport.serving.client import HEADER, Client, request_body
from torchport.serving.goldens import golden_cases

__all__ = ["curl_call", "python_call"]


def curl_call(client: Client, model: str, repository: Path, folder: Path) -> str:
    """A command that asks the model; what it sends is written into a folder. The answer comes as JSON."""
    config = client.config(model)
    inputs, _ = _example(config, model, repository)
    parameters = {"sequence_id": 1, "sequence_start": True, "sequence_end": True} if config.get("sequence_batching") else {}
    words, blobs = request_body(inputs, parameters)
    file = folder / f"{model}.request"
    file.write_bytes(words + blobs)
    place = f"{client.url}/v2/models/{model}/infer"
    return f"curl -s {shlex.quote(place)} -H '{HEADER}: {len(words)}' --data-binary @{shlex.quote(str(file))}"


def python_call(client: Client, model: str, repository: Path) -> str:
    """Lines of Python that ask the model."""
    config = client.config(model)
    inputs, file = _example(config, model, repository)
    more = ', parameters={"sequence_id": 1, "sequence_start": True, "sequence_end": True}' if config.get("sequence_batching") else ""
    if file is not None:
        given = f"dict(np.load({json.dumps(str(file))}))"
    else:
        given = "{" + ", ".join(f"{json.dumps(name)}: {_made(array)}" for name, array in inputs.items()) + "}"
    call = f"Client({json.dumps(client.url)}).ask({json.dumps(model)}, {given}{more})"
    return f"import numpy as np\nfrom torchport.serving import Client\n\nprint({call})"


def _made(array: Any) -> str:
    if array.dtype.kind == "O":
        return f"np.full({array.shape}, '', object)"
    return f"np.zeros({array.shape}, np.{array.dtype.name if array.dtype.kind != 'b' else 'bool_'})"


def _example(config: Mapping[str, Any], model: str, repository: Path) -> tuple[dict[str, Any], Path | None]:
    """Inputs as they go over the wire, and the file that holds them as the model takes them."""
    ports = {port["name"]: port for port in config["input"]}
    most = int(config.get("max_batch_size") or 0)
    cases = [case for case in golden_cases(repository) if case.model == model and set(case.inputs) == set(ports)]
    fitting = [case for case in cases if not most or max((len(one) for one in case.inputs.values() if one.ndim), default=0) <= most]
    if fitting:
        case = min(fitting, key=lambda one: (-int(one.version), sum(array.size for array in one.inputs.values())))
        single = {name for name, port in ports.items() if most and len(port["dims"]) + 1 > case.inputs[name].ndim}
        inputs = {name: array[:, None] if name in single else array for name, array in case.inputs.items()}
        return inputs, (repository / model / case.version / "goldens" / f"{case.name}.inputs.npz").absolute()
    shapes = {name: [*([1] if most else []), *(1 if int(size) < 0 else int(size) for size in port["dims"])] for name, port in ports.items()}
    return {name: _zeros(ports[name]["data_type"], shape) for name, shape in shapes.items()}, None


def _zeros(dtype: str, shape: list[int]) -> Any:
    return np.full(shape, b"", object) if dtype == "TYPE_STRING" else np.zeros(shape, dtype_of(dtype).numpy)
