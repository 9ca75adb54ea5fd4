"""A bundle where the command line asks for an artifact: the artifacts that its manifest lists."""

from __future__ import annotations

from pathlib import Path

from torchport.errors import BundleError, OptionError

__all__ = ["bundled", "one_artifact"]


def bundled(folder: Path, where: str) -> dict[str, Path]:
    """The artifacts of a bundle by name, each the file to open.

    Args:
        folder: The bundle.
        where: What the command line calls it.

    Raises:
        OptionError: The folder is no bundle, or lacks a file that its manifest lists.
        BundleError: The manifest is broken.
    """
    from torchport.check import MANIFEST, read_manifest

    if not (folder / MANIFEST).is_file():
        raise OptionError(
            "the folder is no bundle",
            stage="load",
            where=where,
            found=str(folder),
            expected=f"an artifact, or a folder with {MANIFEST}",
            hint="torchport check-repository looks at a model repository",
        )
    manifest, _ = read_manifest(folder)
    found = {str(artifact["name"]): folder / artifact["files"][0] for artifact in manifest["artifacts"]}
    for path in found.values():
        if not path.is_file():
            raise BundleError("the bundle lacks an artifact that its manifest lists", stage="load", where=str(path))
    return found


def one_artifact(path: Path, where: str) -> Path:
    """The artifact itself; of a bundle with one artifact, that one.

    Raises:
        OptionError: There is no such file, or the bundle holds several artifacts.
        BundleError: The manifest is broken.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise OptionError("there is no such artifact", stage="load", where=where, found=str(path))
    found = bundled(path, where)
    if len(found) > 1:
        raise OptionError(
            "the bundle holds several artifacts", stage="load", where=where, found=str(path), expected=" or ".join(map(str, found.values()))
        )
    return next(iter(found.values()))
