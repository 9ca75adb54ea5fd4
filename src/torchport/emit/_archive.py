"""Rewrites PyTorch's zip archives: no clock, no source paths, no random ids, same bytes for the same content.

PyTorch reads tensors in place: every record is stored uncompressed and starts at a multiple of 64 bytes, padded through an extra field of
the local header.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

__all__ = ["EXTRA", "holds_weights_alone", "read_extra", "rewrite"]

EXTRA = "torchport.json"
"""The record with what the file says about itself."""

_ROOT = "archive"
_ALIGN = 64
_LOCAL_HEADER = 30
_ZIP64_EXTRA = 20
_EPOCH = (1980, 1, 1, 0, 0, 0)

Edit = Callable[[dict[str, bytes]], Mapping[str, bytes]]
"""Takes the small records by name, gives back those to write."""


def rewrite(source: Path, target: Path, *, is_small: Callable[[str], bool], edit: Edit) -> None:
    """Copies an archive, its small records through ``edit``, its tensors streamed.

    Args:
        source: What PyTorch wrote.
        target: The file to write.
        is_small: Whether a record (named below the archive's root) goes through ``edit``.
        edit: Changes, renames or drops small records.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        root = old.namelist()[0].split("/", 1)[0]
        infos = {info.filename.removeprefix(f"{root}/"): info for info in old.infolist()}
        small = {name: old.read(info) for name, info in infos.items() if is_small(name) and name != ".data/serialization_id"}
        edited = dict(edit(small))
        for name in _in_order(edited):
            with _record(new, name, len(edited[name])) as record:
                record.write(edited[name])
        for name, info in infos.items():
            if is_small(name) or name == ".data/serialization_id":
                continue
            with old.open(info) as content, _record(new, name, info.file_size) as record:
                shutil.copyfileobj(content, record, 2**20)
        identity = _identity(new.infolist())
        with _record(new, ".data/serialization_id", len(identity)) as record:
            record.write(identity)


def _in_order(names: Iterable[str]) -> list[str]:
    """One order for every file; the pickle that everything hangs on comes first."""
    return sorted(names, key=lambda name: (name != "data.pkl", name))


def _record(archive: zipfile.ZipFile, name: str, size: int) -> zipfile._ZipWriteHandle:  # type: ignore[name-defined]
    full = f"{_ROOT}/{name}"
    info = zipfile.ZipInfo(full, _EPOCH)
    info.file_size = size
    info.external_attr = 0o644 << 16
    info.create_system = 3
    large = size * 1.05 > zipfile.ZIP64_LIMIT
    start = archive.start_dir + _LOCAL_HEADER + len(full.encode()) + (_ZIP64_EXTRA if large else 0) + 4
    padding = -start % _ALIGN
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    return archive.open(info, "w")


def _identity(records: list[zipfile.ZipInfo]) -> bytes:
    """Forty digits from the records' names and checksums, in place of PyTorch's random ones."""
    text = json.dumps([(one.filename, one.file_size, one.CRC) for one in records])
    return str(int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10**40).zfill(40).encode()


def read_extra(path: Path) -> dict[str, str]:
    """What an archive says about itself; empty where torchport did not write it."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith(f"/extra/{EXTRA}") and info.file_size <= 2**24:
                found = json.loads(archive.read(info))
                return {str(key): str(value) for key, value in found.items()}
    return {}


def holds_weights_alone(path: Path) -> bool:
    """Whether it is what ``torch.save`` writes, a checkpoint with no program in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    return "data.pkl" in names and "constants.pkl" not in names
