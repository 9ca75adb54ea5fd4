"""What was probably meant where a declared type or an axis cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["axes_for", "hint_on_axis", "hint_on_type", "is_no_nest"]

_FIELDS = frozenset({"axes", "shape", "dtype", "element", "elements_type", "optional"})
_VARIES = frozenset({"-1", "?", "None", ":", "*"})


def is_no_nest(found: object) -> bool:
    """Whether a value looks like the types of several tensors, and can only be meant for one: sizes, or the fields of a port."""
    if isinstance(found, Mapping):
        return bool(found) and set(found) <= _FIELDS
    if isinstance(found, type):
        return True
    return _is_shape(found)


def _is_shape(found: object) -> bool:
    """Sizes as a tensor's shape has them, ``(3, 80)`` or ``[None, 80]``; texts alone are types."""
    if not isinstance(found, (tuple, list)) or not found:
        return False
    return any(isinstance(one, int) for one in found) and all(one is None or isinstance(one, (int, str)) for one in found)


def axes_for(sizes: Sequence[Any]) -> str:
    """A shape as text: what has no size, or comes first, gets a name.

    Example:
        >>> axes_for([None, 80, -1]), axes_for((3, 80))
        ('batch 80 axis2', 'batch 80')
    """
    words = []
    for place, size in enumerate(sizes):
        fixed = isinstance(size, str) or (size is not None and size >= 0 and place > 0)
        words.append(str(size) if fixed else "batch" if place == 0 else f"axis{place}")
    return " ".join(words)


def hint_on_type(found: object) -> str | None:
    """What to write in place of a type that cannot be read."""
    if isinstance(found, type):
        return f"an instance of it: {found.__name__}(…)"
    if _is_shape(found):
        return f'axes are one text, with a name for each that varies: "{axes_for(found)}"'  # type: ignore[arg-type]  # it is a sequence
    if isinstance(found, Mapping) and set(found) <= _FIELDS:
        axes = found.get("axes", found.get("shape", "batch 80 time"))
        dtype = f', dtype="{found["dtype"]}"' if "dtype" in found else ""
        return f'Port("{axes}"{dtype})'
    if hasattr(found, "shape") and hasattr(found, "dtype"):
        return "a tensor is an example: pass it as input_example"
    return None


def hint_on_axis(token: str) -> str:
    """What to write in place of a word that is no axis."""
    bare = token.strip(",;()[]")
    if bare in _VARIES:
        return "an axis that varies is a name: batch, time; one of whatever fixed size is seen is _"
    if "{" in token and "}" not in token:
        return f"no spaces within braces: {token.partition('{')[0]}{{min=1,max=9}}"
    if bare != token and bare:
        return f"axes are parted by spaces and by nothing else: {bare}"
    if token.replace("-", "_").isidentifier():
        return f"a name has letters, digits and underscores: {token.replace('-', '_')}"
    if any(letter in token for letter in "+*/-") and token[:1].isalnum():
        return "a size that follows from another one has a name of its own, or is _ where it never varies"
    return "a name, a number, name=number, each with {min=..,max=..} or not"
