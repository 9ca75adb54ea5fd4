"""Asks the untouched model for its answers, each once, and keeps what is settled about the sizes that it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch

from torchport.errors import TorchportError
from torchport.ports import AxisKind, Signature, make_inputs
from torchport.ports.extremes import Extreme
from torchport.ports.limits import AtMost, Limits, SumAtMost, limits_found
from torchport.verification._records import Case, Refusal
from torchport.verification.arrays import to_arrays
from torchport.verification.branches import Branches
from torchport.verification.forks import Sizes, lines_losing
from torchport.verification.noise import Call
from torchport.verification.noted_sizes import ForkWatch, Log
from torchport.verification.runtimes._base import shortened
from torchport.verification.tables import Table, TableWatch, fails_early

__all__ = ["Asker", "Settled", "affordable", "moved", "narrowed", "smallest_batch", "with_symbol"]


class Asker:
    """Asks the model for its answer at given sizes, each once.

    Args:
        call: The model.
        example: The traced example, which inputs without a meaning are made from.
        pointers: See `make_inputs`; more may be found.
    """

    def __init__(self, call: Call, example: Mapping[str, torch.Tensor], pointers: Mapping[str, str] | None = None) -> None:
        self._call = call
        self.example = example
        self.taken: dict[Sizes, set[tuple[int, int]]] = {}
        self.runs: dict[Sizes, set[tuple[int, int]]] = {}
        self.decided: dict[Sizes, Log] = {}
        self.seconds: dict[Sizes, float] = {}
        self.branches = Branches()
        self.counts = False
        self.pointers = dict(pointers or {})
        self._asked: dict[tuple[tuple[str, int], ...], Case | Refusal] = {}

    def ask(self, signature: Signature, sizes: Mapping[str, int]) -> Case | Refusal:
        """The model's answer at ``sizes``, or its refusal."""
        key = tuple(sorted(sizes.items()))
        if key not in self._asked:
            self._asked[key] = self._answer(signature, dict(sizes), seed=_seed(sizes))
        return self._asked[key]

    def ask_extreme(self, signature: Signature, sizes: Mapping[str, int], extreme: Extreme) -> Case | Refusal | None:
        """The model's answer at an end of what its ports take; ``None`` where that changes no input."""
        try:
            usual = make_inputs(signature, sizes, seed=_seed(sizes), example=self.example, pointers=self.pointers)
            made = make_inputs(signature, sizes, seed=_seed(sizes), example=self.example, extreme=extreme, pointers=self.pointers)
        except TorchportError as error:
            return Refusal(dict(sizes), shortened(error.message, 200))
        inputs = {name: made[name] for name in self.example}
        if all(torch.equal(inputs[name], usual[name]) for name in inputs):
            return None
        try:
            outputs = self.run(inputs)
        except Exception as error:  # noqa: BLE001 - a model refuses values in its own words
            return Refusal(dict(sizes), shortened(error, 200), to_arrays(inputs))
        return Case(dict(sizes), to_arrays(inputs), to_arrays(outputs), _seed(sizes), extreme)

    def forget(self) -> None:
        """Symbols were renamed, or inputs are made otherwise: what was answered is no answer any more."""
        self._asked.clear()
        self.taken.clear()
        self.runs.clear()
        self.decided.clear()
        self.seconds.clear()

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The model's answer to the very tensors given; the model may change its own copies."""
        with torch.no_grad():
            return dict(self._call({name: tensor.detach().clone() for name, tensor in inputs.items()}))

    def watched(self, inputs: Mapping[str, torch.Tensor], key: Sizes) -> dict[str, torch.Tensor]:
        """The model's answer; what it decided by sizes is kept under ``key``."""
        forks, tables, branches = ForkWatch(), TableWatch(), self.branches.watched()
        try:
            try:
                with tables, forks, branches:
                    answer = self.run(inputs)
            except Exception:  # noqa: BLE001 - code that asks for the very type of a size fails here, and only here
                with branches:
                    answer = self.run(inputs)
                forks.lose()
            self.seconds[key] = tables.seconds
            return answer
        finally:
            self.branches.settle(site[:2] for site in forks.decisions)
            self.decided[key] = {**forks.decisions, **tables.cuts, **branches.decisions()}
            self.taken[key] = tables.taken
            self.runs[key] = tables.runs
            self.counts = self.counts or tables.counts

    def places_unseen(self) -> list[tuple[str, int]]:
        """File and line where what becomes of a size is not seen: there it turns into a plain number, or a branch may hang on it."""
        return [*lines_losing(self.decided), *((branch.file, branch.line) for branch in self.branches.one_way())]

    def fails_early(self, signature: Signature, sizes: Mapping[str, int], table: Table) -> Refusal | None:
        """The model's refusal where it comes soon after the table; the rest of the model is not run."""
        inputs = make_inputs(signature, sizes, seed=1, example=self.example, pointers=self.pointers)
        reason = fails_early(self._call, inputs, table)
        return Refusal(dict(sizes), reason, to_arrays(inputs)) if reason else None

    def _answer(self, signature: Signature, sizes: dict[str, int], seed: int) -> Case | Refusal:
        try:
            made = make_inputs(signature, sizes, seed=seed, example=self.example, pointers=self.pointers)
        except TorchportError as error:
            return Refusal(sizes, shortened(error.message, 200))
        inputs = {name: made[name] for name in self.example}
        try:
            outputs = self.watched(inputs, tuple(sizes.items()))
        except Exception as error:  # noqa: BLE001 - a model refuses sizes in its own words
            return Refusal(sizes, shortened(error, 200), to_arrays(inputs))
        return Case(sizes, to_arrays(inputs), to_arrays(outputs), seed)


