"""Holds a JSON document against a part of JSON Schema: what the published schemas use, without a package of its own.

Source: https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["KEYWORDS", "violations"]

KEYWORDS = frozenset(
    (
        "type",
        "const",
        "enum",
        "pattern",
        "minimum",
        "minItems",
        "minLength",
        "required",
        "properties",
        "additionalProperties",
        "items",
        "$ref",
    )
)
"""What is understood; a test keeps the schema to these."""

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def violations(
    document: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, place: str = ""
) -> Iterator[tuple[str, str]]:
    """Where the document breaks the schema: the place (``files[2].path``) and what is wrong there.

    Example:
        >>> list(violations({"size": "9"}, {"properties": {"size": {"type": "integer"}}}))
        [('size', "'9' is no integer")]
    """
    root = schema if root is None else root
    if "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        yield from violations(document, target, root, place)
        return
    wrong = _wrong(document, schema)
    if wrong:
        yield place, wrong
    elif isinstance(document, dict):
        yield from _object(document, schema, root, place)
    elif isinstance(document, list) and "items" in schema:
        for index, one in enumerate(document):
            yield from violations(one, schema["items"], root, f"{place}[{index}]")


def _wrong(document: Any, schema: Mapping[str, Any]) -> str:
    """What is wrong with the value itself, its parts left aside."""
    shown = repr(document)[:80]
    kinds = schema.get("type", list(_TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(isinstance(document, _TYPES[kind]) and (not isinstance(document, bool) or kind == "boolean") for kind in kinds):
        return f"{shown} is no {' or '.join(kinds)}"
    if "const" in schema and document != schema["const"]:
        return f"{shown} is not {schema['const']!r}"
    if "enum" in schema and document not in schema["enum"]:
        return f"{shown} is none of {', '.join(map(repr, schema['enum']))}"
    if isinstance(document, str) and not re.fullmatch(schema.get("pattern", "(?s:.*)"), document):
        return f"{shown} does not look like {schema['pattern']}"
    if isinstance(document, str) and len(document) < schema.get("minLength", 0):
        return "the text is empty"
    if isinstance(document, (int, float)) and not isinstance(document, bool) and document < schema.get("minimum", document):
        return f"{shown} is below {schema['minimum']}"
    if isinstance(document, list) and len(document) < schema.get("minItems", 0):
        return "the list is empty"
    return ""


def _object(document: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    known = schema.get("properties", {})
    further = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in document:
            yield place, f"{name!r} is missing"
    for name, value in document.items():
        inner = f"{place}.{name}" if place else name
        if name in known:
            yield from violations(value, known[name], root, inner)
        elif further is False:
            yield place, f"{name!r} is not known"
        elif isinstance(further, dict):
            yield from violations(value, further, root, inner)
