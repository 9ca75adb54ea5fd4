"""A tar's bytes, read forward once: plain or gzip, with caps on what is unpacked and on what a header may take."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from torchport.errors import ArchiveError

__all__ = ["Limits", "TarStream", "opened_tar"]

_CHUNK = 1024**2
_HEADER_BYTES = 1024**2
"""What one member's headers may take, long names and extended attributes included."""

_SMALL = 256 * 1024**2
"""What a compressed archive may unpack to, however small it is: tiny models compress well."""

_FOREIGN = {
    b"PK\x03\x04": "a zip file: a bare torch checkpoint, perhaps",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstandard",
    b"version https://git-lfs": "a Git LFS pointer: the file itself was never fetched",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}


@dataclass(frozen=True)
class Limits:
    """Caps for reading one archive; they stop bombs, real checkpoints stay far below.

    Attributes:
        members: Files and folders in it.
        total_bytes: Everything in it, unpacked.
        expansion: How much larger than a compressed archive its content may be.
        depth: Folders above a file.
    """

    members: int = 4096
    total_bytes: int = 256 * 1024**3
    expansion: int = 20
    depth: int = 8


class _StrictInfo(tarfile.TarInfo):
    """A header that cannot be read is an error; tarfile takes it for the archive's end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the two blocks of zeros at the end
            raise
        except tarfile.HeaderError as error:
            if tarfile_.offset == 0:
                raise ArchiveError("the file is not a tar archive", found=str(error)) from error
            raise ArchiveError("the archive is cut short, or broken between two members", found=str(error)) from error


class TarStream:
    """The tar's bytes, read forward once, with a budget for every step.

    tarfile reads a header of the size that the header declares into memory; the budget is what keeps that small.
    """

    def __init__(self, raw: BinaryIO | gzip.GzipFile, limits: Limits, cap: int, size: int | None, source: Path) -> None:
        self._raw = raw
        self._cap = cap
        self._size = size
        self._source = source
        self._limits = limits
        self._total = 0
        self._budget = _HEADER_BYTES + 2 * _CHUNK

    def next_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        """The next member's header, or ``None`` at the archive's end."""
        self._budget = self._total + _HEADER_BYTES + 2 * _CHUNK
        return tar.next()

    def expect(self, member: tarfile.TarInfo) -> None:
        """Makes room for a member's content, if the file can hold it at all."""
        end = member.offset_data + member.size
        if self._size is not None and end > self._size:
            raise ArchiveError(
                "the archive is cut short",
                where=f"{self._source}: {member.name}",
                found=f"{member.size} bytes declared, the file ends {end - self._size} bytes too early",
            )
        self._budget = self._total + member.size + 2 * _CHUNK

    def read(self, size: int) -> bytes:
        """What tarfile calls; it never asks for more than a chunk."""
        if self._total >= self._budget:
            raise ArchiveError(
                "the archive's headers have no end", where=str(self._source), expected=f"at most {_HEADER_BYTES} bytes a member"
            )
        block = self._raw.read(size)
        self._count(block)
        return block

    def drain(self) -> None:
        """Reads what follows the tar, so that a compressed one's own checksum is checked."""
        if isinstance(self._raw, gzip.GzipFile):
            while block := self._raw.read(_CHUNK):
                self._count(block)

    def _count(self, block: bytes) -> None:
        self._total += len(block)
        if self._total > self._cap:
            raise ArchiveError(
                "the archive unpacks to too much",
                where=str(self._source),
                found=f"more than {self._cap} bytes",
                expected=f"at most {self._limits.total_bytes} bytes, {self._limits.expansion} times a compressed file, and the free disk",
            )


@contextmanager
def opened_tar(source: Path, folder: Path, limits: Limits) -> Iterator[tuple[tarfile.TarFile, TarStream]]:
    """Opens a tar for one pass, and turns every error of reading it into one of ours.

    Args:
        source: The file.
        folder: Where its content will go; the free disk there is a cap too.
        limits: The caps.

    Raises:
        ArchiveError: It is broken, cut short, too much, or no tar at all.
    """
    try:
        with source.open("rb") as file:
            start = file.read(32)
            file.seek(0)
            size = source.stat().st_size
            free = shutil.disk_usage(folder).free * 9 // 10
            if size > free:
                raise ArchiveError(
                    "the disk for temporary files has no room to unpack the archive",
                    where=str(source),
                    found=f"{free} bytes free in {folder.parent}",
                    expected=f"{size}",
                    hint="set TMPDIR to a folder on a larger disk",
                )
            cap = min(limits.total_bytes, free)
            packed = start.startswith(b"\x1f\x8b")
            if packed:
                cap = min(cap, max(limits.expansion * size, _SMALL))
            _refuse_foreign(start, source)
            raw = gzip.GzipFile(fileobj=file, mode="rb") if packed else file
            stream = TarStream(raw, limits, cap, None if packed else size, source)
            only_read: Any = stream  # the one method of a file that a streamed tar uses
            with tarfile.open(fileobj=only_read, mode="r|", bufsize=_CHUNK, tarinfo=_StrictInfo) as tar:
                yield tar, stream
    except ArchiveError as error:
        error.where = error.where or str(source)
        raise
    except tarfile.ReadError as error:
        cut = "unexpected end of data" in str(error) or "truncated" in str(error)
        raise ArchiveError(
            "the archive is cut short" if cut else "the file is not a tar archive", where=str(source), found=str(error)
        ) from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, RecursionError, ValueError, OverflowError) as error:
        raise ArchiveError("the archive is broken", where=str(source), found=f"{type(error).__name__}: {error}") from error
    except OSError as error:  # no permission, a full disk, a file and a folder of one name
        raise ArchiveError(
            "the archive cannot be unpacked", where=str(source), found=f"{type(error).__name__}: {error.strerror}"
        ) from error


def _refuse_foreign(start: bytes, source: Path) -> None:
    if not start:
        raise ArchiveError("the file is empty", where=str(source), expected="a tar archive, plain or gzip")
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise ArchiveError("the file is not a tar archive", where=str(source), found=what, expected="a tar archive, plain or gzip")
