"""Checks of a model's limits that a capture records: what a model refuses in Python, its program refuses, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

from torchport.ports.limits import AtMost, Limit, SizeLimit, SumAtMost, places_of
from torchport.prepare._records import Prepared

__all__ = ["asserted", "compiled", "limits_checked", "unchecked"]

_ALL = 2**63 - 1

Check = Callable[[Limit, torch.Tensor, int, torch.Tensor, int], torch.Tensor]
"""A limit, a tensor and its axis, and for a relation the other ones: gives what stands for the tensor from there on."""


@contextmanager
def limits_checked(prepared: Prepared, limits: Iterable[Limit], check: Check) -> Iterator[None]:
    """Within it, the module checks limits before its ``forward`` begins.

    Args:
        prepared: The module.
        limits: What it checks.
        check: How: `compiled`, or `asserted`.
    """
    signature, kept = prepared.signature, tuple(limits)

    def hook(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        tensors = dict(zip(signature.inputs, given, strict=True))
        found = dict(tensors)
        for limit in kept:
            first, second = _places(limit, prepared)
            if first is not None and second is not None:
                for axis in first[1]:
                    found[first[0]] = check(limit, found[first[0]], axis, tensors[second[0]], second[1][0])
        return tuple(found.values())

    if not kept:
        yield
        return
    handle = prepared.module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


_Place = tuple[str, tuple[int, ...]] | None


def _places(limit: Limit, prepared: Prepared) -> tuple[_Place, _Place]:
    """Where the symbols of a limit are; that of a single one twice."""
    symbols = (limit.symbol,) if isinstance(limit, SizeLimit) else limit.symbols
    found = [places_of(prepared.signature, symbol, prepared.signature.inputs) for symbol in symbols]
    return found[0], found[-1]


def compiled(limit: Limit, x: torch.Tensor, axis: int, other: torch.Tensor, large: int) -> torch.Tensor:
    """A check for a trace: a compiled function is kept whole, with its branch and its error."""
    if isinstance(limit, AtMost):
        return _script(_at_most)(x, axis, other, large, limit.factor, limit.offset, limit.divisor, limit.sentence)
    if isinstance(limit, SumAtMost):
        return _script(_sum_at_most)(x, axis, other, large, limit.most, limit.sentence)
    most = _ALL if limit.most is None else limit.most
    return _script(_within)(x, axis, limit.least or 0, most, limit.multiple_of, limit.sentence)


@cache
def _script(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return torch.jit.script(function)  # type: ignore[no-any-return]  # a function gives a function


def _within(x: torch.Tensor, axis: int, least: int, most: int, factor: int, limit: str) -> torch.Tensor:
    size = x.size(axis)
    if size < least or size > most or size % factor != 0:
        raise ValueError(f"{limit}, not {size}")
    return x


def _at_most(
    x: torch.Tensor, small: int, other: torch.Tensor, large: int, factor: int, offset: int, divisor: int, limit: str
) -> torch.Tensor:
    if divisor * x.size(small) > factor * other.size(large) + offset:
        raise ValueError(f"{limit}, not {x.size(small)} and {other.size(large)}")
    return x


def _sum_at_most(x: torch.Tensor, one: int, other: torch.Tensor, second: int, most: int, limit: str) -> torch.Tensor:
    if x.size(one) + other.size(second) > most:
        raise ValueError(f"{limit}, not {x.size(one)} and {other.size(second)}")
    return x


def asserted(limit: Limit, x: torch.Tensor, axis: int, other: torch.Tensor, large: int) -> torch.Tensor:
    """A check for ``torch.export``: a comparison of tensors, which it does not decide by what it knows of the sizes."""
    size = _as_tensor(x.shape[axis])
    if isinstance(limit, AtMost):
        good = [limit.divisor * size <= limit.factor * _as_tensor(other.shape[large]) + limit.offset]
    elif isinstance(limit, SumAtMost):
        good = [size + _as_tensor(other.shape[large]) <= limit.most]
    else:
        good = [] if limit.least is None else [size >= limit.least]
        good += [] if limit.most is None else [size <= limit.most]
        good += [] if limit.multiple_of == 1 else [size % limit.multiple_of == 0]
    for one in good:
        torch.ops.aten._assert_async.msg(one, limit.sentence)
    return x


def _as_tensor(size: int) -> torch.Tensor:
    return torch.scalar_tensor(size, dtype=torch.int64)


def unchecked(limits: Iterable[Limit]) -> Iterator[Limit]:
    """The limits that a ``Dim`` of ``torch.export`` does not keep in a file: relations, multiples, and a least size of 2.

    Sizes of 0 and 1 pass where a program was traced for 2 or more: PyTorch (2.13) takes that least size for one of its own making.
    """
    for limit in limits:
        if not isinstance(limit, SizeLimit) or limit.multiple_of > 1 or limit.least == 2:
            yield limit
