"""Reads the text of a configuration: its fields, where each of them stands, and what is wrong with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from google.protobuf import text_format

from torchport.repository._schema import new_config

__all__ = ["Broken", "Config", "Path", "Place", "parse_config"]

_QUOTED = re.compile(r"""\"(?:\\.|[^"\\\n])*\"|'(?:\\.|[^'\\\n])*'|#[^\n]*""")
_ESCAPE, _ESCAPES = re.compile(r"\\(.)"), set("abfnrtv\\'\"?01234567xuUX")
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_APART = re.compile(f"({_QUOTED.pattern})|-([ \t]+)(?=[0-9.])")
"""A minus sign apart from its number, which only the parser in C++ takes; it is moved, so that every place stays."""

Path = tuple[str | int, ...]
"""Where a field stands: ``("input", 0, "dims")``."""


class Place(NamedTuple):
    """A line and a column, from 1; both 0 where nobody knows."""

    line: int
    column: int


@dataclass(frozen=True)
class Broken:
    """A text that is no configuration.

    Attributes:
        message: What is wrong.
        place: Where.
        encoded: Whether it is a matter of encoding alone.
    """

    message: str
    place: Place
    encoded: bool = False


@dataclass(frozen=True)
class Config:
    """A configuration.

    Attributes:
        message: Its fields, as protobuf's message.
        places: Where the fields stand.
        keys: Keys of maps that stand more than once, with the place of the last one.
    """

    message: Any
    places: dict[Path, Place] = field(default_factory=dict)
    keys: tuple[tuple[str, Place], ...] = ()

    def place(self, path: Path) -> Place:
        """Where a field stands, or the nearest one around it that is written."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(0, 0))

    def states(self, name: str) -> bool:
        """Whether the text says anything of a field, even that it is 0."""
        return any(path[0] == name for path in self.places)


def parse_config(content: bytes) -> Config | Broken:
    """Reads a configuration; nothing that a file may hold raises."""
    text = content.decode("utf-8", "surrogateescape")
    if text.startswith("\ufeff"):
        return Broken("the text begins with a byte order mark, which the server does not take", Place(1, 1))
    text = _APART.sub(lambda found: found[0] if found[1] else f"{found[2]}-", text)
    if (broken := _wrong_escape(text)) is not None:
        return broken
    config = new_config()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        return Broken(_words(error), _place(error), encoded=_first_foreign(text) is not None and "codec can't" in str(error))
    except (ValueError, RecursionError, SystemError) as error:  # protobuf 7.36 looks enums up by names that it cannot encode
        return Broken(f"the text cannot be read: {type(error).__name__}", _first_foreign(text) or Place(1, 1))
    if (broken := _foreign_letter(text)) is not None:
        return broken
    places: dict[Path, Place] = {}
    tokens = text_format.Tokenizer(text.split("\n"))
    keys = Counter[tuple[Path, str]]()
    doubled: list[tuple[str, Place]] = []
    for path, place, value in _fields(tokens, (), ""):
        places.setdefault(path, place)
        if path[-1] == "key" and value:
            owner = path[:-2]
            keys[owner, value] += 1
            if keys[owner, value] > 1:
                doubled.append((f"{'.'.join(str(part) for part in owner)}: {value}", place))
    return Config(config, places, tuple(doubled))


def _wrong_escape(text: str) -> Broken | None:
    """An escape that the server's parser, which is the one in C++, does not know; the one in Python lets it pass, with a warning."""
    for quoted in _QUOTED.finditer(text):
        if not quoted[0].startswith("#"):
            for escape in _ESCAPE.finditer(quoted[0]):
                if escape[1] not in _ESCAPES:
                    return Broken(f"there is no escape {escape[0]}", _place_of(text, quoted.start() + escape.start()))
    return None


def _foreign_letter(text: str) -> Broken | None:
    """Spaces and digits of other scripts, which the parser in Python takes for such."""
    start = 0
    for quoted in (*_QUOTED.finditer(text), None):
        end = len(text) if quoted is None else quoted.start()
        if (letter := _FOREIGN.search(text, start, end)) is not None:
            return Broken("a letter that is no ASCII stands outside of quotes", _place_of(text, letter.start()))
        start = end if quoted is None else quoted.end()
    return None


def _place_of(text: str, place: int) -> Place:
    return Place(text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place))


def _first_foreign(text: str) -> Place | None:
    """Where the first byte stands that is not UTF-8."""
    for line, content in enumerate(text.split("\n"), start=1):
        for column, letter in enumerate(content, start=1):
            if "\udc80" <= letter <= "\udcff":
                return Place(line, column)
    return None


def _place(error: text_format.ParseError) -> Place:
    return Place(error.GetLine() or 1, error.GetColumn() or 1)


def _words(error: text_format.ParseError) -> str:
    """What the parser says, without the place, the names of types and the line itself."""
    said = str(error)
    line, column = error.GetLine(), error.GetColumn()
    said = said.removeprefix(f"{line}:{column} : ")
    if said.startswith("'"):
        said = said.rpartition("': ")[2]
    name = new_config().DESCRIPTOR.full_name
    said = said.replace(f'Message type "{name.rpartition(".")[0]}.', 'message "')
    said = said.replace(f' for message type "{name}"', "").replace(f"{name.rpartition('.')[0]}.", "")
    return (said.strip().removesuffix(".") or "unexpected text").encode("utf-8", "backslashreplace").decode()[:300]


def _fields(tokens: text_format.Tokenizer, path: Path, closing: str) -> Iterator[tuple[Path, Place, str]]:
    """The fields of a message that is known to be one: path, place and, of a text or number, the value as it is written."""
    seen = Counter[str]()
    while not tokens.AtEnd() and tokens.token != closing:
        place = _place(tokens.ParseError(""))
        name = tokens.ConsumeIdentifier()
        tokens.TryConsume(":")
        many = tokens.TryConsume("[")
        while not (many and tokens.token == "]"):
            inner = (*path, name, seen[name])
            yield (*path, name), place, ""
            seen[name] += 1
            if tokens.token in ("{", "<"):
                yield inner, _place(tokens.ParseError("")) if many else place, ""
                end = "}" if tokens.token == "{" else ">"
                tokens.NextToken()
                yield from _fields(tokens, inner, end)
                tokens.Consume(end)
            else:
                yield (*path, name), place, _scalar(tokens)
            if not many or not tokens.TryConsume(","):
                break
        if many:
            tokens.Consume("]")
        if not tokens.TryConsume(","):
            tokens.TryConsume(";")


def _scalar(tokens: text_format.Tokenizer) -> str:
    """One value as it is written; texts side by side are one."""
    parts = [tokens.token]
    tokens.NextToken()
    while parts[0][:1] in "'\"" and tokens.token[:1] in ("'", '"'):
        parts.append(tokens.token)
        tokens.NextToken()
    return "".join(parts)
