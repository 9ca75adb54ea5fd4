"""The bytes of a file in digests: of the whole, and of its blocks, which tell where it was damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["changed_blocks", "describe_file"]

_BLOCKS = 64
_SMALLEST = 64
_DIGITS = 16


def describe_file(path: Path, name: str) -> dict[str, Any]:
    """The manifest's entry of a file.

    Args:
        path: The file.
        name: Its path in the bundle.
    """
    size = path.stat().st_size
    block = _SMALLEST
    while block * _BLOCKS < size:
        block *= 2
    sha256, blocks = _digests(path, block)
    return {"path": name, "bytes": size, "sha256": sha256, "block_bytes": block, "blocks": blocks}


def _digests(path: Path, block: int) -> tuple[str, list[str]]:
    whole = hashlib.sha256()
    blocks: list[str] = []
    step = min(block, 2**20)  # every size of a block is a power of two
    with path.open("rb") as file:
        part, taken = hashlib.sha256(), 0
        while content := file.read(step):
            whole.update(content)
            part.update(content)
            taken += len(content)
            if taken >= block:
                blocks.append(part.hexdigest()[:_DIGITS])
                part, taken = hashlib.sha256(), 0
        if taken:
            blocks.append(part.hexdigest()[:_DIGITS])
    return whole.hexdigest(), blocks


def changed_blocks(path: Path, entry: Mapping[str, Any]) -> list[tuple[int, int]] | None:
    """The ranges of bytes that are not those of the manifest.

    Args:
        path: The file.
        entry: Its entry in the manifest.

    Returns:
        First byte and the byte after the last; none: the file is as it was. ``None``: it has another size.
    """
    size = path.stat().st_size
    block = entry["block_bytes"]
    if size != entry["bytes"]:
        return None
    sha256, blocks = _digests(path, block)
    if sha256 == entry["sha256"]:
        return []
    changed = [index for index, (one, other) in enumerate(zip(blocks, entry["blocks"], strict=False)) if one != other]
    ranges = [(index * block, min((index + 1) * block, size)) for index in changed]
    return ranges or [(0, size)]
