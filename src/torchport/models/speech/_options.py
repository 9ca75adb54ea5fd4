"""A section of a NeMo config, read option by option: what is not rebuilt is refused by its name, never left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from torchport.errors import UnsupportedOptionError

__all__ = ["Options"]

V = TypeVar("V", int, float, str, bool)

_NO_DEFAULT: Any = object()
_MOST_LAYERS = 1000


class Options:
    """One section; each option is asked for once, and ``done`` refuses those that nobody asked for.

    Args:
        section: The section's mapping.
        where: Its dotted place in the config (``"encoder"``).

    Example:
        >>> options = Options({"d_model": 64, "dropout": 0.1}, "encoder")
        >>> options.number("d_model")
        64
        >>> options.without_effect("dropout")
        >>> options.done()
    """

    def __init__(self, section: object, where: str) -> None:
        if not isinstance(section, Mapping):
            raise UnsupportedOptionError(
                f"the config has no section {where!r}", where=where, found=repr(section)[:100], expected="a mapping of options"
            )
        self._left = dict(section)
        self.where = where

    def number(self, name: str, default: int = _NO_DEFAULT, *, least: int | None = None, most: int | None = None) -> int:
        """A whole number, at least ``least`` and at most ``most``."""
        value = self._taken(name, default, (int,), "a whole number")
        if least is not None and value < least:
            self._refuse(name, value, f"{least} or more")
        if most is not None and value > most:
            self._refuse(name, value, f"{most} or less")
        return int(value)

    def count(self, name: str, default: int = _NO_DEFAULT) -> int:
        """How many layers of a kind there are; not endless ones, since they are built before the weights are looked at."""
        return self.number(name, default, least=1, most=_MOST_LAYERS)

    def real(self, name: str, default: float = _NO_DEFAULT) -> float:
        """A number."""
        return float(self._taken(name, default, (int, float), "a number"))

    def flag(self, name: str, default: bool = _NO_DEFAULT) -> bool:
        """Yes or no."""
        return bool(self._taken(name, default, (bool,), "true or false"))

    def text(self, name: str, default: str = _NO_DEFAULT, *, among: Iterable[str] = ()) -> str:
        """A text, one of ``among`` where that is given."""
        value = str(self._taken(name, default, (str,), "a text"))
        choices = tuple(among)
        if choices and value not in choices:
            self._refuse(name, value, " or ".join(repr(one) for one in choices))
        return value

    def numbers(self, name: str, default: list[int] = _NO_DEFAULT) -> list[int]:
        """Whole numbers, one or more; a single one may stand by itself."""
        value = self._taken(name, default, (list, int), "whole numbers")
        items = value if isinstance(value, list) else [value]
        if not items or not all(type(one) is int and one > 0 for one in items):
            self._refuse(name, value, "whole numbers of 1 or more")
        return list(items)

    def raw(self, name: str, default: Any = None) -> Any:
        """Whatever is there."""
        return self._left.pop(name, default)

    def only(self, name: str, *allowed: Any) -> None:
        """The option may be there with one of these values, the first of which is its default."""
        value = self._left.pop(name, allowed[0])
        if not any(type(value) is type(one) and value == one for one in allowed):
            self._refuse(name, value, " or ".join(repr(one) for one in allowed))

    def without_effect(self, *names: str) -> None:
        """Options that change nothing of what a trained model answers."""
        for name in names:
            self._left.pop(name, None)

    def done(self) -> None:
        """Refuses what is left; what is ``null`` asks for nothing.

        Raises:
            UnsupportedOptionError: An option that nobody asked for.
        """
        for name, value in self._left.items():
            if value is not None:
                self._refuse(name, value, None)

    def _taken(self, name: str, default: Any, kinds: tuple[type, ...], words: str) -> Any:
        value = self._left.pop(name, default)
        if value is None and default is not _NO_DEFAULT:
            value = default
        if value is _NO_DEFAULT:
            raise UnsupportedOptionError(f"the config lacks the option {self.where}.{name}", where=f"{self.where}.{name}", expected=words)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self._refuse(name, value, words)
        return value

    def _refuse(self, name: str, value: object, expected: str | None) -> None:
        place = f"{self.where}.{name}"
        raise UnsupportedOptionError(
            f"the config uses an option that is not rebuilt here: {place}",
            where=place,
            found=repr(value)[:100],
            expected=expected,
            hint='with NeMo installed, NeMo builds it: pip install "nemo-toolkit[asr,tts]==3.0.0"',
        )
