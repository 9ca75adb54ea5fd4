"""Where the weights beside an ONNX file lie, read as if the file were hostile: nowhere but in its own folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

__all__ = ["Beside", "beside"]


class Beside(NamedTuple):
    """The bytes of one weight.

    Attributes:
        file: The file that holds them.
        offset: Where they begin.
        length: How many they are.
    """

    file: Path
    offset: int
    length: int


def beside(path: Path, entries: Mapping[str, str]) -> Beside:
    """What the ``external_data`` entries of a tensor point to.

    Args:
        path: The ONNX file.
        entries: ``location``, ``offset`` and ``length``, as the file states them.

    Raises:
        ValueError: They point out of the file's folder, to a link, to nothing, or before the start.
    """
    location = entries.get("location", "")
    if PurePosixPath(location).name != location or location in ("", ".", ".."):
        raise ValueError(f"the file wants weights from outside its folder: {location!r}")
    file = path.parent / location
    if file.is_symlink() or not file.is_file():
        raise ValueError(f"the file wants weights from {location!r}, which is not there")
    offset = int(entries.get("offset", 0))
    length = int(entries.get("length", file.stat().st_size - offset))
    if offset < 0 or length < 0:
        raise ValueError(f"the file wants weights from before the start of {location!r}")
    return Beside(file, offset, length)