def _seed(sizes: Mapping[str, int]) -> int:
    return 1 + sum((index + 1) * size for index, size in enumerate(sizes.values()))


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
        at_most: Symbols that others bound.
        sums: Pairs of symbols that share one room.
    """

    signature: Signature
    traced: dict[str, int]
    cases: list[Case] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    ranges: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    at_most: list[AtMost] = field(default_factory=list)
    sums: list[SumAtMost] = field(default_factory=list)

    def keep(self, answer: Case | Refusal) -> bool:
        """Adds an answer to the cases; says whether it is one."""
        if isinstance(answer, Case) and all(case.sizes != answer.sizes for case in self.cases):
            self.cases.append(answer)
        return isinstance(answer, Case)

    def limits(self, declared: Signature) -> Limits:
        """What was found of the sizes, beyond what was declared."""
        for _ in self.merged:  # one may have been merged into another that was merged later
            declared = declared.renamed_symbols(self.merged)
        return limits_found(declared, self.signature, self.at_most, self.sums)

    def fits(self, sizes: Mapping[str, int]) -> bool:
        """Whether no symbol is greater than what bounds it, and no two are greater than the room that they share."""
        bounded = all(one.holds(sizes[one.small], sizes[one.large]) for one in self.at_most)
        return bounded and all(one.holds(sizes) for one in self.sums)

    def fitted(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """The sizes, each no greater than what bounds it; where that leaves none, what bounds it is larger.

        Of two that share a room, the greater one makes place.
        """
        fitting, symbols = dict(sizes), self.signature.symbols
        for one in self.at_most * len(self.at_most):  # what one enlarges, another may have bounded before
            least = symbols[one.small].smallest
            while one.greatest(fitting[one.large]) < least:
                fitting[one.large] += symbols[one.large].multiple_of
            fitting[one.small] = min(fitting[one.small], one.greatest(fitting[one.large]))
        for room in self.sums:
            large, small = sorted(room.symbols, key=fitting.__getitem__, reverse=True)
            left = room.most - fitting[small]
            fitting[large] = min(fitting[large], left - left % symbols[large].multiple_of)
        return fitting

    def relates(self, small: str, large: str) -> bool:
        """Whether it is known how the second bounds the first."""
        return any((one.small, one.large) == (small, large) for one in self.at_most)


def smallest_batch(settled: Settled) -> dict[str, int]:
    """The traced sizes, with a batch of 1 where the model takes it."""
    symbols = settled.signature.symbols
    return {name: 1 if symbols[name].kind is AxisKind.Batch and symbols[name].allows(1) else size for name, size in settled.traced.items()}


def with_symbol(signature: Signature, symbol: str, **changes: Any) -> Signature:
    """The signature with other constraints on every axis of one symbol."""
    return signature.map_axes(lambda _, __, axis: dataclasses.replace(axis, **changes) if axis.dynamic and axis.name == symbol else axis)


_SECONDS = 5.0
"""A size whose run would take longer, by a straight line through the traced one's time, is not tried…"""

