"""What is in an artifact, in three digests: its weights, its graph, its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = ["Content", "ContentDigests", "TensorContent", "combined", "hash_stream", "sha256_of"]

_BLOCK = 2**20


@dataclass(frozen=True)
class ContentDigests:
    """Three sha256: retrained weights change the first, another program the second, anything at all the third.

    Attributes:
        weights: Over the tensors by name, with dtype, shape and values, however the file lays them out; ``None`` where the format does not
            tell them apart.
        graph: Over the program without the values of its tensors, without notes, versions and metadata; ``None`` likewise.
        artifact: Of the file, as ``sha256sum`` shows it; for several files, over the lines of their digests, the one to open first.
    """

    weights: str | None
    graph: str | None
    artifact: str

    def to_dict(self) -> dict[str, str | None]:
        """The digests as plain values, for JSON."""
        return {"weights": self.weights, "graph": self.graph, "artifact": self.artifact}


@dataclass(frozen=True)
class TensorContent:
    """One tensor of a file.

    Attributes:
        dtype: Its dtype's name.
        shape: Its sizes.
        sha256: The digest of its values, little-endian and in row order.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Content:
    """What a format finds in a file.

    Attributes:
        tensors: The weights by name.
        graph: The sha256 of everything else that decides what is computed.
        files: The artifact's files, the one to open first.
    """

    tensors: Mapping[str, TensorContent]
    graph: str
    files: tuple[Path, ...]

    def weights(self) -> str:
        """The digest over all tensors, by name."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            shape = " ".join(map(str, tensor.shape))
            digest.update(f"{name!r} {tensor.dtype} [{shape}] {tensor.sha256}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def sha256_of(files: Iterable[Path]) -> str:
    """The digest of one file, or over the digests of several."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return combined(digests)


def combined(digests: Sequence[str]) -> str:
    """One digest for the digests of several files; that of a single file stays what it is."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{one}\n" for one in digests).encode()).hexdigest()


def hash_stream(file: IO[bytes], length: int) -> str:
    """The sha256 of the next ``length`` bytes, read in blocks.

    Raises:
        ValueError: The file ends before.
    """
    digest = hashlib.sha256()
    while length > 0:
        block = file.read(min(length, _BLOCK))
        if not block:
            raise ValueError("a tensor is longer than its file")
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()
