"""Arguments as Python spells them in a message (``overwrite=True``), as the shell spells them (``--overwrite``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Spelling", "spelling_of"]

_VALUE = r"""'[^']*'|"[^"]*"|\{[^{}]*\}|\([^()]*\)|\[[^\[\]]*\]|…|\.\.\.|[\w.+-]*\w"""
_IN_WORDS = re.compile(rf"(?<![\w.=/-])(?P<name>[a-zA-Z_]\w*)(?:=(?P<value>{_VALUE})|\[[^\[\]]*\])(?: \((?P<said>--[^()]*)\))?")

_ENTRY = re.compile(r"""(?P<name>\w+)\[(['"])(?P<key>[^'"]*)\2\]""")

_ONE_ENTRY = re.compile(r"""\{(['"])(?P<key>[^'"]*)\1: *(['"]?)(?P<value>[\w./…-]+)\3\}""")


@dataclass(frozen=True)
class Option:
    """How one argument is spelled: for a flag, switched on and off; else before its value.

    Attributes:
        on: The option.
        off: The option that switches it off; empty where there is none.
        flag: Whether it stands alone.
        value: What the help calls its value.
    """

    on: str
    off: str = ""
    flag: bool = False
    value: str = ""

    def spelled(self, value: str | None) -> str | None:
        """The option with a value as Python writes it; ``None`` where the shell has no such spelling."""
        if self.flag:
            return {"True": self.on, "False": self.off or f"no {self.on}"}.get(str(value))
        if value is None or value in ("None", "True", "False"):
            return None
        if value[0] in "{([":
            entry = _ONE_ENTRY.fullmatch(value)
            if entry is not None and "=" in self.value:
                return f"{self.on} {entry['key']}={entry['value']}"
            return f"{self.on} {self.value}".rstrip()
        plain = value.strip("'\"")
        return f"{self.on} {plain}" if re.fullmatch(r"[\w./:…-]+", plain) else f'{self.on} "{plain}"'


@dataclass(frozen=True)
class Spelling:
    """The options of a command line by the names that their arguments have in Python."""

    options: Mapping[str, Option] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        """The text, with its arguments as options; calls of Python stay as they are.

        Example:
            >>> spelling = Spelling({"overwrite": Option("--overwrite", flag=True), "trust": Option("--trust")})
            >>> spelling("overwrite=True replaces it; else trust='a.B', in Python load(trust='a.B')")
            "--overwrite replaces it; else --trust a.B, in Python load(trust='a.B')"
        """
        parts, start = [], 0
        for match in _IN_WORDS.finditer(text):
            option = self.options.get(match["name"])
            if option is None or _within_a_call(text[: match.start()]):
                continue
            spelled = match["said"] or option.spelled(match["value"])
            if spelled is not None:
                parts += [text[start : match.start()], spelled]
                start = match.end()
        return "".join([*parts, text[start:]])

    def name(self, text: str) -> str:
        """The option, where the text is the name of an argument, or of one entry of it (``input_types['mel']``), and nothing else."""
        entry = _ENTRY.fullmatch(text)
        option = self.options.get(text if entry is None else entry["name"])
        if option is None:
            return text
        return option.on if entry is None else f"{option.on} {entry['key']}"


def _within_a_call(before: str) -> bool:
    """Whether a parenthesis that belongs to a name is open."""
    open_ones = []
    for index, letter in enumerate(before):
        if letter == "(":
            open_ones.append(index > 0 and (before[index - 1].isalnum() or before[index - 1] == "_"))
        elif letter == ")" and open_ones:
            open_ones.pop()
    return any(open_ones)


def spelling_of(commands: Mapping[str, Any], words: Iterable[str]) -> Spelling:
    """The options of the command at hand, then those of the others.

    Args:
        commands: The commands by name, as declared.
        words: The command line; its first command is the one at hand.
    """
    at_hand = next((word for word in words if word in commands), None)
    options: dict[str, Option] = {}
    for command in ([commands[at_hand]] if at_hand else []) + list(commands.values()):
        for one in command.params:
            if one.param_type_name == "option":
                off = one.secondary_opts[0] if one.secondary_opts else ""
                options.setdefault(str(one.name), Option(one.opts[0], off, bool(one.is_flag), one.metavar or ""))
    return Spelling(options)
