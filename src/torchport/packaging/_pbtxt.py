"""Writes protobuf's text format, as far as a model's configuration needs it.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Union

__all__ = ["Message", "Word", "format_message"]


@dataclass(frozen=True)
class Word:
    """A word that stands without quotes: the name of an enum's value."""

    text: str


Value = Union[str, int, bool, Word, "Message", Sequence["Value"]]
Message = Mapping[str, Value]
"""Fields by name. A list of numbers or words is written in one line, a list of messages as one message after the other."""


def format_message(message: Message) -> str:
    """The text of a message.

    Example:
        >>> print(format_message({"name": "m", "input": [{"data_type": Word("TYPE_FP32"), "dims": [-1, 80]}]}), end="")
        name: "m"
        input {
          data_type: TYPE_FP32
          dims: [-1, 80]
        }
    """
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Message) -> Iterator[str]:
    for name, value in message.items():
        many = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else None
        if many is not None and not any(isinstance(one, Mapping) for one in many):
            yield f"{name}: [{', '.join(_scalar(one) for one in many)}]"
            continue
        for one in [value] if many is None else many:
            if isinstance(one, Mapping):
                yield f"{name} {{"
                yield from (f"  {line}" for line in _lines(one))
                yield "}"
            else:
                yield f"{name}: {_scalar(one)}"


def _scalar(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Word):
        return value.text
    if isinstance(value, str):
        return '"' + "".join(_letter(byte) for byte in value.encode("utf-8", "surrogateescape")) + '"'
    return str(value)


def _letter(byte: int) -> str:
    letter = chr(byte)
    return f"\\{letter}" if letter in '"\\' else letter if 32 <= byte < 127 else f"\\{byte:03o}"
