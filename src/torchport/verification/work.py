"""How long a run would take on a plain machine, from its operations alone: the same wherever and whenever it is asked.

A clock tells another time on a busy machine, and what is worth trying would hang on who else is at work. Counted so, the proof of a model,
and the bundle made of it, are the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch

__all__ = ["seconds_of"]

_CALL = 1e-5
"""Seconds for calling an operation."""

_ELEMENT = 5e-10
"""Seconds for reading or writing one number."""

_PRODUCT = 2.5e-11
"""Seconds for a multiplication or an addition of a matrix product."""


def seconds_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: Any) -> float:
    """What one operation of torch costs on a core of usual speed, in seconds.

    Args:
        func: The operation, as a dispatch mode sees it.
        args: Its arguments.
        kwargs: Its arguments by name.
        results: What it gave.

    Example:
        >>> left, right = torch.ones(100, 1000), torch.ones(1000, 100)
        >>> f"{seconds_of(torch.ops.aten.mm.default, (left, right), {}, left @ right):.6f}"
        '0.000615'
    """
    name = getattr(getattr(func, "_schema", None), "name", "").removeprefix("aten::")
    moved = 0 if name in _VIEWS else sum(tensor.numel() for tensor in _tensors((args, kwargs.values(), results)))
    return _CALL + _ELEMENT * moved + _PRODUCT * _products(name, args, results)


_VIEWS = frozenset({
    "view", "_unsafe_view", "t", "transpose", "permute", "select", "slice", "expand", "as_strided", "unsqueeze", "squeeze", "split",
    "split_with_sizes", "unbind", "detach", "alias",
})  # fmt: skip
"""These move nothing."""


def _products(name: str, args: tuple[Any, ...], results: Any) -> int:
    """Multiplications and additions of matrix products."""
    if name in ("mm", "bmm"):
        return int(2 * args[0].numel() * args[1].shape[-1])
    if name in ("addmm", "baddbmm"):
        return int(2 * args[1].numel() * args[2].shape[-1])
    if name == "convolution":
        channels = args[1].shape[0] if args[6] else results.shape[1]  # of a transposed one, each input pixel meets the whole kernel
        pixels = args[0] if args[6] else results
        return int(2 * pixels.numel() * (args[1].numel() // max(1, int(channels))))
    if name == "_scaled_dot_product_flash_attention_for_cpu":
        query, key, value = args[:3]
        return int(2 * math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1]))
    if name == "mkldnn_rnn_layer":
        steps, *weights = args[:5]
        return int(2 * math.prod(steps.shape[:2]) * sum(weight.numel() for weight in weights))
    return 0


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (tuple, list)) or type(value).__name__ == "dict_values":
            yield from _tensors(value)
