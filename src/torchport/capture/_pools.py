"""Adaptive pools over axes that vary, through the trace-based exporter: it writes them only for sizes that it knows.

Along one axis, part ``i`` of ``out`` covers the places from ``floor(i * size / out)`` to ``ceil((i + 1) * size / out)``, not included. That
is a matrix of the axis's size: means and maxima are taken over what it covers.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["PoolsBySize", "is_about_pools"]

_MAXIMA = {F.adaptive_max_pool1d: 1, F.adaptive_max_pool2d: 2, F.adaptive_max_pool3d: 3}
_MEANS = {torch.adaptive_avg_pool1d: 1, F.adaptive_avg_pool2d: 2, F.adaptive_avg_pool3d: 3}


def is_about_pools(error: Exception) -> bool:
    """Whether the exporter refused an adaptive pool over a size that it does not know."""
    return isinstance(error, RuntimeError) and ("adaptive_" in str(error) or "adaptive pool" in str(error))


class PoolsBySize(TorchFunctionMode):
    """Inside, adaptive pools are computed by the sizes of their input: by modules and by functions alike.

    Of maxima only the values are given; who asks for their places gets torch's own pool.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(zip(("input", "output_size"), args, strict=False)) | dict(kwargs or {})
        if func in _MEANS and set(given) == {"input", "output_size"}:
            return _pooled(given["input"], given["output_size"], _MEANS[func], _mean)
        if func in _MAXIMA and not given.get("return_indices", False):
            return _pooled(given["input"], given["output_size"], _MAXIMA[func], _maximum)
        return func(*args, **(kwargs or {}))


def _pooled(x: torch.Tensor, output_size: Any, axes: int, along: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    wanted = (output_size,) * axes if isinstance(output_size, int) or output_size is None else tuple(output_size)
    for place, out in enumerate(wanted):
        if out is None:
            continue  # the axis stays as it is
        axis = place - axes
        x = along(x.transpose(axis, -1), _covered(x.shape[axis], out, x.device)).transpose(axis, -1)
    return x


def _covered(size: Any, out: int, device: torch.device) -> torch.Tensor:
    """Which places each part covers: ``[out, size]``."""
    part, place = torch.arange(out, device=device)[:, None], torch.arange(size, device=device)[None]
    first = torch.div(part * size, out, rounding_mode="floor")
    end = torch.div((part + 1) * size + (out - 1), out, rounding_mode="floor")
    return (place >= first) & (place < end)


def _mean(x: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    inside = torch.where(covered, x.unsqueeze(-2), 0.0)  # not a product: no part has a share in what is infinite in another one
    return inside.sum(-1) / covered.to(x.dtype).sum(1)


def _maximum(x: torch.Tensor, covered: torch.Tensor) -> torch.Tensor:
    return torch.where(covered, x.unsqueeze(-2), -torch.inf).amax(-1)
