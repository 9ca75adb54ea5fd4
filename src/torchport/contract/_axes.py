"""Compares the axes of ports that both contracts have: fixed or varying, which sizes, which are equal, how they are called.

An input is a demand: fewer sizes, or sizes that have to be equal, break clients. An output is a promise: more sizes, or sizes that are not
equal any more, break them. An output that takes its size from an input is judged by what a client gets that calls as it did before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from torchport.contract._changes import Change
from torchport.contract._ports import Pair
from torchport.contract._records import AxisTerm, Contract, SizeRange

__all__ = ["compare_axes"]


@dataclass(frozen=True)
class _Axis:
    """One axis of one port in both contracts."""

    pair: Pair
    index: int
    terms: tuple[AxisTerm, AxisTerm]

    @property
    def where(self) -> str:
        return f"{self.pair.name}, axis {self.index}"

    @property
    def is_input(self) -> bool:
        return self.pair.side == "input"

    @property
    def varies(self) -> tuple[bool, bool]:
        return self.terms[0].size is None, self.terms[1].size is None

    def key(self, index: int) -> Hashable:
        """What axes of one size have in common in one of the contracts; an axis that varies without a name is equal to none."""
        return self.terms[index].symbol or (self.pair.side, self.pair.places, self.index)


def compare_axes(before: Contract, after: Contract, pairs: Sequence[Pair]) -> Iterator[Change]:
    """What changed of the axes."""
    axes = [
        _Axis(pair, index, terms)
        for pair in pairs
        if pair.before.axes is not None and pair.after.axes is not None and len(pair.before.axes) == len(pair.after.axes)
        for index, terms in enumerate(zip(pair.before.axes, pair.after.axes, strict=True))
    ]
    known = _Known((before, after), axes)
    for axis in axes:
        if axis.varies == (False, False):
            if axis.terms[0].size != axis.terms[1].size:
                yield Change.of(f"{axis.pair.side}-size-changed", axis.where, axis.terms[0].size, axis.terms[1].size)
        elif axis.varies != (True, True):
            yield _opened_or_closed(axis, known)
    moving = [axis for axis in axes if axis.varies == (True, True)]
    yield from _ranges(moving, known)
    yield from _ties(moving)
    yield from _names(moving)


class _Known:
    """The axes that share a symbol, in each of the contracts.

    Attributes:
        contracts: The two contracts.
        inputs: By contract and symbol, what these axes of inputs are in the other contract.
        all: The same for axes of inputs and outputs.
    """

    def __init__(self, contracts: tuple[Contract, Contract], axes: Sequence[_Axis]) -> None:
        self.contracts = contracts
        self.inputs: dict[tuple[int, str], dict[AxisTerm, None]] = {}
        self.all: dict[tuple[int, str], dict[AxisTerm, None]] = {}
        for axis in axes:
            for index in (0, 1):
                symbol = axis.terms[index].symbol
                if symbol is not None:
                    for kept in (self.all, self.inputs) if axis.is_input else (self.all,):
                        kept.setdefault((index, symbol), {})[axis.terms[1 - index]] = None

    def followed(self, axis: _Axis, index: int) -> dict[AxisTerm, None]:
        """What the inputs of the axis's symbol are in the other contract; empty where no input has it."""
        symbol = axis.terms[index].symbol
        return {} if symbol is None else self.inputs.get((index, symbol), {})

    def sizes(self, axis: _Axis, index: int) -> SizeRange:
        """The sizes of an axis in one contract; of an output that follows an input, those that the input has in the other one."""
        for term in () if axis.is_input else self.followed(axis, index):
            return self.contracts[1 - index].range_of(term.symbol) if term.size is None else SizeRange(term.size, term.size)
        return self.contracts[index].range_of(axis.terms[index].symbol)


def _opened_or_closed(axis: _Axis, known: _Known) -> Change:
    """An axis that is fixed in one contract and varies in the other one."""
    wide = 0 if axis.varies[0] else 1
    symbol, size = axis.terms[wide].symbol, axis.terms[1 - wide].size
    assert size is not None
    sizes = known.contracts[wide].range_of(symbol)
    texts = (_text(axis.terms[wide], sizes), str(size))
    followed = known.followed(axis, wide)
    equal = followed if followed or axis.is_input or symbol is None else known.all[wide, symbol]
    opened = "opened" if wide == 1 else "closed"
    rule = f"{axis.pair.side}-axis-{opened}"
    if not axis.is_input and AxisTerm(size) in followed:
        rule = f"output-axis-{opened}-with-input"
    elif any(term.size != size for term in equal):
        rule = f"{axis.pair.side}-axis-follows-else"
    elif not sizes.allows(size):
        rule = f"{axis.pair.side}-size-changed"
    return Change.of(rule, axis.where, *(texts if wide == 0 else reversed(texts)))


