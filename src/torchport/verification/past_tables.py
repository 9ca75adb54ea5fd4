"""Asks the model at the end of every table that a symbol takes rows from, and just past it."""

from __future__ import annotations

from collections.abc import Mapping

from torchport.verification._records import Refusal
from torchport.verification.asking import Asker, Settled, affordable, smallest_batch, with_symbol
from torchport.verification.sums import settle_sums
from torchport.verification.tables import Table, ends_of_tables

__all__ = ["settle_tables"]

_FAR = 8
"""A size past a table is run in full when it is at most so many times the traced one; beyond, the table is reported."""


_SHARE = 0.6
"""Of the time that all runs together took until here, a run that uses a table as a whole may take so much."""


def settle_tables(asker: Asker, settled: Settled) -> None:
    """Asks the model just past every table that a symbol takes rows from."""
    for table in ends_of_tables(asker.taken):
        name, axis = table.symbol, settled.signature.symbols[table.symbol]
        step = axis.multiple_of
        last = table.last // step * step
        if any(case.sizes[name] > last for case in settled.cases):
            continue
        others = smallest_batch(settled)
        if axis.allows(last + step) and settled.fits({**others, name: last + step}):
            last = _past(asker, settled, table, others, last)
        if axis.allows(last) and affordable(asker, settled, {**others, name: last}, within=_SHARE * sum(asker.seconds.values())):
            settled.keep(asker.ask(settled.signature, {**others, name: last}))  # every row of the table is used once


def _past(asker: Asker, settled: Settled, table: Table, others: Mapping[str, int], last: int) -> int:
    """Asks past the table; gives the greatest size that it serves."""
    name, axis = table.symbol, settled.signature.symbols[table.symbol]
    step = axis.multiple_of
    tried = (last + step, last + step * (2 + last // step // 16))
    refused = [size for size in tried if axis.allows(size) and settled.fits({**others, name: size})]
    refusals = (asker.fails_early(settled.signature, {**others, name: size}, table) for size in refused)
    refusal = next((one for one in refusals if one is not None), None)
    within = _SHARE * sum(asker.seconds.values())
    if refusal is not None and affordable(asker, settled, refusal.sizes, within=within) and settle_sums(asker, settled, refusal.sizes):
        return last
    if refusal is not None:
        last, refusal = _last_before(asker, settled, table, others, refusal)
        settled.signature = with_symbol(settled.signature, name, max=last)
        settled.ranges[name] = (axis.min, last)
        settled.refusals.append(refusal)
        settled.notes.append(f"{name}: {axis.min} to {last}, where a table of {table.rows} rows ends")
    elif last + step > _FAR * settled.traced[name]:
        settled.notes.append(f"weak: a table of {table.rows} rows ends at {name} {last}; the artifact was not tried past it")
    else:
        settled.keep(asker.ask(settled.signature, {**others, name: last + step}))
    return last


def _last_before(asker: Asker, settled: Settled, table: Table, others: Mapping[str, int], refusal: Refusal) -> tuple[int, Refusal]:
    """The greatest size that gets past the table, by bisection, and the refusal just above it; most of the model is not run."""
    name = table.symbol
    step = settled.signature.symbols[name].multiple_of
    low, high = max(case.sizes[name] for case in settled.cases) // step, refusal.sizes[name] // step
    if low < table.last // step < high and asker.fails_early(settled.signature, {**others, name: table.last // step * step}, table) is None:
        low = table.last // step
    while high - low > 1:
        middle = (low + high) // 2
        found = asker.fails_early(settled.signature, {**others, name: middle * step}, table)
        low, high, refusal = (middle, high, refusal) if found is None else (low, middle, found)
    return low * step, refusal
