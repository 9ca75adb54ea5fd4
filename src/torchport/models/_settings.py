"""Turns a built-in model's config into its frozen dataclass of settings, and makes seeded random weights repeatable."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from torchport.errors import OptionError

__all__ = ["read_settings", "seeded"]

S = TypeVar("S")

_NOT_SETTINGS = frozenset({"target", "nemo_version", "torchport_version", "cfg", "name"})
"""Keys that an archive writes beside the settings."""


def read_settings(kind: type[S], cfg: Mapping[str, Any] | None) -> S:
    """Reads a config into the dataclass ``kind``; what it does not name keeps its default.

    Args:
        kind: A dataclass whose fields all have defaults.
        cfg: The config, or ``None`` for every default.

    Raises:
        OptionError: A key is no setting, or a value has the wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for key, value in (cfg or {}).items():
        if key in _NOT_SETTINGS and key not in fields:
            continue
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise OptionError(
                f"the config has the unknown setting {key!r}",
                stage="load",
                where=key,
                expected=", ".join(fields),
                hint=f"did you mean {near[0]!r}?" if near else None,
            )
        wanted = type(fields[key].default)
        fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value, fits = float(value), True
        if not fits:
            raise OptionError(
                f"the setting {key!r} has the wrong type",
                stage="load",
                where=key,
                found=f"{value!r} ({type(value).__name__})",
                expected=wanted.__name__,
            )
        given[key] = value
    return kind(**given)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers inside start from ``seed``; the caller's random state is what it was afterwards.

    Example:
        >>> with seeded(1):
        ...     first = torch.rand(3)
        >>> with seeded(1):
        ...     bool((torch.rand(3) == first).all())
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
