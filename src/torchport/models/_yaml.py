"""YAML that may come from a stranger: plain values only, capped before anything is built, and written so that it reads back equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from torchport.errors import ArchiveError, OptionError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "dump", "load_mapping"]

MAX_BYTES = 16 * 1024**2
MAX_NODES = 1_000_000
"""Values after every alias is expanded."""
MAX_DEPTH = 64
_MAX_NUMBER = 400
"""Digits: Python turns a longer text into a number in quadratic time."""

_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _resolvers() -> dict[str | None, list[tuple[str, Any]]]:
    """PyYAML's rules, with ``1e-3`` a number as in YAML 1.2 and dates left as text."""
    import re

    number = re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)"
        r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    )
    rules: dict[str | None, list[tuple[str, Any]]] = {}
    for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items():
        kept = [(tag, rule) for tag, rule in entries if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")]
        if first in set("-+0123456789."):
            kept.insert(0, ("tag:yaml.org,2002:float", number))
        rules[first] = kept
    return rules


class _Loader(_SafeLoader):  # type: ignore[misc]  # the C loader where libyaml is there, else the Python one
    yaml_implicit_resolvers = _resolvers()


class _Dumper(_SafeDumper):  # type: ignore[misc]  # as above
    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: Any) -> bool:
        return True


def load_mapping(data: bytes, *, where: str) -> dict[str, Any]:
    """Reads a mapping from YAML text that nobody vouches for.

    Args:
        data: The text, UTF-8.
        where: The file's name, for messages.

    Raises:
        ArchiveError: It is not YAML, not a mapping, too large, too deep, or asks for objects.
    """
    if len(data) > MAX_BYTES:
        raise ArchiveError("the config is too large", where=where, found=f"{len(data)} bytes", expected=f"at most {MAX_BYTES}")
    try:
        text = data.decode("utf-8-sig")
        _check_depth(text, where)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return {}
            if not isinstance(node, yaml.MappingNode):
                raise ArchiveError("the config is not a mapping", where=where, found=f"a {node.id}", expected="keys and values")
            _check_nodes(node, where)
            value: dict[str, Any] = loader.construct_document(node)
        finally:
            loader.dispose()
    except ArchiveError:
        raise
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise ArchiveError("the config is not readable as YAML", where=where, found=" ".join(str(error).split())) from error
    return value


def dump(config: Mapping[str, Any]) -> bytes:
    """Writes ``config`` so that ``load_mapping`` gives it back, equal.

    Raises:
        OptionError: It holds something that YAML has no plain spelling for.
    """
    _check_plain(config, "")
    text: str = yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=140)
    return text.encode("utf-8")


def _check_depth(text: str, where: str) -> None:
    """Events come from a state machine, so a deep text is found before anything recurses into it."""
    depth = 0
    for events, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ArchiveError("the config is nested too deeply", where=where, found=f"more than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if events > 2 * MAX_NODES:
            raise ArchiveError("the config holds too many values", where=where, expected=f"at most {MAX_NODES}")


def _check_nodes(root: yaml.Node, where: str) -> None:
    """Counts what the aliases expand to, refuses every tag but the plain ones, doubled keys, and anchors that contain themselves."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_nodes:
            raise ArchiveError(
                "the config contains itself", where=where, found=f"an alias to its own parent, line {node.start_mark.line + 1}"
            )
        if node.tag not in _TAGS:
            raise ArchiveError(
                "the config asks for an object", where=where, found=f"{node.tag}, line {node.start_mark.line + 1}", expected="plain values"
            )
        open_nodes.add(id(node))
        total = 1
        if isinstance(node, yaml.ScalarNode):
            if node.tag.endswith((":int", ":float")) and len(node.value) > _MAX_NUMBER:
                raise ArchiveError("the config holds an endless number", where=where, found=f"{len(node.value)} characters")
        elif isinstance(node, yaml.SequenceNode):
            total += sum(size(item) for item in node.value)
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                    if (spelled := f"{key.tag} {key.value}") in seen:
                        raise ArchiveError(
                            "the config says a key twice", where=where, found=f"{key.value!r}, line {key.start_mark.line + 1}"
                        )
                    seen.add(spelled)
                total += size(key) + size(value)
        if total > MAX_NODES:
            raise ArchiveError("the config's aliases expand without end", where=where, found=f"more than {MAX_NODES} values")
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    size(root)


def _check_plain(value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str | int | float | bool):
                raise OptionError(
                    "a config key cannot be saved", stage="load", where=path or None, found=repr(key), expected="text or a number"
                )
            _check_plain(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{path}.{index}")
    elif isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise OptionError("a config value is not valid text", stage="load", where=path, found=repr(value))
    elif type(value) not in (int, float, bool, type(None)):
        raise OptionError(
            "a config value cannot be saved",
            stage="load",
            where=path,
            found=f"{type(value).__name__} {value!r}"[:200],
            expected="text, numbers, lists and mappings",
        )
