"""A PyTorch archive as a working copy: tensors as ranges of bytes, small records edited in a copy."""

from __future__ import annotations

import contextlib
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from torchport.emit._archive import rewrite

__all__ = ["FLOATS", "Archive", "is_dense"]

FLOATS: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
"""The dtypes whose weights are mutated, by torch's names."""

Edit = Callable[[dict[str, bytes]], None]
"""Changes the small records in place."""


class Archive:
    """A copy of an archive, every record of it uncompressed.

    Args:
        source: The artifact.
        directory: Where the copy and the mutants are made.
        is_small: Whether a record (named below the archive's root) is one that edits see.
    """

    def __init__(self, source: Path, directory: Path, is_small: Callable[[str], bool]) -> None:
        self.file = directory / f"unchanged{source.suffix}"
        self._mutant = directory / f"mutant{source.suffix}"
        self._is_small = is_small
        rewrite(source, self.file, is_small=is_small, edit=lambda records: records)

    @cached_property
    def records(self) -> dict[str, tuple[int, int]]:
        """Record to the offset and the length of its bytes in the file."""
        places = {}
        with zipfile.ZipFile(self.file) as archive, self.file.open("rb") as file:
            for info in archive.infolist():
                file.seek(info.header_offset + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                places[info.filename.partition("/")[2]] = (info.header_offset + 30 + name + extra, info.file_size)
        return places

    def read(self, record: str) -> bytes:
        """The bytes of a record."""
        offset, length = self.records[record]
        with self.file.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    @contextlib.contextmanager
    def edited(self, edit: Edit) -> Iterator[Sequence[Path]]:
        """A copy with other small records, as long as the context lasts."""

        def change(records: dict[str, bytes]) -> dict[str, bytes]:
            edit(records)
            return records

        try:
            rewrite(self.file, self._mutant, is_small=self._is_small, edit=change)
            yield (self._mutant,)
        finally:
            self._mutant.unlink(missing_ok=True)


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a tensor fills one stretch of its storage, in whatever order of its axes.

    Example:
        >>> is_dense((2, 3), (3, 1)), is_dense((2, 3), (1, 2)), is_dense((2, 3), (6, 2))
        (True, True, False)
    """
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
