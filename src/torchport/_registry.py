"""One small generic registry: a duplicate raises, an unknown name lists the choices."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from torchport.errors import OptionError, UnknownNameError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Named things of one kind, open to third parties through an entry-point group.

    Args:
        kind: What is registered, in words (``"format"``).
        group: The entry-point group that is read on the first look-up, or ``None``.

    Example:
        >>> formats = Registry[str]("format")
        >>> formats.add("onnx", "an ONNX file")
        >>> formats["onnx"]
        'an ONNX file'
    """

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind = kind
        self._group = group
        self._loaded = group is None
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Registers ``entry`` under ``name``.

        Raises:
            OptionError: The name is taken by another entry.
        """
        if name in self._entries and self._entries[name] is not entry:
            raise OptionError(
                f"a {self.kind} named {name!r} is registered already",
                where=name,
                found=repr(self._entries[name]),
                hint="choose another name",
            )
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Takes ``name`` out again (for tests and plug-ins that unload)."""
        del self._entries[name]

    def __getitem__(self, name: str) -> T:
        self._load()
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=1)
            raise UnknownNameError(
                f"unknown {self.kind} {name!r}",
                found=name,
                expected=", ".join(sorted(self._entries)),
                hint=f"did you mean {near[0]!r}?" if near else None,
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(dict(self._entries))

    def values(self) -> list[T]:
        """Every entry, in the order of registration."""
        self._load()
        return list(self._entries.values())

    def _load(self) -> None:
        if self._loaded or self._group is None:
            return
        self._loaded = True
        for point in entry_points(group=self._group):
            self.add(point.name, point.load())
