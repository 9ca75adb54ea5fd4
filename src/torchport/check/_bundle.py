"""Checks a bundle: who vouches for it, every file, what each artifact is, and the golden answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchport.check._artifact import Changed, artifact_problems
from torchport.check._files import changed_blocks
from torchport.check._manifest import MANIFEST, SIGNATURE, read_manifest
from torchport.check._replay import replay
from torchport.check._report import Problem, Replayed, Report
from torchport.check._signing import Signer, read_signature
from torchport.errors import BundleError

__all__ = ["check"]


def check(directory: str | os.PathLike[str], *, signer: Signer | None = None) -> Report:
    """Proves a bundle again where it is: numpy and ONNX Runtime suffice for ONNX; the other formats need torch.

    A file that was changed is named, and is never run. The artifacts that are what they were answer every golden case again.

    Args:
        directory: The bundle.
        signer: Whose signature the manifest must carry; without one, a signature is not looked at, and that is noted.

    Returns:
        The report; it may hold problems.

    Raises:
        BundleError: There is no bundle, or its manifest cannot be read.

    Example:
        >>> check("tagger.bundle").raise_if_broken()  # doctest: +SKIP
    """
    directory = Path(os.fspath(directory))
    manifest, content = read_manifest(directory)
    problems: list[Problem] = []
    notes: list[str] = []
    replayed: list[Replayed] = []
    problems.extend(_signature_problems(directory, manifest, content, signer, notes))
    changed = _changed(directory, manifest, problems)
    for artifact in manifest["artifacts"]:
        found = artifact_problems(directory, artifact, changed)
        problems.extend(found)
        touched = [path for path in artifact["files"] if path in changed]
        if found or touched:
            notes.append(f"{artifact['files'][0]} was not run: it is not the file that was packaged")
            continue
        answered, wrong = replay(directory, artifact, changed, notes)
        replayed.extend(answered)
        problems.extend(wrong)
        if artifact["goldens"]["from"] == "artifact":
            notes.append(
                f"{artifact['files'][0]}: the golden outputs are its own, from when it was packaged: they show that it is unchanged"
            )
        elif artifact["proof"] is None:
            notes.append(f"{artifact['files'][0]} was never proved over its axes: it was exported with verify=False")
    artifacts = {path for artifact in manifest["artifacts"] for path in artifact["files"]}
    problems.extend(
        Problem("bytes", path, "the file was changed", found=one.text())
        for path, one in changed.items()
        if path not in artifacts and not one.missing
    )
    return Report(str(directory), tuple(problems), tuple(replayed), tuple(dict.fromkeys(notes)))


def _signature_problems(
    directory: Path, manifest: Mapping[str, Any], content: bytes, signer: Signer | None, notes: list[str]
) -> list[Problem]:
    said = manifest["signer"]
    if signer is None:
        notes.append(
            f"the signature ({said}) was not checked: no key was given"
            if said
            else "the manifest is not signed: whoever can change the files can change it, too"
        )
        return []
    try:
        name, signature = read_signature(directory / SIGNATURE)
    except BundleError as error:
        return [Problem("signature", SIGNATURE, error.message, f"a signature of {signer.name}", str(error.found))]
    if name != signer.name:
        return [Problem("signature", SIGNATURE, "the signature is of another kind", signer.name, repr(name))]
    if not signer.verify(content, signature):
        return [Problem("signature", MANIFEST, "the signature is not one of this manifest by this key")]
    return []


def _changed(directory: Path, manifest: Mapping[str, Any], problems: list[Problem]) -> dict[str, Changed]:
    """The files that are not those of the manifest; missing and unlisted ones are problems at once."""
    changed: dict[str, Changed] = {}
    for entry in manifest["files"]:
        path = directory / entry["path"]
        inside = not any(part.is_symlink() for part in (path, *path.parents) if part != directory and part.is_relative_to(directory))
        if not inside or not path.is_file():
            problems.append(Problem("files", entry["path"], "a file is missing" if inside else "a file was replaced by a link"))
            changed[entry["path"]] = Changed(missing=True)
            continue
        ranges = changed_blocks(path, entry)
        if ranges is None:
            changed[entry["path"]] = Changed(sizes=(entry["bytes"], path.stat().st_size))
        elif ranges:
            changed[entry["path"]] = Changed(ranges=tuple(ranges))
    listed = {entry["path"] for entry in manifest["files"]} | {MANIFEST} | ({SIGNATURE} if manifest["signer"] else set())
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if name not in listed and (path.is_symlink() or not path.is_dir()):
            problems.append(Problem("files", name, "a file is there that the manifest does not list"))
    return changed
