"""Finds the sizes that the untouched model answers: equal axes are merged, a least and a greatest size are found by bisection."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch

from torchport.errors import ReferenceRunError, TorchportError
from torchport.ports import Axis, AxisKind, Signature, make_inputs
from torchport.verification._records import Case, Refusal, sizes_text
from torchport.verification.arrays import to_arrays
from torchport.verification.noise import Call
from torchport.verification.runtimes._base import shortened
from torchport.verification.sizes import cover, levels
from torchport.verification.tables import Table, TableWatch, ends_of_tables, fails_early

__all__ = ["Asker", "Settled", "settle_sizes"]

_MULTIPLES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 80, 96, 100, 128, 160, 200, 240, 256, 320, 480, 512)
"""Factors that models ask of an axis (strides multiply up, windows have round sizes)."""

_FAR = 8
"""A size past a table is run in full when it is at most so many times the traced one; beyond, the table is reported."""

_ROUNDS = 6
"""Each round settles one thing; a model that still refuses after so many has rules that sizes alone cannot state."""


class Asker:
    """Asks the model for its answer at given sizes, each once.

    Args:
        call: The model.
        example: The traced example, which inputs without a meaning are made from.
    """

    def __init__(self, call: Call, example: Mapping[str, torch.Tensor]) -> None:
        self._call = call
        self._example = example
        self.taken: dict[tuple[tuple[str, int], ...], set[tuple[int, int]]] = {}
        self._asked: dict[tuple[tuple[str, int], ...], Case | Refusal] = {}

    def ask(self, signature: Signature, sizes: Mapping[str, int]) -> Case | Refusal:
        """The model's answer at ``sizes``, or its refusal."""
        key = tuple(sorted(sizes.items()))
        if key not in self._asked:
            self._asked[key] = self._answer(signature, dict(sizes), seed=1 + sum((i + 1) * size for i, size in enumerate(sizes.values())))
        return self._asked[key]

    def forget(self) -> None:
        """Symbols were renamed: sizes mean something else now."""
        self._asked.clear()
        self.taken.clear()

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The model's answer to the very tensors given; the model may change its own copies."""
        with torch.no_grad():
            return dict(self._call({name: tensor.detach().clone() for name, tensor in inputs.items()}))

    def fails_early(self, signature: Signature, sizes: Mapping[str, int], table: Table) -> Refusal | None:
        """The model's refusal where it comes soon after the table; the rest of the model is not run."""
        inputs = make_inputs(signature, sizes, seed=1, example=self._example)
        reason = fails_early(self._call, inputs, table)
        return Refusal(dict(sizes), reason, to_arrays(inputs)) if reason else None

    def _answer(self, signature: Signature, sizes: dict[str, int], seed: int) -> Case | Refusal:
        try:
            made = make_inputs(signature, sizes, seed=seed, example=self._example)
        except TorchportError as error:
            return Refusal(sizes, shortened(error.message, 200))
        inputs = {name: made[name] for name in self._example}
        try:
            with TableWatch() as watch:
                outputs = self.run(inputs)
        except Exception as error:  # noqa: BLE001 - a model refuses sizes in its own words
            return Refusal(sizes, shortened(error, 200), to_arrays(inputs))
        self.taken[tuple(sizes.items())] = watch.taken
        return Case(sizes, to_arrays(inputs), to_arrays(outputs), seed)


