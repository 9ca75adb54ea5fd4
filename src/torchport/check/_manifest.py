"""The manifest of a bundle: its published schema, and the reader that holds a file against it as if it were hostile."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from torchport._json_schema import violations
from torchport._strict_json import strict_json
from torchport.errors import BundleError

__all__ = ["MANIFEST", "MANIFEST_VERSION", "SIGNATURE", "manifest_schema", "parse_manifest", "read_manifest"]

MANIFEST = "manifest.json"
"""The manifest's name in a bundle."""

SIGNATURE = "manifest.sig"
"""Who vouches for the manifest: the one file beside it that it does not list."""

MANIFEST_VERSION = 1
"""The version of the manifest's layout; a manifest of another one is refused."""

_VERSION = "torchport_bundle"
_LARGEST = 2**26


@functools.cache
def manifest_schema() -> dict[str, Any]:
    """The published JSON Schema of the manifest."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("bundle-1.schema.json").read_text(encoding="utf-8"))
    return found


def read_manifest(directory: Path) -> tuple[dict[str, Any], bytes]:
    """The manifest of a bundle, and its bytes.

    Args:
        directory: The bundle.

    Raises:
        BundleError: There is none, or it is not laid out as its schema says; the message says where it is wrong.
    """
    path = Path(directory) / MANIFEST
    try:
        if path.is_symlink() or not path.is_file():
            raise BundleError(
                "this is no bundle: it has no manifest", stage="check", where=str(directory), expected=f"a folder with {MANIFEST}"
            )
        if path.stat().st_size > _LARGEST:
            raise BundleError("the manifest is too large", stage="check", where=str(path), expected=f"{_LARGEST} bytes at most")
        content = path.read_bytes()
    except OSError as error:
        raise BundleError("the manifest cannot be read", stage="check", where=str(path), found=error.strerror) from error
    return parse_manifest(content, where=str(path)), content


def parse_manifest(content: bytes, *, where: str = MANIFEST) -> dict[str, Any]:
    """Reads a manifest; see `read_manifest`.

    Args:
        content: The file's bytes.
        where: The file, for messages.
    """
    try:
        document = strict_json(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError("the manifest is no JSON", stage="check", where=where, found=str(error)[:200]) from error
    version = document.get(_VERSION) if isinstance(document, dict) else None
    if type(version) is not int:
        raise BundleError("the file is no manifest of a bundle", stage="check", where=where, expected=f"{_VERSION!r}: {MANIFEST_VERSION}")
    if version != MANIFEST_VERSION:
        raise BundleError(
            "the manifest has a layout that is not known here",
            stage="check",
            where=where,
            found=f"version {version}",
            expected=f"version {MANIFEST_VERSION}",
            hint="check it with the torchport that wrote it, or a later one",
        )
    for place, message in violations(document, manifest_schema()):
        raise BundleError("the manifest breaks its schema", stage="check", where=f"{where}: {place or 'the whole'}", found=message)
    for place, message in _contradictions(document):
        raise BundleError("the manifest contradicts itself", stage="check", where=f"{where}: {place}", found=message)
    return dict(document)


def _contradictions(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a schema cannot say: paths stay inside, and whatever is named is listed once."""
    listed = [entry["path"] for entry in document["files"]]
    for place, path in enumerate(listed):
        parts = PurePosixPath(path).parts
        if path.startswith("/") or "\\" in path or "\0" in path or ".." in parts or PurePosixPath(path).as_posix() != path:
            yield f"files[{place}].path", f"a path that leads out of the bundle: {path!r}"
        if path in (MANIFEST, SIGNATURE) or listed.count(path) > 1:
            yield f"files[{place}].path", f"{path!r} cannot be listed, or is twice"
    names = [artifact["name"] for artifact in document["artifacts"]]
    for place, artifact in enumerate(document["artifacts"]):
        where = f"artifacts[{place}]"
        if names.count(artifact["name"]) > 1:
            yield f"{where}.name", f"{artifact['name']!r} is there twice"
        for path in artifact["files"]:
            if path not in listed:
                yield f"{where}.files", f"{path!r} is not listed"
        outputs = {port["name"] for port in artifact["outputs"]}
        for number, case in enumerate(artifact["goldens"]["cases"]):
            for part in ("inputs", "outputs"):
                if case[part] not in listed:
                    yield f"{where}.goldens.cases[{number}].{part}", f"{case[part]!r} is not listed"
            if set(case["tolerances"]) != outputs:
                yield f"{where}.goldens.cases[{number}].tolerances", "not one tolerance for each output"
