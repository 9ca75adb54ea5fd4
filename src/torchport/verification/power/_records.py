"""The records of power: how each mutant fared, the least change that is noticed, and all of it together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

__all__ = ["REQUIRED", "KindCount", "Mutant", "Noticed", "Power", "Verdict"]

REQUIRED = 0.99
"""So many of the mutants that have an effect must be killed."""

Verdict = Literal["killed", "equivalent", "survived"]
"""The proof failed; no output moved by more than its tolerance on any further input; neither."""


@dataclass(frozen=True)
class Mutant:
    """One changed artifact and what became of it.

    Attributes:
        kind: What sort of change (``"weight scaled"``).
        where: What was changed.
        change: How, in words.
        verdict: See `Verdict`.
        noticed: What the proof found, where it was killed.
        effect: The worst error against the model on the further inputs, in units of the output's tolerance; ``None`` where it was killed.
            Infinite where a shape, a dtype, an integer or the runtime itself differs.
    """

    kind: str
    where: str
    change: str
    verdict: Verdict
    noticed: str = ""
    effect: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, for JSON; an infinite effect is the word ``"infinite"``."""
        effect = self.effect if self.effect is None or isfinite(self.effect) else "infinite"
        return {**vars(self), "effect": effect}


@dataclass(frozen=True)
class Noticed:
    """The least change of one class of weights that the proof notices.

    Attributes:
        weights: The class (``"Conv weight"``).
        example: The weight that was tried.
        element: The least change of one element, relative to the largest magnitude in the tensor; ``None``: not even 1 is noticed.
        scaled: The least factor beside 1 of the whole tensor; ``None`` likewise.
    """

    weights: str
    example: str
    element: float | None
    scaled: float | None

    def sentence(self) -> str:
        """In words."""
        one = (
            "none of three elements, changed by the tensor's scale"
            if self.element is None
            else f"one element by {self.element:.0e} of scale"
        )
        all_of_it = "no scaling up to a factor of 2" if self.scaled is None else f"the tensor by {self.scaled:.0e}"
        return f"{self.weights} ({self.example}): {one}, {all_of_it}"


@dataclass(frozen=True)
class KindCount:
    """The mutants of one kind."""

    kind: str
    mutants: int
    killed: int
    equivalent: int
    survived: int


@dataclass(frozen=True)
class Power:
    """What a proof would have noticed.

    Attributes:
        mutants: Every mutant.
        smallest: The least noticed change by class of weights.
        witnesses: On how many further inputs the effect of a mutant was measured that the proof let pass.
        notes: What could not be tried, and why.
        cpu_seconds: CPU time of this process.
    """

    mutants: tuple[Mutant, ...]
    smallest: tuple[Noticed, ...] = ()
    witnesses: int = 0
    notes: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    by_kind: Mapping[str, KindCount] = field(init=False)

    def __post_init__(self) -> None:
        counts = {}
        for kind in dict.fromkeys(mutant.kind for mutant in self.mutants):
            verdicts = [mutant.verdict for mutant in self.mutants if mutant.kind == kind]
            counts[kind] = KindCount(kind, len(verdicts), *(verdicts.count(one) for one in ("killed", "equivalent", "survived")))
        object.__setattr__(self, "by_kind", counts)

    @property
    def survivors(self) -> tuple[Mutant, ...]:
        """Mutants with an effect that the proof let pass, the largest effect first."""
        return tuple(sorted((one for one in self.mutants if one.verdict == "survived"), key=lambda one: -(one.effect or 0.0)))

    @property
    def killed(self) -> int:
        """How many mutants the proof noticed."""
        return sum(mutant.verdict == "killed" for mutant in self.mutants)

    @property
    def kill_rate(self) -> float | None:
        """Killed mutants among those that have an effect; ``None`` where none has."""
        telling = self.killed + len(self.survivors)
        return self.killed / telling if telling else None

    @property
    def ok(self) -> bool:
        """Whether enough of the mutants that have an effect were killed."""
        return self.kill_rate is not None and self.kill_rate >= REQUIRED

    def summary(self) -> str:
        """One sentence."""
        telling = self.killed + len(self.survivors)
        equivalent = len(self.mutants) - telling
        if not telling:
            return f"no power shown: none of {len(self.mutants)} mutants changes an output beyond its tolerance"
        rest = f"; {equivalent} more change no output beyond its tolerance" if equivalent else ""
        return f"{self.killed} of {telling} mutants noticed{rest}"

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, for JSON."""
        return {
            "ok": self.ok,
            "kill_rate": self.kill_rate,
            "by_kind": [vars(count) for count in self.by_kind.values()],
            "mutants": [mutant.to_dict() for mutant in self.mutants],
            "smallest": [vars(one) for one in self.smallest],
            "witnesses": self.witnesses,
            "notes": list(self.notes),
            "cpu_seconds": round(self.cpu_seconds, 4),
        }