def _ranges(moving: Sequence[_Axis], known: _Known) -> Iterator[Change]:
    """Sizes of symbols; those of an output that follows an input in both contracts follow from the input's."""
    seen: set[Hashable] = set()
    for axis in moving:
        key = axis.pair.side, axis.key(0), axis.key(1)
        if key in seen or (not axis.is_input and known.followed(axis, 0) and known.followed(axis, 1)):
            continue
        seen.add(key)
        ranges = [known.sizes(axis, index) for index in (0, 1)]
        texts = [_text(term, one) for term, one in zip(axis.terms, ranges, strict=True)]
        if not ranges[0].within(ranges[1]):
            yield Change.of(f"{axis.pair.side}-range-narrowed", axis.where, *texts)
        if not ranges[1].within(ranges[0]):
            yield Change.of(f"{axis.pair.side}-range-widened", axis.where, *texts)


def _ties(moving: Sequence[_Axis]) -> Iterator[Change]:
    """Sizes that are equal in one contract only."""
    inputs = [axis for axis in moving if axis.is_input]
    for rule, index in (("inputs-untied", 0), ("inputs-tied", 1)):
        for group in _groups(inputs, lambda axis, index=index: axis.key(index)):  # type: ignore[misc]  # the default binds the loop's value
            apart = list(dict.fromkeys(axis.key(1 - index) for axis in group))
            if len(apart) > 1:
                yield Change.of(rule, " and ".join(axis.where for axis in group), *(_called(group, which) for which in (0, 1)))
    for rule, index in (("output-untied", 0), ("output-tied", 1)):
        # What a call is known to satisfy: the other contract's equalities, and those that this one demands of inputs.
        joined = _Joined()
        for axis in moving:
            joined.join(_place(axis), (1 - index, axis.key(1 - index)))
            if axis.is_input:
                joined.join(_place(axis), (index, axis.key(index)))
        for group in _groups(moving, lambda axis, index=index: axis.key(index)):  # type: ignore[misc]
            if any(not axis.is_input for axis in group) and len({joined.root(_place(axis)) for axis in group}) > 1:
                yield Change.of(rule, " and ".join(axis.where for axis in group), *(_called(group, which) for which in (0, 1)))


def _names(moving: Sequence[_Axis]) -> Iterator[Change]:
    """Symbols that stand for the same axes under another name."""
    counts = Counter(axis.key(1) for axis in moving)
    for group in _groups(moving, lambda axis: axis.key(0)):
        before, after = group[0].terms
        alone = len({axis.key(1) for axis in group}) == 1 and counts[group[0].key(1)] == len(group)
        if alone and before.symbol != after.symbol:
            yield Change.of("symbol-renamed", group[0].where, before.symbol or "no name", after.symbol or "no name")


def _groups(axes: Sequence[_Axis], key: Callable[[_Axis], Hashable]) -> list[list[_Axis]]:
    places: dict[Hashable, int] = {}
    for axis in axes:
        places.setdefault(key(axis), len(places))
    ordered = sorted(axes, key=lambda axis: places[key(axis)])
    return [list(group) for _, group in groupby(ordered, key)]


def _place(axis: _Axis) -> Hashable:
    return "axis", axis.pair.side, axis.pair.places, axis.index


def _called(group: Sequence[_Axis], index: int) -> str:
    return ", ".join(dict.fromkeys(axis.terms[index].symbol or "no name" for axis in group))


def _text(term: AxisTerm, sizes: SizeRange) -> str:
    return f"{term.symbol or 'no name'}: {sizes}"


class _Joined:
    """Which things are known to be equal: union-find."""

    def __init__(self) -> None:
        self._parents: dict[Hashable, Hashable] = {}

    def root(self, one: Hashable) -> Hashable:
        while (parent := self._parents.get(one, one)) != one:
            self._parents[one] = self._parents.get(parent, parent)
            one = parent
        return one

    def join(self, one: Hashable, other: Hashable) -> None:
        self._parents[self.root(one)] = self.root(other)
