"""One axis of a port: its kind, its name, and the sizes that it may have."""

from __future__ import annotations

import enum
import numbers
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from torchport.errors import PortError, PortTypeError, PortValueError
from torchport.ports.dtypes import is_a_dtypes_name

__all__ = ["Axis", "AxisKind", "AxisType", "as_axis", "kind_of_name"]


class AxisKind(enum.Enum):
    """What varies along an axis. Dimension and Channel are one kind under two names."""

    Batch = 0
    Time = 1
    Dimension = 2
    Channel = 2
    Width = 3
    Height = 4
    Any = 5
    Sequence = 6
    FlowGroup = 7
    Singleton = 8

    @property
    def word(self) -> str:
        """The kind in words, as messages and symbols use it."""
        return "flow group" if self is AxisKind.FlowGroup else self.name.lower()

    @property
    def varies(self) -> bool:
        """Whether an axis of this kind is dynamic unless it says otherwise."""
        return self in _VARYING

    def __str__(self) -> str:
        return self.word

    @staticmethod
    def from_str(label: str) -> AxisKind:
        """The kind of a short or long name: ``"B"``, ``"batch"``, ``"T"``, ``"T_audio"``.

        Raises:
            PortValueError: No kind has that name.
        """
        text = label.strip().lower()
        if text in _LABELS:
            return _LABELS[text]
        if text.startswith("t_") and len(text) > 2:
            return AxisKind.Time
        known = ", ".join(sorted({one.upper() if len(one) == 1 else one for one in _LABELS}))
        raise PortValueError(
            "unknown axis kind", found=repr(label), expected=f"one of {known}", hint='a free name is an axis of its own: Axis("frames")'
        )


_VARYING = frozenset({AxisKind.Batch, AxisKind.Time, AxisKind.Width, AxisKind.Height})

