"""The ``config.pbtxt`` of a model for Triton: complete, so that the server need not guess, and from the file's own ports.

Source: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchport.errors import PackageError
from torchport.metadata import KEY, format_metadata, stated_metadata
from torchport.packaging._pbtxt import Word, format_message
from torchport.packaging._records import Part
from torchport.packaging._triton_files import LABELS, labelled_output, warm_up, write_labels
from torchport.packaging._triton_ports import ServedPorts
from torchport.packaging._triton_sequences import kept_states, sequence_batching
from torchport.packaging._triton_settings import Settings
from torchport.ports.dtypes import known_dtype
from torchport.verification.rows import INDEPENDENT

__all__ = ["MARK", "config_of", "config_texts"]

MARK = "# Written by torchport, which adds versions of this model beside the others.\n"
"""The first line of every configuration that torchport may add to."""


def config_texts(config: Mapping[str, Any], metadata: Mapping[str, str]) -> tuple[str, str]:
    """The text of a configuration in two pieces: what all versions must share, and what is that of the version that it came with.

    The second one holds the warm-up, which is made of a version's golden case, and the caller's own words as parameters.
    """
    shared = {key: value for key, value in config.items() if key != "model_warmup"}
    words = [{"key": key, "value": {"string_value": text}} for key, text in sorted(metadata.items())]
    own = {**({"model_warmup": config["model_warmup"]} if "model_warmup" in config else {}), **({"parameters": words} if words else {})}
    return MARK + format_message(shared), format_message(own)


def config_of(name: str, part: Part, ports: ServedPorts, settings: Settings, most: int, model: Path) -> dict[str, Any]:
    """The configuration of a model; the files that it names are written.

    Args:
        name: The model's name in the repository.
        part: What is packaged.
        ports: Its ports, as the server sees them.
        settings: What was chosen.
        most: The largest batch of the server. 0 leaves the batch to the clients, as an axis like any other; above that, the server counts
            it by itself: it is the first axis of every port.
        model: The model's folder.

    Raises:
        PackageError: The model cannot be served so; the message names the port.
    """
    batched = most > 0
    if batched:
        _check_batch(part, ports, most)
    if settings.dynamic_batching or (settings.sequences and most > 1):
        _check_rows(part, most)
    stated = stated_metadata(part.artifact.metadata, where=part.artifact.path.name) or {}
    states = kept_states(stated, ports, settings.names) if settings.sequences else []
    if settings.sequences and settings.dynamic_batching:
        raise PackageError("sequences are put together by their own scheduler", where="dynamic_batching", hint="leave it out")
    kept = {name for state in states for name in (state.input, state.output)}
    config: dict[str, Any] = {
        "name": name,
        **({} if ports.platform is None else {"platform": ports.platform}),
        "backend": ports.backend,
        "default_model_filename": ports.model_file,
        "max_batch_size": most,
        "input": [_port(port, ports.names[port["name"]], batched=batched) for port in ports.inputs if port["name"] not in kept],
        "output": [_port(port, ports.names[port["name"]], batched=batched) for port in ports.outputs if port["name"] not in kept],
    }
    if not config["input"] or not config["output"]:
        raise PackageError("a model that takes or gives nothing but its state cannot be served", where=part.artifact.path.name)
    labelled = labelled_output(stated, ports)
    if labelled is not None and labelled not in kept:
        write_labels(stated["labels"], model)
        next(port for port in config["output"] if port["name"] == ports.names[labelled])["label_filename"] = LABELS
    config.update(_scheduling(settings))
    if states:
        config["sequence_batching"] = sequence_batching(states, ports.names, batched=batched, sequences=settings.sequences)
    elif settings.warmup and (samples := warm_up(part, ports, config["input"], model, most)):
        config["model_warmup"] = samples
    parameters = {} if part.model is None else {"torchport.model": part.model}
    if stated:
        parameters[KEY] = format_metadata({key: value for key, value in stated.items() if key != "versions"})
    if parameters:
        config["parameters"] = [{"key": key, "value": {"string_value": text}} for key, text in parameters.items()]
    return config


def _scheduling(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if settings.versions != "latest":
        found["version_policy"] = {"all": {}} if settings.versions == "all" else {"latest": {"num_versions": int(settings.versions)}}
    if settings.dynamic_batching:
        found["dynamic_batching"] = {"max_queue_delay_microseconds": settings.queue_delay} if settings.queue_delay else {}
    elif settings.queue_delay:
        raise PackageError("requests wait for others under dynamic batching only", where="queue_delay", hint="--set dynamic_batching=true")
    if settings.instances or settings.kind:
        found["instance_group"] = [{"count": settings.instances or 1, "kind": Word(f"KIND_{(settings.kind or 'auto').upper()}")}]
    return found


def _port(port: Mapping[str, Any], name: str, *, batched: bool) -> dict[str, Any]:
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
            hint="package the result of the export: torchport export … --package DIR, or result.package(…, target='triton')",
        )
    dependent = {name: said for name, said in rows.items() if said != INDEPENDENT}
    if dependent:
        name, said = next(iter(dependent.items()))
        raise PackageError("rows of a batch change each other: dynamic batching would mix up clients", where=name, found=said)
