"""Values at the ends of what a port takes: zeros, large, negative and constant ones, the first and the last index, full and short rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch

    from torchport.ports._request import Request

__all__ = ["EXTREMES", "Extreme", "drive_floats", "drive_index", "row_fill"]

Extreme = Literal["zeros", "large", "negative", "constant", "empty"]
"""``zeros``: zeros, the first index, full rows. ``large``: 100,000 times the usual magnitude, the last index, short rows. ``negative``:
no positive number, every row shorter than the axis. ``constant``: one number everywhere, full rows. ``empty``: as usual, but the last row
of a mask counts nothing."""

EXTREMES: tuple[Extreme, ...] = get_args(Extreme)

_LARGE = 1e5
_LARGE_HALF = 30.0
"""For float16, whose numbers end at 65504."""


def drive_floats(tensor: torch.Tensor, extreme: Extreme | None, *, low: float | None = None, high: float | None = None) -> torch.Tensor:
    """Drives numbers to an extreme, within what they may be.

    Args:
        tensor: Usual numbers, of any shape.
        extreme: Where to; ``None`` and ``empty`` leave them as they are.
        low: The least that a number may be.
        high: The greatest that a number may be.
    """
    import torch

    if extreme in (None, "empty") or not tensor.numel() or not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    if extreme == "zeros":
        made = torch.zeros_like(tensor)
    elif extreme == "constant":
        made = torch.full_like(tensor, float(tensor.real.reshape(-1)[0]))
    elif extreme == "large":
        made = tensor * (_LARGE_HALF if tensor.dtype is torch.float16 else _LARGE)
    else:
        made = -tensor.abs()
    return made if tensor.is_complex() or (low is None and high is None) else made.clamp(low, high)


def drive_index(tensor: torch.Tensor, extreme: Extreme | None, low: int, high: int) -> torch.Tensor:
    """Drives whole numbers between ``low`` and ``high`` (not included) to the first, the last, or one of them."""
    import torch

    if extreme == "zeros":
        return torch.full_like(tensor, low)
    if extreme == "large":
        return torch.full_like(tensor, high - 1)
    if extreme == "constant" and tensor.numel():
        return torch.full_like(tensor, int(tensor.reshape(-1)[0]))
    return tensor


def row_fill(one: Request) -> Literal["full", "short", "mixed", "below"]:
    """How long the rows of a batch are."""
    if one.extreme == "negative":
        return "below"
    if one.extreme in ("zeros", "constant"):
        return "full"
    return "short" if one.extreme == "large" else "mixed" if one.ragged else "full"
