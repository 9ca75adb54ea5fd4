"""Compares the ports of two contracts one by one: presence, place, dtype, rank, meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torchport.contract._changes import Change
from torchport.contract._records import PortTerm

__all__ = ["Pair", "Side", "compare_ports", "paired"]

Side = Literal["input", "output"]


@dataclass(frozen=True)
class Pair:
    """One port as it was and as it is.

    Attributes:
        side: Whether it is an input or an output.
        before: The port of the first contract.
        after: The port of the second one.
        places: Its place in both.
    """

    side: Side
    before: PortTerm
    after: PortTerm
    places: tuple[int, int]

    @property
    def name(self) -> str:
        """The port's name, for messages."""
        return f"{self.side} {self.before.name}"


def paired(side: Side, before: Sequence[PortTerm], after: Sequence[PortTerm]) -> list[Pair]:
    """The ports that both have: those of one name, and those that stand at one place, look alike and have no namesake (renamed ones)."""
    places = {port.name: place for place, port in enumerate(after)}
    names = {port.name for port in before}
    pairs = []
    for place, port in enumerate(before):
        if port.name in places:
            pairs.append(Pair(side, port, after[places[port.name]], (place, places[port.name])))
        elif place < len(after) and after[place].name not in names and _alike(port, after[place]):
            pairs.append(Pair(side, port, after[place], (place, place)))
    return pairs


def _alike(one: PortTerm, other: PortTerm) -> bool:
    ranks = [None if port.axes is None else len(port.axes) for port in (one, other)]
    return one.dtype == other.dtype and ranks[0] == ranks[1] and one.optional == other.optional


def compare_ports(side: Side, before: Sequence[PortTerm], after: Sequence[PortTerm], pairs: Sequence[Pair]) -> Iterator[Change]:
    """What changed of the ports themselves; axes are compared elsewhere."""
    kept = [{pair.places[index] for pair in pairs} for index in (0, 1)]
    for place, port in enumerate(before):
        if place not in kept[0]:
            rule = "optional-input-removed" if side == "input" and port.optional else f"{side}-removed"
            yield Change.of(rule, f"{side} {port.name}", described(port), "")
    for place, port in enumerate(after):
        if place not in kept[1]:
            rule = "optional-input-added" if side == "input" and port.optional else f"{side}-added"
            yield Change.of(rule, f"{side} {port.name}", "", described(port))
    moved = [pair for pair in pairs if pair.places[0] != pair.places[1]]
    if moved:
        orders = [", ".join(port.name for port in ports) for ports in (before, after)]
        yield Change.of(f"{side}-order-changed", f"{side}s", *orders)
    for pair in pairs:
        yield from _compare(pair)


def _compare(pair: Pair) -> Iterator[Change]:
    one, other, side = pair.before, pair.after, pair.side
    if one.name != other.name:
        yield Change.of(f"{side}-renamed", pair.name, one.name, other.name)
    if one.optional != other.optional:
        word = ("required", "optional")
        yield Change.of(f"{side}-made-{word[other.optional]}", pair.name, word[one.optional], word[other.optional])
    yield from _stated(pair, "dtype", one.dtype, other.dtype)
    ranks = [None if port.axes is None else str(len(port.axes)) for port in (one, other)]
    yield from _stated(pair, "rank", *ranks)
    if one.element != other.element:
        if one.element is None or other.element is None:
            rule = "meaning-stated" if one.element is None else "meaning-unstated"
        else:
            rule = f"{side}-meaning-changed"
        yield Change.of(rule, pair.name, one.element or "", other.element or "")


def _stated(pair: Pair, what: Literal["dtype", "rank"], before: str | None, after: str | None) -> Iterator[Change]:
    if before == after:
        return
    if before is not None and after is not None:
        yield Change.of(f"{pair.side}-{what}-changed", pair.name, before, after)
    else:
        rule = "stated" if before is None else "unstated"
        yield Change.of(f"{pair.side}-{rule}", f"{pair.name}, {what}", before or "", after or "")


def described(port: PortTerm) -> str:
    """A port in one line: ``float32 [batch 80 time]``."""
    if port.axes is None:
        axes = "any rank"
    else:
        axes = " ".join("?" if axis.size is None and axis.symbol is None else str(axis.symbol or axis.size) for axis in port.axes)
    return f"{port.dtype or 'any dtype'} [{axes}]"
