"""The text notation of axes: ``"batch 80 time"``.

Axes are parted by spaces. Each is one of

- a number: a fixed size (``80``);
- a name: a dynamic axis (``time``); the same name in two ports is the same size;
- ``name=80``: a fixed size with a name, for the reader;
- ``_``: an axis without a name, of whatever fixed size is seen;

and may carry constraints in braces, without spaces: ``time{min=4,max=1600,multiple_of=4}``. The braces also take an axis kind where the
name does not tell it (``frames{time}``, ``80{dimension}``), ``fixed`` (a named axis of whatever fixed size is seen) and ``dynamic``
(an axis without a name that varies; it is named after its port).

An empty text is a scalar. ``...`` alone is a port of any rank. Every other axis count is fixed: ``*batch``, ``... 80`` and ``#axis``
are refused, because a graph has one rank.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from torchport.errors import PortError, PortValueError
from torchport.ports._misread import hint_on_axis
from torchport.ports.axis import Axis, AxisKind, kind_of_name
from torchport.ports.dtypes import is_a_dtypes_name, known_dtype, nearest_dtypes
from torchport.ports.element import is_an_elements_name

__all__ = ["format_axes", "parse_axes"]

_TOKEN = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)?(?P<equals>=)?(?P<size>\d+)?(?:\{(?P<more>[^{}\s]*)\})?\Z")
_NUMBERS = ("min", "max", "multiple_of")
_KINDS = {kind.name.lower(): kind for kind in AxisKind}


def parse_axes(text: str, *, where: str | None = None) -> tuple[Axis, ...] | None:
    """Reads axes from text.

    Args:
        text: The axes, parted by spaces.
        where: The port, for messages.

    Returns:
        The axes; ``None`` for any rank.

    Raises:
        PortValueError: An axis cannot be read.

    Example:
        >>> [axis.name or axis.size for axis in parse_axes("batch 80 time{max=1600}")]
        ['batch', 80, 'time']
    """
    tokens = text.split()
    if tokens == ["..."]:
        return None
    for token in tokens:
        _refuse_other_names(token, tokens, text, where)
    return tuple(_axis(token, text, where) for token in tokens)


def _refuse(message: str, token: str, text: str, where: str | None, hint: str) -> PortValueError:
    found = repr(token) if token == text.strip() else f"{token!r} in {text.strip()!r}"
    return PortValueError(message, where=where, found=found, expected='axes like "batch 80 time"', hint=hint)


def _called(where: str | None) -> str:
    """The port's own name: the last word of where it is declared."""
    return where.split()[-1] if where else "x"


def _refuse_other_names(token: str, tokens: Sequence[str], text: str, where: str | None) -> None:
    """A dtype or an element type among the axes: a comma was forgotten, and it would become an axis of that name."""
    axes = " ".join(one for one in tokens if one != token).rstrip(" ,:;")
    if is_a_dtypes_name(token):
        dtype = known_dtype(token)
        written = token if dtype is None else dtype.name
        near = nearest_dtypes(token) if dtype is None else None
        hint = f'the dtype stands after the axes: ("{axes}", "{written}"), or {_called(where)}="{axes},{written}" on the command line'
        what = "a dtype stands among the axes" if dtype is not None else "an unknown dtype stands among the axes"
        raise _refuse(what, token, text, where, f"did you mean {near}? {hint}" if near else hint)
    if is_an_elements_name(token):
        hint = f'Port("{axes}", element=torchport.types.{token}())'
        raise _refuse("an element type stands among the axes", token, text, where, hint)


def _axis(token: str, text: str, where: str | None) -> Axis:
    if token.startswith("*") or token == "...":
        hint = "write each axis; `...` alone is a port of any rank"
        raise _refuse("a graph has one rank: an axis cannot stand for several", token, text, where, hint)
    if token.startswith("#"):
        raise _refuse("a broadcast axis has no one size", token, text, where, "write 1, or the axis's name")
    found = _TOKEN.match(token)
    unread = found is None or not (found["name"] or found["size"]) or bool(found["equals"]) != bool(found["name"] and found["size"])
    if found is None or unread or found["name"] == "None":
        raise _refuse("an axis cannot be read", token, text, where, hint_on_axis(token))
    name = "" if found["name"] in (None, "_") else found["name"]
    axis = Axis(name, size=int(found["size"]) if found["size"] else None)
    return _constrained(axis, found["more"] or "", token, text, where)


def _constrained(axis: Axis, more: str, token: str, text: str, where: str | None) -> Axis:
    numbers: dict[str, Any] = {}
    kind, dynamic = axis.kind, axis.dynamic
    for part in filter(None, more.split(",")):
        key, _, value = part.partition("=")
        if key in _NUMBERS and value.isdigit():
            numbers[key] = int(value)
        elif part in _KINDS:
            kind = _KINDS[part]
            dynamic = dynamic or (axis.size is None and kind.varies)
        elif part == "fixed":
            dynamic = False
        elif part == "dynamic" and axis.size is None:
            dynamic = True
        else:
            hint = f"one of {', '.join(f'{one}=number' for one in _NUMBERS)}, fixed, dynamic, {', '.join(_KINDS)}"
            raise _refuse("a constraint of an axis cannot be read", token, text, where, hint)
    if "fixed" in more.split(","):
        dynamic = False
    try:
        return replace(axis, kind=kind, dynamic=dynamic, **numbers)
    except PortError as error:
        error.where = where and f"{where}, axis {error.where}"
        raise


def format_axes(axes: Iterable[Axis] | None) -> str:
    """Writes axes as text; `parse_axes` reads exactly these axes back."""
    if axes is None:
        return "..."
    return " ".join(_token(axis) for axis in axes)


def _token(axis: Axis) -> str:
    name = f"{axis.name}=" if axis.name else ""
    text = (axis.name or "_") if axis.size is None else f"{name}{axis.size}"
    told = kind_of_name(axis.name) if axis.name else AxisKind.Any
    more = [axis.kind.name.lower()] if axis.kind is not told else []
    more += [f"{key}={getattr(axis, key)}" for key in _NUMBERS if getattr(axis, key) != getattr(Axis, key)]
    if axis.size is None:
        usual = bool(axis.name) or axis.kind.varies
        if axis.dynamic != usual:
            more.append("dynamic" if axis.dynamic else "fixed")
    return text + (f"{{{','.join(more)}}}" if more else "")
