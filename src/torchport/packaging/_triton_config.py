"""The ``config.pbtxt`` of a model for Triton: complete, so that the server need not guess, and from the file's own ports.

Source: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchport.errors import PackageError
from torchport.packaging._pbtxt import Message, Word, format_message
from torchport.packaging._records import Part
from torchport.packaging._triton_ports import ServedPorts
from torchport.ports.dtypes import known_dtype
from torchport.verification.rows import INDEPENDENT

__all__ = ["MARK", "config_text"]

MARK = "# Written by torchport, which adds versions of this model beside the others.\n"
"""The first line of every configuration that torchport may add to."""


def config_text(name: str, part: Part, ports: ServedPorts, *, max_batch_size: int, dynamic_batching: bool) -> str:
    """The text of the configuration.

    Args:
        name: The model's name in the repository.
        part: What is packaged.
        ports: Its ports, as the server sees them.
        max_batch_size: 0 leaves the batch to the clients, as an axis like any other; above that, the server counts it by itself: it is
            the first axis of every port.
        dynamic_batching: Let the server put requests of several clients into one batch.

    Raises:
        PackageError: The model cannot be served so; the message names the port.
    """
    if max_batch_size:
        _check_batch(part, ports, max_batch_size)
    if dynamic_batching:
        _check_rows(part, max_batch_size)
    config: dict[str, Any] = {
        "name": name,
        **({} if ports.platform is None else {"platform": ports.platform}),
        "backend": ports.backend,
        "default_model_filename": ports.model_file,
        "max_batch_size": max_batch_size,
        "input": [_port(port, ports.names[port["name"]], batched=max_batch_size > 0) for port in ports.inputs],
        "output": [_port(port, ports.names[port["name"]], batched=max_batch_size > 0) for port in ports.outputs],
    }
    if dynamic_batching:
        config["dynamic_batching"] = {}
    if part.model:
        config["parameters"] = [{"key": "torchport.model", "value": {"string_value": part.model}}]
    return MARK + format_message(config)


def _port(port: Mapping[str, Any], name: str, *, batched: bool) -> Message:
    dtype = known_dtype(port["dtype"])
    kind = None if dtype is None else dtype.triton_config
    if kind is None:
        raise PackageError(
            "Triton has no such dtype", where=port["name"], found=port["dtype"], hint="let the model take or give another one"
        )
    axes: Sequence[int | str] | None = port["axes"]
    if axes is None:
        raise PackageError("Triton needs to know how many axes a port has", where=port["name"])
    dims = [axis if isinstance(axis, int) else -1 for axis in axes[1 if batched else 0 :]]
    if 0 in dims:
        raise PackageError("Triton takes no axis of size 0", where=port["name"], found=" ".join(map(str, axes)))
    if not dims and not batched:
        raise PackageError(
            "Triton has no scalars",
            where=port["name"],
            expected="at least one axis",
            hint="give the port an axis of size 1, or of the batch",
        )
    described: dict[str, Any] = {"name": name, "data_type": Word(kind), "dims": dims or [1]}
    if not dims:  # one number for each row: the client sends [batch, 1], the model sees [batch]
        described["reshape"] = {"shape": []}
    return described


def _check_batch(part: Part, ports: ServedPorts, most: int) -> None:
    """With a batch of the server's, the first axis of every port is that batch, and takes each size from 1 on."""
    symbols = {port["axes"][0] if port["axes"] else None for port in (*ports.inputs, *ports.outputs)}
    for port in (*ports.inputs, *ports.outputs):
        first = port["axes"][0] if port["axes"] else None
        if not isinstance(first, str) or not first:
            raise PackageError(
                "max_batch_size above 0 needs a batch as the first axis of every port",
                where=port["name"],
                found="no axis" if first is None else f"a first axis of size {first}",
                hint="leave max_batch_size at 0: clients then send whole arrays",
            )
    if len(symbols) > 1:
        raise PackageError(
            "max_batch_size above 0 needs one batch for all ports",
            where=part.artifact.path.name,
            found=", ".join(sorted(str(one) for one in symbols)),
            hint="leave max_batch_size at 0",
        )
    axis = part.artifact.signature.symbols[str(next(iter(symbols)))]
    if axis.min > 1 or axis.multiple_of > 1 or (axis.max is not None and axis.max < most):
        raise PackageError(
            "the model does not take every batch that the server may send",
            where=axis.name,
            found=axis.sizes_in_words(),
            expected=f"every size from 1 to {most}",
            hint="a smaller max_batch_size, or 0",
        )


def _check_rows(part: Part, most: int) -> None:
    """Strangers' rows may only meet in one batch where the proof found that they do not change each other."""
    if not most:
        raise PackageError("dynamic batching needs a max_batch_size above 0", where="dynamic_batching")
    rows = part.proof.rows if part.proof is not None else {}
    unknown = [name for name in part.artifact.signature.outputs if name not in rows]
    if unknown:
        raise PackageError(
            "nothing says whether rows of a batch change each other",
            where=", ".join(unknown),
            expected="a proof that tried it",
            hint="package the result of the export: torchport export … then result.package(…, target='triton')",
        )
    dependent = {name: said for name, said in rows.items() if said != INDEPENDENT}
    if dependent:
        name, said = next(iter(dependent.items()))
        raise PackageError("rows of a batch change each other: dynamic batching would mix up clients", where=name, found=said)