@dataclass
class Settled:
    """The sizes that the model answers.

    Attributes:
        signature: The ports with what was found.
        traced: The traced sizes under the symbols that remain.
        cases: The answered cases.
        refusals: Sizes outside the range, for the artifact to refuse too.
        ranges: Symbol to its range, for symbols whose range was found here.
        merged: Symbol to the one that it was merged into.
        notes: What was found, in words.
    """

    signature: Signature
    traced: dict[str, int]
    cases: list[Case] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    ranges: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def settle_sizes(asker: Asker, signature: Signature, traced: Mapping[str, int], *, least: int, forgiving: bool) -> Settled:
    """Asks the model over the covering sizes, and narrows the ports to what it answers.

    Args:
        asker: Asks the model.
        signature: The resolved ports.
        traced: The traced sizes.
        least: See `cover`.
        forgiving: Further examples serve the proof: sizes that no rule explains are then left out instead of refused.

    Raises:
        ReferenceRunError: The model refuses sizes by a rule that cannot be stated, or answers its example alone.
    """
    settled = Settled(signature, dict(traced))
    while _merge(asker, settled):
        continue
    for _ in range(_ROUNDS):
        answers = [asker.ask(settled.signature, sizes) for sizes in cover(settled.signature, settled.traced, least=least)]
        settled.cases = [answer for answer in answers if isinstance(answer, Case)]
        refused = [answer for answer in answers if isinstance(answer, Refusal)]
        if not refused:
            _past_tables(asker, settled)
            return settled
        if not (_merge(asker, settled) or _narrow(asker, settled)):
            break
    if forgiving:
        settled.notes.append(f"{len(refused)} sizes were refused by the model ({refused[0].reason}); the examples of check_trace stand in")
        return settled
    worst = refused[0]
    raise ReferenceRunError(
        "the model refuses sizes that its ports declare" if settled.cases else "the model answers no sizes but those of its example",
        where=sizes_text(worst.sizes),
        found=worst.reason,
        expected=f"an answer, as at {sizes_text(settled.traced)}",
        hint="declare the axes as they are (fixed, or with min, max, multiple_of, or one name for axes that are equal), "
        "or pass further examples at other sizes: check_trace=[example, …]",
    )


