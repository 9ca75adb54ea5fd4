"""Reads JSON of strangers: a name that stands twice and a number that is none are errors, not the last word."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

__all__ = ["strict_json"]


def strict_json(text: str) -> Any:
    """The document that a text holds.

    Raises:
        ValueError: It is no JSON, a name stands twice in one object, or a number is infinite or none.
        RecursionError: It is nested too deep.

    Example:
        >>> strict_json('{"a": 1}')
        {'a': 1}
    """
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice if twice.isprintable() else ascii(twice)!r} stands there twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