_SQUARED_SECONDS = 100.0
"""… nor one that would take longer by a parabola, as attention does."""

_MOMENT = 0.03
"""Seconds that are always worth it."""

_NEAR = 8.0
"""Up to so many times the example's elements a size is always tried."""


def affordable(asker: Asker, settled: Settled, sizes: Mapping[str, int], *, within: float | None = None) -> bool:
    """Whether a run at ``sizes`` is worth its time.

    Args:
        asker: Knows how long the runs would take.
        settled: Knows the traced sizes.
        sizes: The sizes in question.
        within: Seconds that the run may take, by a curve between the line and the parabola; ``None``: what a known threshold is worth.
    """
    if not settled.fits(sizes):
        return False
    if within is None and prod(size / settled.traced[name] for name, size in sizes.items()) <= _NEAR:
        return True
    known = [(prod(dict(key).values()), seconds) for key, seconds in asker.seconds.items() if key]
    elements, seconds = max(known, default=(1, 0.0))
    relative = prod(sizes.values()) / max(1, elements)
    if within is not None:
        always = min((least for _, least in known), default=0.0)  # what the smallest run takes is not the sizes' doing
        return bool(always + (seconds - always) * relative**1.5 <= max(within, _MOMENT))
    return bool(seconds * relative <= _SECONDS and seconds * relative**2 <= _SQUARED_SECONDS)


def moved(base: Mapping[str, int], sizes: Mapping[str, int]) -> str:
    """The symbol whose size differs."""
    return next(name for name in sizes if sizes[name] != base[name])


def narrowed(asker: Asker, settled: Settled, base: Mapping[str, int], sizes: Mapping[str, int], refusal: Refusal) -> bool:
    """Ends the range of the symbol before the size that the model refuses, by bisection from those that it answers."""
    name = moved(base, sizes)
    axis = settled.signature.symbols[name]
    step = axis.multiple_of
    answered = [case.sizes[name] for case in settled.cases] + [settled.traced[name]]
    upward = sizes[name] > max(answered)
    if not upward and sizes[name] >= min(answered):
        return False
    inside, outside = (max(answered) // step, sizes[name] // step) if upward else (min(answered) // step, sizes[name] // step)
    nearest = outside - 1 if upward else outside + 1
    middle = nearest  # the threshold is known to one or two
    while abs(outside - inside) > 1:
        answer = asker.ask(settled.signature, {**base, name: middle * step})
        if isinstance(answer, Case):
            inside = middle
        else:
            outside, refusal = middle, answer
        middle = (inside + outside) // 2
    low, high = (axis.min, inside * step) if upward else (inside * step, axis.max)
    settled.signature = with_symbol(settled.signature, name, min=low, max=high)
    settled.ranges[name] = (low, high)
    settled.refusals.append(refusal)
    settled.notes.append(f"{name}: {low} to {high}" if high is not None else f"{name}: {low} or more")
    return True
