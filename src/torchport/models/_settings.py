"""Turns a built-in model's config into its frozen dataclass of settings, and makes seeded random weights repeatable."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from torchport.errors import OptionError

__all__ = ["read_settings", "seed_setting", "seeded", "setting"]

S = TypeVar("S")

_NOT_SETTINGS = frozenset({"target", "nemo_version", "torchport_version", "cfg", "name"})
"""Keys that an archive writes beside the settings."""


@dataclasses.dataclass(frozen=True)
class _Limits:
    """The values that a setting may have."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    step: int = 1
    odd: bool = False

    def allow(self, value: Any) -> bool:
        """Whether the value is finite and within the limits."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.step == 1 or value % self.step == 0)
            and (not self.odd or value % 2 == 1)
        )

    def words(self, kind: type) -> str:
        """The limits in words."""
        parts = [f"{self.least} or more"] if self.least is not None and self.most is None else []
        parts += [f"{self.least} to {self.most}"] if self.least is not None and self.most is not None else []
        parts += [f"above {self.above}"] if self.above is not None else []
        parts += [f"a multiple of {self.step}"] if self.step > 1 else []
        parts += ["odd"] if self.odd else []
        return ", ".join([f"a finite {kind.__name__}" if kind is float else "a whole number", *parts])


def setting(
    default: Any, *, least: float | None = None, most: float | None = None, above: float | None = None, step: int = 1, odd: bool = False
) -> Any:
    """A field of a dataclass of settings, with the values that `read_settings` lets through.

    Args:
        default: The default; its type is the setting's.
        least: The smallest value.
        most: The largest value.
        above: A bound that is no value itself.
        step: The value is a multiple of it.
        odd: The value is odd.
    """
    return dataclasses.field(default=default, metadata={"limits": _Limits(least, most, above, step, odd)})


def seed_setting() -> Any:
    """The field for the seed of the random weights: what `torch.manual_seed` takes."""
    return setting(0, least=-(2**63), most=2**64 - 1)


def read_settings(kind: type[S], cfg: Mapping[str, Any] | None) -> S:
    """Reads a config into the dataclass ``kind``; what it does not name keeps its default.

    Args:
        kind: A dataclass whose fields all have defaults.
        cfg: The config, or ``None`` for every default.

    Raises:
        OptionError: A key is no setting, or a value has the wrong type or is out of bounds.
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
        limits: _Limits = fields[key].metadata.get("limits", _Limits())
        if not limits.allow(value):
            raise OptionError(
                f"the setting {key!r} is out of bounds", stage="load", where=key, found=repr(value), expected=limits.words(wanted)
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
