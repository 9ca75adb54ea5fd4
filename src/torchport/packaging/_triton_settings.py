"""What a caller may choose of a Triton model, read from texts once and checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torchport.errors import OptionError
from torchport.packaging._triton_ports import Naming

__all__ = ["OPTIONS", "Settings", "check_name", "check_parts", "options_of", "read_settings"]

OPTIONS: Mapping[str, str] = {
    "name": "the model's name; the artifact's, if not given",
    "max_batch_size": "0 (clients send the batch axis like any other), the largest batch that the server may take, or auto: measured",
    "dynamic_batching": "true: the server may put requests of several clients into one batch",
    "queue_delay": "microseconds that a request may wait for others, with dynamic_batching",
    "sequences": "how many sequences the server keeps the model's states of; 0: clients send them along",
    "names": "TorchScript: ports (they keep their names) or index (mel__0, mel__1, as the server's oldest convention has it)",
    "instances": "how many requests may be answered at once",
    "kind": "where: cpu, gpu or auto",
    "versions": "which versions are served: latest, all, or how many of the latest",
    "warmup": "false: the first request meets a cold model",
    "goldens": "false: leave out the golden cases that torchport request sends",
}
"""Every option, and what it means."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MOST = 2**31
_KINDS = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class Settings:
    """The choices; see `OPTIONS`. ``max_batch_size`` is ``None`` where it shall be measured."""

    name: str | None
    max_batch_size: int | None
    dynamic_batching: bool
    queue_delay: int
    sequences: int
    names: Naming
    instances: int
    kind: str | None
    versions: str
    warmup: bool
    goldens: bool


def read_settings(options: Mapping[str, str]) -> Settings:
    """Reads the options of an order.

    Raises:
        OptionError: A text says something else.
    """
    name = options.get("name")
    names = _choice(options, "names", ("ports", "index"))
    versions = options.get("versions", "latest")
    if versions not in ("latest", "all"):
        _number(options, "versions", 1)
    return Settings(
        name=None if name is None else check_name(name),
        max_batch_size=None if options.get("max_batch_size") == "auto" else _number(options, "max_batch_size", 0, "0 or more, or auto"),
        dynamic_batching=_switch(options, "dynamic_batching", False),
        queue_delay=_number(options, "queue_delay", 0),
        sequences=_number(options, "sequences", 0),
        names="index" if names == "index" else "ports",
        instances=_number(options, "instances", 0),
        kind=_choice(options, "kind", _KINDS) if "kind" in options else None,
        versions=versions,
        warmup=_switch(options, "warmup", True),
        goldens=_switch(options, "goldens", True),
    )


def check_parts(options: Mapping[str, str], parts: Collection[str]) -> None:
    """Refuses options of a part that is not there.

    Raises:
        OptionError: One is; or a part has a name of its own, which it cannot have.
    """
    for option in options:
        part, dot, own = option.rpartition(".")
        if dot and (part not in parts or own == "name"):
            raise OptionError(
                "no part has such an option of its own",
                stage="package",
                where=option,
                found=part if own != "name" else own,
                expected=", ".join(f"{one}.max_batch_size" for one in parts),
            )


def options_of(options: Mapping[str, str], part: str) -> dict[str, str]:
    """The options of one part: its own (``encoder.max_batch_size``) before those of all."""
    own = {name.rpartition(".")[2]: text for name, text in options.items() if name.rpartition(".")[0] == part}
    return {**{name: text for name, text in options.items() if "." not in name}, **own}


def check_name(name: str) -> str:
    """The name, if it can be that of a folder.

    Raises:
        OptionError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise OptionError(
            "the name of a model is that of its folder",
            stage="package",
            where="options['name']",
            found=name,
            expected="letters, digits, _ . -",
        )
    return name


def _number(options: Mapping[str, str], name: str, least: int, expected: str | None = None) -> int:
    text = options.get(name, str(least))
    if not text.isdecimal() or not least <= int(text) < _MOST:
        raise OptionError(f"{name} is a number", stage="package", where=name, found=text, expected=expected or f"{least} or more")
    return int(text)


def _switch(options: Mapping[str, str], name: str, usual: bool) -> bool:
    text = options.get(name, str(usual)).lower()
    if text not in ("true", "false"):
        raise OptionError(f"{name} is a switch", stage="package", where=name, found=text, expected="true or false")
    return text == "true"


def _choice(options: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    text = options.get(name, known[0])
    if text not in known:
        raise OptionError(f"{name} is one of a few", stage="package", where=name, found=text, expected=" or ".join(known))
    return text
