"""Sizes to make an example at where a model refuses odd ones: multiples of 2, 4, 8, 16, 32, about as large as the odd sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torchport.ports import Axis, AxisKind

__all__ = ["in_multiples"]

_FACTORS = (2, 4, 8, 16, 32)
"""What models ask for that halve a size and join it again, by depth."""


def in_multiples(symbols: Mapping[str, Axis], sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """The sizes as odd multiples of each factor, still distinct; an axis that has no such size keeps its own.

    Args:
        symbols: The axes.
        sizes: The odd sizes, by symbol.

    Example:
        >>> list(in_multiples({"height": Axis("height"), "width": Axis("width")}, {"height": 37, "width": 29}))[:2]
        [{'height': 38, 'width': 30}, {'height': 36, 'width': 28}]
    """
    for factor in _FACTORS:
        made: dict[str, int] = {}
        for name, size in sizes.items():
            made[name] = size if symbols[name].kind is AxisKind.Batch else _multiple(symbols[name], size, factor, set(made.values()))
        if made != dict(sizes):
            yield made


def _multiple(axis: Axis, size: int, factor: int, taken: set[int]) -> int:
    """An odd multiple of the factor near a size, above it where those below are taken or too small."""
    first = max(3, size // factor | 1)
    tried = [factor * times for times in range(first, first + 40, 2)]
    return next((one for one in tried if one not in taken and axis.allows(one)), size)