_LABELS = {
    "b": AxisKind.Batch,
    "n": AxisKind.Batch,
    "batch": AxisKind.Batch,
    "t": AxisKind.Time,
    "time": AxisKind.Time,
    "d": AxisKind.Dimension,
    "dimension": AxisKind.Dimension,
    "c": AxisKind.Dimension,
    "channel": AxisKind.Dimension,
    "w": AxisKind.Width,
    "width": AxisKind.Width,
    "h": AxisKind.Height,
    "height": AxisKind.Height,
    "s": AxisKind.Singleton,
    "singleton": AxisKind.Singleton,
    "seq": AxisKind.Sequence,
    "sequence": AxisKind.Sequence,
    "g": AxisKind.FlowGroup,
    "flowgroup": AxisKind.FlowGroup,
    "any": AxisKind.Any,
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NAMED_KINDS = {kind.word: kind for kind in _VARYING} | {"b": AxisKind.Batch, "t": AxisKind.Time, "w": AxisKind.Width, "h": AxisKind.Height}


def kind_of_name(name: str) -> AxisKind:
    """The kind that an axis's own name tells: ``time``, ``audio_time``, ``T_audio``; `AxisKind.Any` where it tells none."""
    text = name.lower()
    if text in _NAMED_KINDS:
        return _NAMED_KINDS[text]
    if re.search(r"_time(_\d+)?\Z", text) or re.match(r"t_.", text):
        return AxisKind.Time
    for word in ("batch", "width", "height"):
        if re.search(rf"_{word}(_\d+)?\Z", text):
            return _NAMED_KINDS[word]
    return AxisKind.Any


@dataclass(frozen=True)
class AxisType:
    """An axis of a neural type: a kind, and a size where it is fixed.

    Args:
        kind: What varies along it.
        size: The fixed size, or ``None``.
        is_list: The axis is a Python list of tensors, not an axis of one tensor.

    Raises:
        PortTypeError: ``kind`` is no `AxisKind`.
        PortError: The size is no size.
    """

    kind: AxisKind
    size: int | None = None
    is_list: bool = False

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        if self.size is not None and self.is_list:
            raise PortValueError("a list axis has no fixed size", found=self.size)
        _check_size(self.size, self.kind.word)

    def __repr__(self) -> str:
        return f"{self.kind.word}{'' if self.size is None else f':{self.size}'}{'[]' if self.is_list else ''}"


@dataclass(frozen=True)
class Axis:
    """One axis of a port.

    Args:
        name: Its name; the same name in two ports is the same size. ``""`` for an axis of a plain kind: it is named after its port.
        size: The fixed size.
        min: The smallest size that the model takes.
        max: The largest size that the model takes, or ``None``.
        multiple_of: Sizes are multiples of this.
        kind: What varies along it; taken from the name where the name tells (``time``, ``audio_time``).
        dynamic: Whether its size may vary. Not given: it does where there is no ``size`` and the kind varies or a name is given.

    Raises:
        PortError: The constraints contradict each other.
    """

    name: str = ""
    size: int | None = None
    min: int = 1
    max: int | None = None
    multiple_of: int = 1
    kind: AxisKind = AxisKind.Any
    dynamic: bool = cast(bool, None)  # __post_init__ derives it

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        if self.kind is AxisKind.Any and self.name:
            object.__setattr__(self, "kind", kind_of_name(self.name))
        if self.kind is AxisKind.Singleton and self.size is None and not self.dynamic:
            object.__setattr__(self, "size", 1)
        if cast("bool | None", self.dynamic) is None:
            object.__setattr__(self, "dynamic", self.size is None and (self.kind.varies or bool(self.name)))
        self._check()

    def _check(self) -> None:
        where = self.name or self.kind.word
        if self.name and not _NAME.match(self.name):
            raise PortError("an axis needs a name of letters, digits and underscores", where=where, found=repr(self.name))
        if is_a_dtypes_name(self.name):  # as text, it could not be read back
            hint = 'the dtype stands beside the axes: ("batch 80", "float32")'
            raise PortError("an axis has the name of a dtype", found=repr(self.name), hint=hint)
        _check_size(self.size, where)
        for limit in ("min", "max", "multiple_of"):
            if (limit != "max" or self.max is not None) and not isinstance(getattr(self, limit), numbers.Integral):
                raise PortError(f"{limit} of an axis is a whole number", where=where, found=repr(getattr(self, limit)))
        if self.dynamic and self.size is not None:
            raise PortError("an axis is either dynamic or of a fixed size", where=where, found=f"size={self.size}, dynamic=True")
        if self.min < 0 or self.multiple_of < 1 or (self.max is not None and self.max < self.min):
            raise PortError(
                "the sizes of an axis contradict each other",
                where=where,
                found=f"min={self.min}, max={self.max}, multiple_of={self.multiple_of}",
                expected="0 <= min <= max, multiple_of >= 1",
            )
        if self.dynamic and self.smallest > (self.max if self.max is not None else self.smallest):
            raise PortError(
                "no size of the axis fits its constraints",
                where=where,
                found=f"min={self.min}, max={self.max}, multiple_of={self.multiple_of}",
            )

    @property
    def smallest(self) -> int:
        """The smallest size allowed."""
        return -(-self.min // self.multiple_of) * self.multiple_of

    @property
    def largest(self) -> int | None:
        """The largest size allowed, or ``None``."""
        return None if self.max is None else self.max // self.multiple_of * self.multiple_of

    @property
    def is_list(self) -> bool:
        """An axis of a port is never a list."""
        return False

    def allows(self, size: int) -> bool:
        """Whether the axis may have this size."""
        if self.size is not None:
            return size == self.size
        if not self.dynamic:
            return True
        return size >= self.min and (self.max is None or size <= self.max) and size % self.multiple_of == 0

    def words(self) -> str:
        """The axis in words, for messages: ``time axis 'audio_time'``."""
        kind = f"{self.kind.word} axis" if self.kind is not AxisKind.Any else "axis"
        name = f" {self.name!r}" if self.name and self.name != self.kind.word else ""
        return f"{kind}{name}"

    def sizes_in_words(self) -> str:
        """The sizes allowed, in words: ``4 to 1600, a multiple of 4``."""
        if self.size is not None:
            return str(self.size)
        upper = "or more" if self.max is None else f"to {self.max}"
        return f"{self.min} {upper}" + (f", a multiple of {self.multiple_of}" if self.multiple_of > 1 else "")

    def fixed(self, size: int | None = None) -> Axis:
        """The same axis, static."""
        return Axis(self.name, size=self.size if size is None else size, kind=self.kind, dynamic=False)

    def named(self, name: str) -> Axis:
        """The same axis under another name; its kind stays."""
        return replace(self, name=name)


def _check_kind(kind: object) -> None:
    if isinstance(kind, AxisKind):
        return
    known = isinstance(kind, str) and kind.strip().lower() in _LABELS
    raise PortTypeError(
        "the kind of an axis is an AxisKind",
        found=repr(kind),
        expected=", ".join(f"AxisKind.{one.name}" for one in AxisKind),
        hint=f"AxisKind.{AxisKind.from_str(str(kind)).name}, or the plain text {kind!r} in its place" if known else None,
    )


def _check_size(size: int | None, where: str) -> None:
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise PortError("the size of an axis is a whole number", where=where, found=repr(size), expected="0 or more, or None")


def as_axis(found: object) -> Axis:
    """Reads any spelling of one axis: an `Axis`, an `AxisType`, an `AxisKind`, a number, a short or long kind name, ``T_audio``.

    Raises:
        PortValueError: It is none of these.
    """
    if isinstance(found, Axis):
        return found
    if isinstance(found, AxisType):
        return Axis(size=found.size, kind=found.kind)
    if isinstance(found, AxisKind):
        return Axis(kind=found)
    if isinstance(found, int) and not isinstance(found, bool):
        return Axis(size=found)
    if isinstance(found, str):
        kind = AxisKind.from_str(found)
        return Axis(found if "_" in found else "", kind=kind)
    raise PortValueError("an axis cannot be read", found=repr(found), expected="an Axis, AxisType, AxisKind, a kind's name or a size")


def as_axes(found: Iterable[object]) -> tuple[Axis, ...]:
    """Reads several axes; see `as_axis`."""
    return tuple(as_axis(one) for one in found)
