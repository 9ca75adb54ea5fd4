"""The metadata document: what a model states becomes one, and the text in a file is read as if a stranger had written it."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from torchport._json_schema import violations
from torchport._strict_json import strict_json
from torchport.errors import MetadataError

__all__ = ["KEY", "VERSION", "as_document", "format_metadata", "metadata_schema", "parse_metadata", "stated_metadata"]

KEY = "torchport.metadata"
"""Where a file keeps it: in ONNX ``metadata_props``, in the extra record of TorchScript and of ``.pt2``."""

VERSION = 1
"""The version of the layout; a document of another one is refused."""


@functools.cache
def metadata_schema() -> dict[str, Any]:
    """The published JSON Schema of the document."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("metadata-1.schema.json").read_text(encoding="utf-8"))
    return found


def as_document(stated: Mapping[str, Any], *, inputs: Collection[str], outputs: Collection[str], where: str) -> dict[str, Any]:
    """What a model states, as a document: the version filled in, tuples turned to lists, everything held against the schema.

    Args:
        stated: What the model says, by the keys of the schema.
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        where: Who says it, for messages.

    Raises:
        MetadataError: A key is unknown, a value is no JSON or of the wrong kind, or a port that is named is none of the graph's.

    Example:
        >>> as_document({"sample_rate": 16000}, inputs=["x"], outputs=["y"], where="Tagger.export_metadata")
        {'version': 1, 'sample_rate': 16000}
    """
    try:
        text = json.dumps({"version": VERSION, **stated}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MetadataError("the metadata are no JSON", where=where, found=str(error)[:200]) from error
    document: dict[str, Any] = json.loads(text)
    _check(document, where)
    for place, name, names in _ports_named(document, list(inputs), list(outputs)):
        if name not in names:
            raise MetadataError(
                "the metadata name a port that the graph does not have", where=f"{where}: {place}", found=name, expected=", ".join(names)
            )
    return document


def format_metadata(document: Mapping[str, Any]) -> str:
    """The document as a file holds it: the same text for the same document."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def parse_metadata(text: str, *, where: str) -> dict[str, Any]:
    """Reads the text that a file holds.

    Args:
        text: The text.
        where: The file, for messages.

    Raises:
        MetadataError: It is no JSON, breaks the schema, or is of a version that is not known.
    """
    try:
        document = strict_json(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError("the metadata are no JSON", where=where, found=str(error)[:200]) from error
    if not isinstance(document, dict):
        raise MetadataError("the metadata are no object", where=where, found=type(document).__name__)
    if type(document.get("version", VERSION)) is not int or document.get("version", VERSION) != VERSION:
        raise MetadataError(
            "the metadata have a layout that is not known here",
            where=where,
            found=f"version {document['version']!r}"[:80],
            expected=f"version {VERSION}",
            hint="read them with the torchport that wrote them, or a later one",
        )
    _check(document, where)
    return document


def stated_metadata(properties: Mapping[str, str], *, where: str) -> dict[str, Any] | None:
    """The document among a file's properties; ``None`` where there is none.

    Raises:
        MetadataError: There is one, and it is broken.
    """
    return parse_metadata(properties[KEY], where=where) if KEY in properties else None


def _check(document: Mapping[str, Any], where: str) -> None:
    for place, message in violations(document, metadata_schema()):
        unknown = message.split("'")[1] if message.endswith("is not known") else ""
        near = difflib.get_close_matches(unknown, metadata_schema()["properties"], n=1) if unknown else []
        raise MetadataError(
            "the metadata break their schema",
            where=f"{where}: {place}" if place else where,
            found=message,
            hint=f"did you mean {near[0]!r}?" if near else "put what the schema has no name for under 'extra'" if unknown else None,
        )


def _ports_named(document: Mapping[str, Any], inputs: list[str], outputs: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Every port that the document names: where it does, the name, and the names that it may be."""
    for role, name in document.get("ports", {}).items():
        yield f"ports.{role}", name, [*inputs, *outputs]
    for place, state in enumerate(document.get("states", ())):
        yield f"states[{place}].input", state["input"], inputs
        yield f"states[{place}].output", state["output"], outputs
