"""A model's config: a plain mapping whose keys are also attributes, made from whatever people write configs in."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import enum
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from torchport.errors import OptionError
from torchport.models import _yaml

__all__ = ["Config", "as_config", "leaf", "leaves", "replace_leaf"]


class Config(dict[str, Any]):
    """A ``dict`` with attribute access; mappings inside it are ``Config`` too.

    Example:
        >>> cfg = Config({"encoder": {"layers": 4}})
        >>> cfg.encoder.layers, cfg["encoder"]["layers"]
        (4, 4)
    """

    def __init__(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        super().__init__({key: _wrapped(value) for key, value in {**(values or {}), **more}.items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            near = difflib.get_close_matches(name, [key for key in self if isinstance(key, str)], n=1)
            raise AttributeError(f"the config has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, _wrapped(value))

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        return Config({key: copy.deepcopy(value, memo) for key, value in self.items()})

    def update(self, *others: Any, **more: Any) -> None:
        """As ``dict.update``; mappings become ``Config``."""
        for key, value in dict(*others, **more).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As ``dict.setdefault``; a mapping becomes a ``Config``."""
        if key not in self:
            self[key] = default
        return self[key]

    def copy(self) -> Config:
        """A copy that shares nothing with this one but what is not a mapping or a list."""
        return Config(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, all the way down."""
        return {key: _plain(value) for key, value in self.items()}


def as_config(source: object) -> Config:
    """Reads a config from a mapping, an OmegaConf config, a dataclass, or the path of a YAML file.

    Tuples become lists, paths text and enum members their values, so that a config equals what comes back from a checkpoint.

    Raises:
        OptionError: It is nothing of the kind.
        ArchiveError: The YAML file is broken.
    """
    if source is None:
        return Config()
    if isinstance(source, str | PurePath):
        path = Path(source)
        if not path.is_file():
            raise OptionError(
                "there is no config file of that name", stage="load", found=str(source), expected="a mapping, or the path of a YAML file"
            )
        return Config(_yaml.load_mapping(path.read_bytes(), where=str(path)))
    if type(source).__module__.split(".")[0] == "omegaconf":
        source = importlib.import_module("omegaconf").OmegaConf.to_container(source, resolve=True)
    if dataclasses.is_dataclass(source) and not isinstance(source, type):
        source = {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
    if not isinstance(source, Mapping):
        raise OptionError(
            "a config has the wrong type",
            stage="load",
            found=type(source).__name__,
            expected="a mapping, a dataclass, or the path of a YAML file",
        )
    return Config(source)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is neither a mapping nor a list, with its dotted path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}.{index}" if path else str(index))
    else:
        yield path, value


def leaf(value: Any, path: str) -> Any:
    """The value at a dotted path, or ``None``."""
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def replace_leaf(config: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a dotted path; mappings that are missing on the way are made."""
    *parents, last = path.split(".")
    node: Any = config
    for part in parents:
        if isinstance(node, list):
            node = node[int(part)]
        else:
            if not isinstance(node.get(part), dict | list):
                node[part] = {}
            node = node[part]
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value


def _wrapped(value: Any) -> Any:
    if isinstance(value, Config):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return Config({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return Config(value)
    if isinstance(value, list | tuple):
        return [_wrapped(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    for plain in (str, int, float):
        if isinstance(value, plain) and type(value) not in (plain, bool):
            return plain(value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
