"""Finds two symbols that share one room: a decoder's new steps and those in its cache together take the rows of one table."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

from torchport.ports import AxisKind
from torchport.ports.limits import SumAtMost
from torchport.verification._records import Case, Refusal
from torchport.verification.asking import Asker, Settled, affordable, narrowed, smallest_batch, with_symbol
from torchport.verification.tables import shared_tables

__all__ = ["keep_edges", "settle_shared_tables", "settle_sums"]


def settle_sums(asker: Asker, settled: Settled, refused: Mapping[str, int]) -> bool:
    """States that two symbols share one room, if that explains why the model refuses these sizes.

    The greatest size of the one is then as much smaller as the other is greater, to one: that is asked where the room is all but filled by
    the one, and where it is divided. Each axis alone ends where the other is at its least size.

    Args:
        asker: Asks the model.
        settled: What is settled.
        refused: Sizes that the model refuses.

    Returns:
        Whether a sum was found.
    """
    symbols, traced = settled.signature.symbols, settled.traced
    free = [name for name in traced if symbols[name].kind is not AxisKind.Batch and symbols[name].multiple_of == 1]
    for name, other in permutations(free, 2):
        if refused[name] <= traced[name] or any({*room.symbols} == {name, other} for room in settled.sums):
            continue
        refusal = _first_refused(asker, settled, refused, name)
        if refusal is None:
            continue  # they are refused for more than the size of this symbol
        most = refusal.sizes[name] - 1 + refusal.sizes[other]
        one, two = sorted((name, other))
        room = SumAtMost(one, two, most)
        if _moves_along(asker, settled, room, refusal.sizes, name, other) and _is_all(asker, settled, refusal.sizes, name, other):
            _state(asker, settled, room, refusal)
            return True
    return False


def settle_shared_tables(asker: Asker, settled: Settled) -> None:
    """States the room in every table whose rows two symbols share, however far its end is: it is tried at both ends and just past them."""
    symbols = settled.signature.symbols
    for table, company in shared_tables(asker.runs):
        one, other = sorted((table.symbol, company))
        room = SumAtMost(one, other, table.last)
        kinds = {symbols[name].kind for name in room.symbols}
        if AxisKind.Batch in kinds or any(room.symbols == known.symbols for known in settled.sums):
            continue
        past: list[Refusal | None] = []
        for name, beside in (room.symbols, room.symbols[::-1]):
            inside = {**smallest_batch(settled), name: table.last - symbols[beside].smallest, beside: symbols[beside].smallest}
            outside = {**inside, name: inside[name] + 1}
            if not symbols[name].allows(outside[name]) or not settled.fits(outside):
                continue
            if asker.fails_early(settled.signature, inside, table) is None:  # else it ends before for a reason of its own
                past.append(asker.fails_early(settled.signature, outside, table))
        refusal = next((one for one in past if one is not None), None)
        if refusal is not None and None not in past:
            _state(asker, settled, room, refusal)
        elif past:
            said = f"weak: a table of {table.rows} rows ends at {one} + {other} {table.last}"
            settled.notes.append(f"{said}; the artifact was not tried past it")


def _state(asker: Asker, settled: Settled, room: SumAtMost, refusal: Refusal) -> None:
    settled.sums.append(room)
    settled.refusals.append(refusal)
    settled.notes.append(f"{room.one} + {room.other}: at most {room.most}")
    for symbol, company in (room.symbols, room.symbols[::-1]):
        least = settled.signature.symbols[company].smallest
        _end(asker, settled, symbol, room.most - least, {**refusal.sizes, company: least})


def keep_edges(asker: Asker, settled: Settled) -> None:
    """Adds cases at the edges of every room: each of its symbols as large as it goes, and both of them about half."""
    symbols = settled.signature.symbols
    for room in settled.sums:
        for one, other in (room.symbols, room.symbols[::-1]):
            for least in (symbols[other].smallest, room.most // 2):
                size = min(room.most - least, symbols[one].largest or room.most)
                sizes = {**smallest_batch(settled), one: size, other: room.most - size}
                if all(symbols[name].allows(sizes[name]) for name in room.symbols) and affordable(asker, settled, sizes):
                    settled.keep(asker.ask(settled.signature, sizes))


def _answers(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> bool:
    return settled.fits(sizes) and isinstance(asker.ask(settled.signature, sizes), Case)


def _refuses(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> bool:
    return settled.fits(sizes) and isinstance(asker.ask(settled.signature, sizes), Refusal)


def _first_refused(asker: Asker, settled: Settled, sizes: Mapping[str, int], name: str) -> Refusal | None:
    """The refusal just past the greatest size of a symbol that is answered in the company of these others, by bisection."""
    low, high = settled.traced[name], sizes[name]
    if not _answers(asker, settled, {**sizes, name: low}):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _answers(asker, settled, {**sizes, name: middle}) else (low, middle)
    answer = asker.ask(settled.signature, {**sizes, name: high})
    return answer if isinstance(answer, Refusal) else None


def _moves_along(asker: Asker, settled: Settled, room: SumAtMost, sizes: Mapping[str, int], name: str, other: str) -> bool:
    """Whether the greatest size of ``name`` is what ``other`` leaves of the room, at two more sizes of that one."""
    divided = _divided(settled, room, sizes, name, other)
    return len(divided) == 2 and all(  # with less room a sum cannot be told from two ends
        _answers(asker, settled, {**sizes, name: size, other: room.most - size})
        and _refuses(asker, settled, {**sizes, name: size + 1, other: room.most - size})
        for size in divided
    )


def _divided(settled: Settled, room: SumAtMost, sizes: Mapping[str, int], name: str, other: str) -> list[int]:
    """Two more sizes of ``name`` that the room is divided at: the greatest, and one near the middle."""
    axis, company = settled.signature.symbols[name], settled.signature.symbols[other]
    high = min(room.most - company.smallest, room.most if axis.max is None else axis.max - 1)
    low = max(axis.smallest, 0 if company.max is None else room.most - company.max)
    found = [size for size in (high, low + 2 * (high - low) // 3, low + (high - low) // 3) if low <= size != sizes[name] - 1]
    return list(dict.fromkeys(found))[:2]


def _is_all(asker: Asker, settled: Settled, sizes: Mapping[str, int], name: str, other: str) -> bool:
    """Whether no further symbol takes part: at the very edge others may be greater, and smaller ones leave no more room."""
    symbols = settled.signature.symbols
    for third, size in sizes.items():
        if third in (name, other) or symbols[third].kind is AxisKind.Batch:
            continue
        greater, least = size + symbols[third].multiple_of, symbols[third].smallest
        inside = {**sizes, name: sizes[name] - 1, third: greater}
        if symbols[third].allows(greater) and settled.fits(inside) and not _answers(asker, settled, inside):
            return False
        outside = {**sizes, third: least}
        if settled.fits(outside) and not _refuses(asker, settled, outside):
            return False
    return True


def _end(asker: Asker, settled: Settled, name: str, last: int, company: Mapping[str, int]) -> None:
    """Ends a symbol where its company leaves no more room, or before, where the model refuses that for a reason of its own."""
    axis = settled.signature.symbols[name]
    if axis.max is not None and axis.max <= last:
        return
    settled.signature = with_symbol(settled.signature, name, max=last)
    settled.ranges[name] = (axis.min, last)
    base, sizes = {**company, name: settled.traced[name]}, {**company, name: last}
    if last <= settled.traced[name] or not affordable(asker, settled, sizes):
        return
    answer = asker.ask(settled.signature, sizes)
    if isinstance(answer, Refusal):
        narrowed(asker, settled, base, sizes, answer)
