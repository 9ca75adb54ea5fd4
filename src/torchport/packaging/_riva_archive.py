"""The archive that Riva's builder reads, as far as it is public: a gzipped tar with a manifest beside its files."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

from torchport.errors import ArchiveError

__all__ = ["MANIFEST", "RivaArchive", "read_riva", "write_riva"]

MANIFEST = "manifest.yaml"
_FOLDER = "artifacts/"
_MOST_TEXT = 16 * 2**20
_MOST_MEMBERS = 1000
_MOST_BYTES = 64 * 2**30
_BLOCK = 2**20


@dataclass(frozen=True)
class RivaArchive:
    """What an archive says and holds.

    Attributes:
        metadata: What it says of the model: ``obj_cls``, ``runtime``, …
        files: What it says of each of its files, by name.
        sizes: Bytes of each of its files, by name.
        extracted: Where each file was put, by name; empty where none was asked for.
    """

    metadata: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    sizes: Mapping[str, int]
    extracted: Mapping[str, Path] = field(default_factory=dict)


def write_riva(out: Path, metadata: Mapping[str, Any], files: Mapping[str, tuple[Path | bytes, Mapping[str, Any]]]) -> None:
    """Writes an archive; the same content gives the same bytes.

    Args:
        out: The file to write.
        metadata: What to say of the model.
        files: A file or its content, and what to say of it, by name.
    """
    manifest = {"artifacts": {name: dict(said) for name, (_, said) in files.items()}, "metadata": dict(metadata)}
    text = yaml.safe_dump(manifest, sort_keys=True, allow_unicode=True).encode()
    with (
        out.open("xb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        _add(tar, MANIFEST, text)
        for name in sorted(files):
            _add(tar, _FOLDER + name, files[name][0])


def _add(tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    header = tarfile.TarInfo(name)
    header.mode = 0o644
    if isinstance(content, bytes):
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))
        return
    header.size = content.stat().st_size
    with content.open("rb") as source:
        tar.addfile(header, source)


def read_riva(path: Path | str, folder: Path | None = None) -> RivaArchive:
    """Reads an archive that nobody vouches for: plain files with plain names, capped; encrypted ones are named and not opened.

    Args:
        path: The archive.
        folder: Where to put its files: an empty folder; ``None``: nowhere.

    Returns:
        What it says and holds.

    Raises:
        ArchiveError: It is broken, hostile, or has no manifest that can be read.

    Example:
        >>> read_riva("ctc.experimental.riva").metadata["runtime"]  # doctest: +SKIP
        'ONNX'
    """
    path = Path(path)
    text: bytes | None = None
    sizes: dict[str, int] = {}
    extracted: dict[str, Path] = {}
    try:
        with tarfile.open(path, "r|gz") as tar:
            for count, member in enumerate(tar):
                name = _name(member, path)
                if count >= _MOST_MEMBERS or member.size + sum(sizes.values()) > _MOST_BYTES:
                    raise ArchiveError("the archive holds too much", where=str(path), expected=f"at most {_MOST_MEMBERS} files")
                if member.isdir():
                    continue
                reader = tar.extractfile(member)
                if reader is None or name in sizes or (name == MANIFEST and text is not None):
                    raise ArchiveError("the archive holds a member twice, or one that cannot be read", where=str(path), found=repr(name))
                if name == MANIFEST:
                    if member.size > _MOST_TEXT:
                        raise ArchiveError("the manifest is too large", where=str(path), found=f"{member.size} bytes")
                    text = reader.read()
                    continue
                sizes[name] = member.size
                if folder is not None:
                    extracted[name] = folder / name
                    _copy(reader, extracted[name])
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, OSError) as error:
        raise ArchiveError("no such archive can be read here", where=str(path), found=str(error)[:200]) from error
    if text is None:
        raise ArchiveError("the archive has no manifest", where=str(path), expected=MANIFEST)
    said = _manifest(text, path)
    return RivaArchive(said["metadata"], said["artifacts"], sizes, extracted)


def _name(member: tarfile.TarInfo, path: Path) -> str:
    """A member's name without the folder that all files are in."""
    name = member.name.removeprefix("./").removeprefix(_FOLDER)
    parts = PurePosixPath(name).parts
    plain = (member.isreg() or member.isdir()) and ".." not in parts and not name.startswith("/") and "\\" not in name
    if not plain or len(parts) > 1 or not all(character.isprintable() for character in name):
        if member.isdir() and not parts:
            return name
        raise ArchiveError("the archive holds a member that is no plain file", where=str(path), found=repr(member.name)[:200])
    return name


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("xb") as out:
        while block := source.read(_BLOCK):
            out.write(block)


def _manifest(text: bytes, path: Path) -> dict[str, Any]:
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ArchiveError("the manifest repeats itself by aliases", where=str(path))
        said = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, UnicodeError, ValueError) as error:
        raise ArchiveError("the manifest is no YAML", where=str(path), found=str(error)[:200]) from error
    parts = ("artifacts", "metadata")
    if not isinstance(said, dict) or not all(isinstance(said.get(part), dict) for part in parts):
        raise ArchiveError("the manifest is not of the known kind", where=str(path), expected="artifacts and metadata")
    if not all(isinstance(one, dict) for one in said["artifacts"].values()):
        raise ArchiveError("the manifest is not of the known kind", where=str(path), expected="properties of each artifact")
    return said
