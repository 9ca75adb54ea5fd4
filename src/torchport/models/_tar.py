"""Unpacks a tar that may be hostile: plain files only, inside one folder, capped while it is read."""

from __future__ import annotations

import re
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

from torchport.errors import ArchiveError
from torchport.models._tar_stream import Limits, TarStream, opened_tar

__all__ = ["Limits", "member_name", "unpack"]

_CHUNK = 1024**2


def member_name(name: str) -> str:
    """The name of an archive's member, cleaned of a leading ``./``, or a refusal.

    Raises:
        ArchiveError: The name would leave the folder, or is no name on some system.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    reason = None
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        reason = "an absolute name"
    elif ".." in parts:
        reason = "a name that leaves the folder"
    elif "\\" in name or any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        reason = "a name with a backslash or a control character"
    elif any(len(part.encode("utf-8")) > 255 for part in parts):
        reason = "a name too long for a file"
    if reason is not None:
        raise ArchiveError("the archive holds a member with " + reason, found=repr(name)[:200], expected="plain relative names")
    return "/".join(parts)


def unpack(source: Path, folder: Path, limits: Limits, *, want: Callable[[str], bool] | None = None, until: str | None = None) -> list[str]:
    """Unpacks ``source`` into ``folder``.

    Args:
        source: The archive: a tar, plain or gzip.
        folder: An empty folder; nothing is written outside it.
        limits: The caps.
        want: Which members to write, by name; all are checked.
        until: Stop after this member.

    Returns:
        The names of all members seen, cleaned, in their order; folders end with ``/``.

    Raises:
        ArchiveError: Broken, or hostile. What was unpacked up to there is left for the caller to remove with the folder.
    """
    names: list[str] = []
    seen: set[str] = set()
    count = 0
    with opened_tar(source, folder, limits) as (tar, stream):
        while (member := stream.next_member(tar)) is not None:
            count += 1
            if count > limits.members:
                raise ArchiveError("the archive holds too many members", where=str(source), expected=f"at most {limits.members}")
            name = _checked(member, folder, limits, source)
            if not name:
                continue
            names.append(name + "/" if member.isdir() else name)
            folded = unicodedata.normalize("NFC", name).casefold()
            if folded in seen and not member.isdir():
                raise ArchiveError("the archive holds a member twice", where=str(source), found=repr(name))
            seen.add(folded)
            if member.isdir():
                continue
            _write(tar, member, folder / name if want is None or want(name) else None, stream, source)
            if name == until:
                return names
        stream.drain()
    return names


def _checked(member: tarfile.TarInfo, folder: Path, limits: Limits, source: Path) -> str:
    try:
        name = member_name(member.name)
    except ArchiveError as error:
        error.where = str(source)
        raise
    kind = _kind(member)
    if kind is not None:
        raise ArchiveError(
            f"the archive holds {kind}", where=str(source), found=repr(member.name)[:200], expected="plain files and folders"
        )
    if name.count("/") > limits.depth:
        raise ArchiveError(
            "the archive nests folders too deeply", where=str(source), found=repr(name)[:200], expected=f"at most {limits.depth} levels"
        )
    if member.size < 0 or member.size > limits.total_bytes:
        raise ArchiveError(
            "the archive declares an impossible size",
            where=f"{source}: {name}",
            found=f"{member.size} bytes",
            expected=f"at most {limits.total_bytes}",
        )
    try:  # the standard library's own opinion, as a second one
        tarfile.data_filter(member, str(folder))
    except tarfile.FilterError as error:
        raise ArchiveError("the archive holds an unsafe member", where=str(source), found=str(error)) from error
    return name


def _kind(member: tarfile.TarInfo) -> str | None:
    """What a member is in words, where it is neither a plain file nor a folder."""
    if member.issym():
        return "a symbolic link"
    if member.islnk():
        return "a hard link"
    if member.isfifo():
        return "a named pipe"
    if member.isdev():
        return "a device"
    if member.issparse():
        return "a sparse file"
    if not (member.isreg() or member.isdir()):
        return f"a member of unknown kind {member.type!r}"
    return None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path | None, stream: TarStream, source: Path) -> None:
    stream.expect(member)
    reader = tar.extractfile(member)
    assert reader is not None  # the member is a plain file
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    left = member.size
    with target.open("xb") if target is not None else _Nowhere() as out:
        while left:
            block = reader.read(min(_CHUNK, left))
            if not block:
                raise ArchiveError(
                    "the archive is cut short", where=f"{source}: {member.name}", found=f"{left} of {member.size} bytes missing"
                )
            out.write(block)
            left -= len(block)


class _Nowhere:
    def __enter__(self) -> _Nowhere:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write(self, block: bytes) -> int:
        return len(block)
