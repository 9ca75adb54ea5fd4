"""What Triton's native ``onnxruntime`` backend completes in a configuration that leaves inputs or outputs out.

Source: ``AutoCompleteConfig`` of https://github.com/triton-inference-server/onnxruntime_backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .contract import Found, Refused

__all__ = ["Completion", "complete"]

_MOST = 4
"""The batch that the server allows where nothing is said, unless it was started with another ``default-max-batch-size``."""


@dataclass
class Completion:
    """What is added.

    Attributes:
        max_batch_size: The batch; ``None`` where it stays.
        dynamic_batching: Whether requests are put together from now on.
        ports: The missing inputs and outputs, as a configuration describes them.
    """

    max_batch_size: int | None = None
    dynamic_batching: bool = False
    ports: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def complete(config: Mapping[str, Any], inputs: Mapping[str, Found], outputs: Mapping[str, Found]) -> Completion:
    """What the backend adds to a configuration.

    Raises:
        Refused: The configuration wants a batch, and the model has none.
    """
    given = {"input": [*(config.get("input") or ()), *(config.get("batch_input") or ())], "output": config.get("output") or ()}
    done = Completion()
    if all(given.values()):
        return done
    most = int(config.get("max_batch_size") or 0)
    if all(port.dims[:1] == (-1,) for port in (*inputs.values(), *outputs.values())):
        if not most:
            most = done.max_batch_size = _MOST
        done.dynamic_batching = most > 1 and not (config.get("dynamic_batching") or config.get("sequence_batching"))
    elif most:
        raise Refused(
            f"autofill failed for model '{config['name']}': model does not support batching while non-zero max_batch_size is specified"
        )
    for kind, found in (("input", inputs), ("output", outputs)):
        if not given[kind]:
            done.ports[kind] = [_port(name, port, batched=most > 0) for name, port in found.items()]
    return done


def _port(name: str, port: Found, *, batched: bool) -> dict[str, Any]:
    dims = list(port.dims[1 if batched else 0 :])
    if not dims and batched:
        raise Refused(f"'{name}' is one number for each row: the native backend reshapes it, and a stand-in cannot say so; write its dims")
    return {"name": name, "data_type": port.dtype, "dims": dims or [1]}