def _alone(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> bool:
    """Whether the model answers when only these symbols leave their traced sizes."""
    return _answers(asker, settled, {**settled.traced, **sizes})


def _answers(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> bool:
    return isinstance(asker.ask(settled.signature, sizes), Case)


def _merge(asker: Asker, settled: Settled) -> bool:
    """Merges symbols that the model wants equal: refused when one changes, answered when both do."""
    axes, base = settled.signature.symbols, _smallest_batch(settled)
    alike = [name for name, size in settled.traced.items() if list(settled.traced.values()).count(size) > 1]
    for pick in (0, -1):  # the cheapest size above 1 first; where the model is too small for it, the greatest
        other: dict[str, int] = {}
        for name in alike:
            others = [size for size in levels(axes[name], settled.traced[name]) if size not in (1, settled.traced[name])]
            if others:
                other[name] = others[pick]
        bound = [name for name, size in other.items() if not _answers(asker, settled, {**base, name: size})]
        for group in [*combinations(bound, 2), tuple(bound)]:
            if len(group) < 2 or len({settled.traced[name] for name in group}) > 1:
                continue
            if _answers(asker, settled, {**base, **dict.fromkeys(group, other[group[0]])}):
                _unite(asker, settled, group)
                return True
    return False


def _unite(asker: Asker, settled: Settled, group: tuple[str, ...]) -> None:
    first, *rest = group
    for name in rest:
        settled.signature = settled.signature.renamed_symbols({name: first})
        settled.merged[name] = first
        del settled.traced[name]
        settled.notes.append(f"`{name}` always equals `{first}`: one axis")
    asker.forget()


def _narrow(asker: Asker, settled: Settled) -> bool:
    """Narrows the first symbol whose own sizes are refused: to multiples, or to a least or greatest size."""
    for name, axis in settled.signature.symbols.items():
        if name not in settled.traced:
            continue
        traced = settled.traced[name]
        refused = [size for size in levels(axis, traced) if not _alone(asker, settled, {name: size})]
        if not refused:
            continue
        if factor := _multiple(asker, settled, name, axis, traced):
            settled.signature = with_symbol(settled.signature, name, multiple_of=factor)
            settled.notes.append(f"`{name}` must be a multiple of {factor}")
            return True
        low = _least(asker, settled, name, axis, traced) if min(refused) < traced else axis.smallest
        high = _greatest(asker, settled, name, axis, traced, max(refused)) if max(refused) > traced else axis.max
        if (low, high) == (traced, traced):
            return False
        if low > axis.smallest or high != axis.max:
            settled.signature = with_symbol(settled.signature, name, min=low, max=high)
            settled.ranges[name] = (low, high)
            settled.notes.append(f"{name}: {low} to {high}" if high is not None else f"{name}: {low} or more")
            return True
    return False


def _least(asker: Asker, settled: Settled, name: str, axis: Axis, traced: int) -> int:
    """The least size that the model answers, by bisection; the size just below it is kept as refused."""
    step = axis.multiple_of
    low, high = axis.smallest // step, traced // step
    if _alone(asker, settled, {name: low * step}):
        return low * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _alone(asker, settled, {name: middle * step}) else (middle, high)
    _keep_refusal(asker, settled, {name: low * step})
    return high * step


def _greatest(asker: Asker, settled: Settled, name: str, axis: Axis, traced: int, refused: int) -> int:
    """The greatest size that the model answers, by bisection; the size just above it is kept as refused."""
    step = axis.multiple_of
    low, high = traced // step, refused // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _alone(asker, settled, {name: middle * step}) else (low, middle)
    _keep_refusal(asker, settled, {name: high * step})
    return low * step


def _past_tables(asker: Asker, settled: Settled) -> None:
    """Asks the model just past every table that a symbol takes rows from."""
    for table in ends_of_tables(asker.taken):
        name, axis = table.symbol, settled.signature.symbols[table.symbol]
        step = axis.multiple_of
        last = table.last // step * step
        if any(case.sizes[name] > last for case in settled.cases) or not axis.allows(last + step):
            continue
        others = _smallest_batch(settled)
        refused = [size for size in (last + step, last + step * (2 + last // step // 16)) if axis.allows(size)]
        refusals = (asker.fails_early(settled.signature, {**others, name: size}, table) for size in refused)
        refusal = next((one for one in refusals if one is not None), None)
        if refusal is not None:
            last, refusal = _last_before(asker, settled, table, others, refusal)
            settled.signature = with_symbol(settled.signature, name, max=last)
            settled.ranges[name] = (axis.min, last)
            settled.refusals.append(refusal)
            settled.notes.append(f"{name}: {axis.min} to {last}, where a table of {table.rows} rows ends")
        elif last + step > _FAR * settled.traced[name]:
            settled.notes.append(f"weak: a table of {table.rows} rows ends at {name} {last}; the artifact was not tried past it")
        elif isinstance(answer := asker.ask(settled.signature, {**others, name: last + step}), Case):
            settled.cases.append(answer)


def _smallest_batch(settled: Settled) -> dict[str, int]:
    """The traced sizes, with a batch of 1 where the model takes it."""
    symbols = settled.signature.symbols
    return {name: 1 if symbols[name].kind is AxisKind.Batch and symbols[name].allows(1) else size for name, size in settled.traced.items()}


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


def _keep_refusal(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> None:
    answer = asker.ask(settled.signature, {**settled.traced, **sizes})
    if isinstance(answer, Refusal):
        settled.refusals.append(answer)


def _multiple(asker: Asker, settled: Settled, name: str, axis: Axis, traced: int) -> int | None:
    """The factor that the model asks of the axis: its neighbours are refused, the next multiples are answered."""
    step = axis.multiple_of
    if any(_alone(asker, settled, {name: size}) for size in (traced - step, traced + step) if axis.allows(size)):
        return None
    for factor in _MULTIPLES:
        if factor % step or factor == step or traced % factor:
            continue
        if all(_alone(asker, settled, {name: size}) for size in (traced + factor, traced + 3 * factor) if axis.allows(size)):
            return factor
    return None


def with_symbol(signature: Signature, symbol: str, **changes: Any) -> Signature:
    """The signature with other constraints on every axis of one symbol."""
    return signature.map_axes(lambda _, __, axis: dataclasses.replace(axis, **changes) if axis.dynamic and axis.name == symbol else axis)
