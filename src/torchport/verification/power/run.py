"""Measures the power of a proof: mutates the artifact, and asks of every mutant whether the proof would have failed."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torchport._options import ExportOptions
from torchport.verification._records import Array, Case, Finding
from torchport.verification.power._base import Mutation, Plan, Workshop, workshops
from torchport.verification.power._choose import choose
from torchport.verification.power._judge import Judge
from torchport.verification.power._records import Mutant, Noticed, Power
from torchport.verification.power._weights import Weight, element_changed, scaled
from torchport.verification.power.witnesses import WITNESS, Witnesses
from torchport.verification.proof import prove
from torchport.verification.record import Proof
from torchport.verification.reference import Reference

if TYPE_CHECKING:
    from torchport.emit import Artifact

__all__ = ["prove_with_power"]

_STEPS = tuple(10.0 ** (-power / 2) for power in range(15))
"""Amounts that are tried for the least noticed change: 1 down to 1e-7, two a decade."""

_PROBES = 8
"""One class of weights costs about so many mutants; there are as many classes as the budget has room for."""

_CLASSES = 6
"""So many classes at most, those with the most weights."""

_ELEMENTS = 3
"""An element that no input reaches tells nothing of its class: another is tried, up to so many."""

_TIMEOUT, _PATIENCE = 30.0, 10.0
"""A mutant in a process of its own may loop for ever: it has so many seconds, and so many times what the unchanged file took."""


def prove_with_power(
    artifact: Artifact,
    reference: Reference,
    witnesses: Witnesses,
    options: ExportOptions,
    *,
    feeds: Mapping[str, Array] | None = None,
    timeout: float = 600.0,
    seed: int = 0,
) -> Proof:
    """As `prove`; a proof that holds is then asked what it would have noticed.

    The artifact itself is held against the usual witnesses, too: they were answered by the untouched model.

    Args:
        artifact: The files and their ports.
        reference: What the untouched model answers.
        witnesses: Further answers of the untouched model; see `take_witnesses`.
        options: Those of the proof; ``power`` is the number of mutants (``True``: 40).
        feeds: Constant inputs.
        timeout: Seconds for loading and for each answer.
        seed: Other mutants for another seed.

    Returns:
        The proof with its power, or a proof that failed.
    """
    everything = replace(reference, cases=(*reference.cases, *witnesses.usual))
    proof = prove(artifact, everything, options, feeds=feeds, timeout=timeout)
    if not proof.ok:
        return proof
    proof = replace(proof, cases=tuple(case for case in proof.cases if not case.label.startswith(WITNESS)))
    power = _measure(artifact, reference, witnesses, options, dict(feeds or {}), timeout=timeout, seed=seed)
    return replace(proof, power=power, notes=(*proof.notes, *_weaknesses(power)))


def _weaknesses(power: Power) -> Iterator[str]:
    if power.survivors:
        worst = power.survivors[0]
        yield (
            f"weak: {len(power.survivors)} mutants with an effect were not noticed; "
            f"the worst: {worst.kind}, {worst.where} ({worst.change}), "
            f"{worst.effect:.1f} times the tolerance"
        )
    elif power.kill_rate is None and power.mutants:
        yield f"weak: {power.summary()}"


def _measure(
    artifact: Artifact,
    reference: Reference,
    witnesses: Witnesses,
    options: ExportOptions,
    feeds: Mapping[str, Array],
    *,
    timeout: float,
    seed: int,
) -> Power:
    start = time.process_time()
    if artifact.format not in workshops:
        return Power((), notes=(f"not supported: nothing is known of mutating {artifact.format} files",))
    choice = random.Random(seed)
    budget = options.mutants
    with tempfile.TemporaryDirectory(prefix="torchport-power-") as folder:
        inputs = {**feeds, **reference.cases[0].inputs}
        plan = Plan(artifact, Path(folder), reference.traced, inputs, choice)
        try:
            workshop = workshops[artifact.format](plan)
        except ValueError as error:
            return Power((), notes=(f"not supported: {error}",))
        with Judge(artifact, reference, options, feeds, timeout=timeout) as judge:
            before = time.monotonic()
            control = judge.finding(workshop.unchanged)
            judge.timeout = min(timeout, _TIMEOUT + _PATIENCE * (time.monotonic() - before))
            if control is not None:
                return Power((), notes=(f"not measured: the file, taken apart and unchanged, does not prove ({_words(control)})",))
            agreed = [*witnesses.usual, *(case for case in witnesses.driven if judge.effect([case]) <= 1)]
            judge.now_mutants()
            chosen = choose(workshop.mutations(), budget, choice)
            mutants = tuple(_judged(judge, mutation, agreed) for mutation in chosen)
            smallest = tuple(_smallest(judge, workshop, min(_CLASSES, max(1, budget // _PROBES)), choice))
            notes = () if workshop.weights else ("the file holds no weights: its graph alone was mutated",)
    return Power(mutants, smallest, len(agreed), notes, time.process_time() - start)


def _judged(judge: Judge, mutation: Mutation, witnesses: Sequence[Case]) -> Mutant:
    judge.rest()
    with mutation.made() as paths:
        finding = judge.finding(paths)
        if finding is not None:
            return Mutant(mutation.kind, mutation.where, mutation.change, "killed", _words(finding))
        effect = judge.effect(witnesses)
    return Mutant(mutation.kind, mutation.where, mutation.change, "survived" if effect > 1 else "equivalent", effect=effect)


def _words(finding: Finding) -> str:
    port = f" of {finding.port}" if finding.port else ""
    size = f", off by {finding.error:.1e} where {finding.tolerance:.1e} is allowed" if finding.error and finding.tolerance else ""
    return f"{finding.kind}{port}{size}"


def _smallest(judge: Judge, workshop: Workshop, classes: int, choice: random.Random) -> Iterator[Noticed]:
    """The least noticed change of one weight of each class, by bisection."""
    by_role: dict[str, list[Weight]] = {}
    for weight in workshop.weights:
        by_role.setdefault(weight.role, []).append(weight)
    ranked = sorted(by_role, key=lambda role: -sum(weight.size for weight in by_role[role]))[:classes]
    for role in ranked:
        weight = choice.choice([weight for weight in by_role[role] if any(weight.head())] or by_role[role])

        def noticed(change: AbstractContextManager[None]) -> bool:
            judge.rest()
            with change:
                return judge.finding(workshop.unchanged) is not None

        def element(index: int, weight: Weight = weight) -> Callable[[float], bool]:
            return lambda amount: noticed(element_changed(weight, index, amount))

        def whole(amount: float, weight: Weight = weight) -> bool:
            return noticed(scaled(weight, 1 + amount))

        indices = [choice.randrange(weight.size) for _ in range(_ELEMENTS)]
        index = next((index for index in indices if element(index)(1.0)), None)
        yield Noticed(role, weight.name, None if index is None else least_noticed(element(index)), least_noticed(whole))


def least_noticed(noticed: Callable[[float], bool]) -> float | None:
    """The least of the steps that is noticed, taking larger ones to be noticed when it is; ``None``: none is."""
    low, high = 0, len(_STEPS)  # steps before `low` are noticed, those from `high` on are not
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if noticed(_STEPS[middle]) else (low, middle)
    return _STEPS[low - 1] if low else None
