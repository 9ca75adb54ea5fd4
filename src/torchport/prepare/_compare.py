"""Compares what an old and a new module answer; the tolerance comes from the old module's own rounding noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["FLOOR_ULPS", "NOISE_MULTIPLE", "MismatchError", "cloned", "worst_difference"]

FLOOR_ULPS = 8.0
"""The floor: no answer is held to less than so many units in the last place of its dtype, at the answer's scale."""

NOISE_MULTIPLE = 8.0
"""Two right ways to compute one thing may differ by so many times the change that inputs wrong by one unit in the last place make."""

CEILING = 2.0**-10
"""However noisy a module is, a larger share of the answer's scale than this is no rounding."""


@dataclass
class MismatchError(Exception):
    """Two answers differ.

    Attributes:
        kind: ``structure``, ``dtype``, ``shape``, ``NaN/Inf pattern`` or ``value``.
        found: What the new module answers.
        expected: What the old one answers.
        error: The largest difference relative to the scale, for values.
    """

    kind: str
    found: str
    expected: str
    error: float = float("inf")


def cloned(value: Any) -> Any:
    """``value`` with its tensors copied: a module may write into its arguments."""
    return _mapped(value, lambda tensor: tensor.detach().clone())


def worst_difference(got: Any, expected: Any, again: Callable[[Callable[[Any], Any]], Any]) -> float:
    """The largest difference of two answers, relative to each tensor's scale.

    Args:
        got: The new module's answer.
        expected: The old module's answer.
        again: Runs the old module again, on its inputs mapped by a function; only called when the floor does not settle it.

    Raises:
        MismatchError: The answers differ in structure, dtype, shape, NaN/Inf pattern, or by more than rounding.
    """
    pairs = list(_pairs(got, expected))
    worst = max((_difference(one, other) for one, other in pairs), default=0.0)
    if worst == 0.0:
        return worst
    noise: list[float] | None = None
    for place, (one, other) in enumerate(pairs):
        error = _difference(one, other)
        limit = FLOOR_ULPS * _epsilon(other.dtype)
        if error > limit:
            if noise is None:
                disturbed = again(lambda value: _mapped(value, _disturbed))
                noise = [_difference(a, b, strict=False) for a, b in _pairs(disturbed, expected)]
            limit = max(limit, min(NOISE_MULTIPLE * noise[place], CEILING))
        if not error <= limit:
            at = int((_wide(one) - _wide(other)).abs().nan_to_num(0.0, 0.0, 0.0).argmax())
            at = at // 2 if other.is_complex() else at
            raise MismatchError(
                "value",
                f"{one.flatten()[at].item()!r} at flat index {at}",
                f"{other.flatten()[at].item()!r} (tolerance {limit:.1e} of the scale)",
                error,
            )
    return worst


def _pairs(got: Any, expected: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    if isinstance(expected, torch.Tensor):
        if not isinstance(got, torch.Tensor):
            raise MismatchError("structure", type(got).__name__, "a tensor")
        if got.dtype != expected.dtype:
            raise MismatchError("dtype", str(got.dtype), str(expected.dtype))
        if got.shape != expected.shape:
            raise MismatchError("shape", str(tuple(got.shape)), str(tuple(expected.shape)))
        return [(got, expected)]
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping) or list(got) != list(expected):
            raise MismatchError("structure", _shown(got), _shown(expected))
        return [pair for key in expected for pair in _pairs(got[key], expected[key])]
    if isinstance(expected, (list, tuple)):
        if type(got) is not type(expected) or len(got) != len(expected):
            raise MismatchError("structure", _shown(got), _shown(expected))
        return [pair for one, other in zip(got, expected, strict=True) for pair in _pairs(one, other)]
    if isinstance(got, torch.Tensor) or not (got is expected or got == expected):
        raise MismatchError("structure", _shown(got), _shown(expected))
    return []


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{type(value).__name__} of {', '.join(map(str, value))}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)[:80]


def _difference(got: torch.Tensor, expected: torch.Tensor, *, strict: bool = True) -> float:
    """Largest difference over the largest finite magnitude; integers and booleans in units of one."""
    if torch.equal(got, expected):
        return 0.0
    if not (expected.is_floating_point() or expected.is_complex()):
        return float("inf")
    one, other = _wide(got), _wide(expected)
    finite = other.isfinite()
    if strict and not torch.equal(torch.where(finite, 0.0, other).nan_to_num(7.0), torch.where(one.isfinite(), 0.0, one).nan_to_num(7.0)):
        raise MismatchError("NaN/Inf pattern", f"{int((~one.isfinite()).sum())} not finite", f"{int((~finite).sum())} not finite")
    both = finite & one.isfinite()
    if not bool(both.any()):
        return 0.0
    worst = float((one - other)[both].abs().max())
    scale = float(other[both].abs().max())
    return 0.0 if worst == 0.0 else worst / scale if scale else float("inf")


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach()
    if flat.is_complex():
        flat = torch.view_as_real(flat.resolve_conj())
    return flat.double()


def _epsilon(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps if dtype.is_floating_point or dtype.is_complex else 0.0


def _disturbed(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, every second element larger by one unit in the last place, the others smaller."""
    if not tensor.is_floating_point():
        return tensor.detach().clone()
    sign = torch.ones(tensor.numel(), dtype=tensor.dtype, device=tensor.device)
    sign[::2] = -1
    return tensor.detach() * (1 + sign.reshape(tensor.shape) * torch.finfo(tensor.dtype).eps)


def _mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(item, change) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(item, change) for item in value)
    if type(value) is dict:
        return {key: _mapped(item, change) for key, item in value.items()}
    return value
