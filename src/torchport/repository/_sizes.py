"""How many bytes a configured tensor has, and whether a file holds as many."""

from __future__ import annotations

import math
import re
from typing import Any

from torchport.repository._folder import Model, Notes, exists, readable
from torchport.repository._text import Path

__all__ = ["byte_count", "check_bytes", "dtype_name"]


def dtype_name(message: Any, field: str) -> str:
    """The name of an enum's value, or its number where it has none."""
    number = getattr(message, field)
    found = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(number)
    return found.name if found is not None else str(number)


def byte_count(tensor: Any) -> int:
    """The bytes of a tensor with ``data_type`` and fixed ``dims``; 0 for texts, whose length is their own."""
    name = dtype_name(tensor, "data_type")
    digits = re.search(r"\d+$", name)
    bits = int(digits[0]) if digits else 8 if name == "TYPE_BOOL" else 0
    return int(math.prod(tensor.dims)) * bits // 8


def check_bytes(notes: Notes, model: Model, rule: str, said: str, folder: str, name: str, count: int, at: Path) -> None:
    """Whether a file in a folder of the model is there and holds so many bytes."""
    path = model.path / folder / name
    if not exists(path):
        notes.say(rule, model, f"{said}: the file is missing", at=at, found=name, expected=f"{folder}/{name}")
    elif readable(notes, model, path) and (size := path.stat().st_size) < count:
        notes.say(rule, model, f"{said}: the file is too short", at=at, found=f"{size} bytes", expected=f"{count} bytes")
