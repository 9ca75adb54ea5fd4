"""Walks over the fields of a protobuf message on disk, so that large ones need not be read.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["LENGTH_DELIMITED", "Field", "encoded", "fields", "mapped", "number_of"]

LENGTH_DELIMITED = 2
"""The wire type of texts, bytes, messages and packed numbers."""


class Field(NamedTuple):
    """Where one field of a message lies in the file.

    Attributes:
        number: The field's number.
        wire: Its wire type.
        key: What stands before its length: number and wire type.
        start: The first byte of its key.
        body: The first byte of its content.
        end: The byte after it.
    """

    number: int
    wire: int
    key: int
    start: int
    body: int
    end: int


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """The file's bytes, which the system reads when they are looked at.

    Raises:
        ValueError: The file is empty.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def fields(data: mmap.mmap, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in ``data[start:end]``.

    Raises:
        ValueError: It is no message, or it is cut short.
    """
    position = start
    while position < end:
        first = position
        key, position = _varint(data, position, end)
        number, wire = key >> 3, key & 7
        body = position
        if wire == LENGTH_DELIMITED:
            length, body = _varint(data, position, end)
            position = body + length
        elif wire == 0:
            _, position = _varint(data, position, end)
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise ValueError("the file is not an ONNX model")
        if position > end:
            raise ValueError("the file is cut short")
        yield Field(number, wire, key, first, body, position)


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("the file is not an ONNX model")


def number_of(data: mmap.mmap, field: Field) -> int:
    """The whole number that a field of wire type 0 holds.

    Raises:
        ValueError: It holds something else.
    """
    if field.wire != 0:
        raise ValueError("the file is not an ONNX model")
    value, _ = _varint(data, field.body, field.end)
    return value


def encoded(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
