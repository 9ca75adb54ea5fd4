"""Asks the untouched model for its answers, each once, and keeps what is settled about the sizes that it answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from torchport.errors import TorchportError
from torchport.ports import AxisKind, Signature, make_inputs
from torchport.ports.extremes import Extreme
from torchport.verification._records import Case, Refusal
from torchport.verification.arrays import to_arrays
from torchport.verification.forks import ForkWatch, Log, Sizes
from torchport.verification.noise import Call
from torchport.verification.runtimes._base import shortened
from torchport.verification.tables import Table, TableWatch, fails_early

__all__ = ["Asker", "Settled", "smallest_batch", "with_symbol"]


class Asker:
    """Asks the model for its answer at given sizes, each once.

    Args:
        call: The model.
        example: The traced example, which inputs without a meaning are made from.
    """

    def __init__(self, call: Call, example: Mapping[str, torch.Tensor]) -> None:
        self._call = call
        self._example = example
        self.taken: dict[Sizes, set[tuple[int, int]]] = {}
        self.decided: dict[Sizes, Log] = {}
        self.seconds: dict[Sizes, float] = {}
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
            usual = make_inputs(signature, sizes, seed=_seed(sizes), example=self._example)
            made = make_inputs(signature, sizes, seed=_seed(sizes), example=self._example, extreme=extreme)
        except TorchportError as error:
            return Refusal(dict(sizes), shortened(error.message, 200))
        inputs = {name: made[name] for name in self._example}
        if all(torch.equal(inputs[name], usual[name]) for name in inputs):
            return None
        try:
            outputs = self.run(inputs)
        except Exception as error:  # noqa: BLE001 - a model refuses values in its own words
            return Refusal(dict(sizes), shortened(error, 200), to_arrays(inputs))
        return Case(dict(sizes), to_arrays(inputs), to_arrays(outputs), _seed(sizes), extreme)

    def forget(self) -> None:
        """Symbols were renamed: sizes mean something else now."""
        self._asked.clear()
        self.taken.clear()
        self.decided.clear()
        self.seconds.clear()

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The model's answer to the very tensors given; the model may change its own copies."""
        with torch.no_grad():
            return dict(self._call({name: tensor.detach().clone() for name, tensor in inputs.items()}))

    def watched(self, inputs: Mapping[str, torch.Tensor], key: Sizes) -> dict[str, torch.Tensor]:
        """The model's answer; what it decided by sizes is kept under ``key``."""
        start = time.process_time()
        forks = ForkWatch()
        try:
            with forks:
                return self.run(inputs)
        finally:
            self.decided[key] = forks.decisions
            self.seconds[key] = time.process_time() - start

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
        key = tuple(sizes.items())
        try:
            with TableWatch() as tables:
                outputs = self.watched(inputs, key)
        except Exception as error:  # noqa: BLE001 - a model refuses sizes in its own words
            return Refusal(sizes, shortened(error, 200), to_arrays(inputs))
        self.taken[key] = tables.taken
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
    """

    signature: Signature
    traced: dict[str, int]
    cases: list[Case] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    ranges: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def smallest_batch(settled: Settled) -> dict[str, int]:
    """The traced sizes, with a batch of 1 where the model takes it."""
    symbols = settled.signature.symbols
    return {name: 1 if symbols[name].kind is AxisKind.Batch and symbols[name].allows(1) else size for name, size in settled.traced.items()}


def with_symbol(signature: Signature, symbol: str, **changes: Any) -> Signature:
    """The signature with other constraints on every axis of one symbol."""
    return signature.map_axes(lambda _, __, axis: dataclasses.replace(axis, **changes) if axis.dynamic and axis.name == symbol else axis)
