"""What a comparison finds: each change with its rule, and the verdict over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torchport.contract._rules import RULES, Grade, Rule

__all__ = ["Change", "Changes", "Verdict"]

Verdict = Literal["breaking", "widening", "cosmetic", "same"]

_ORDER: tuple[Grade, ...] = ("breaking", "widening", "cosmetic", "note")


@dataclass(frozen=True)
class Change:
    """One difference between two contracts.

    Attributes:
        rule: The rule that it falls under.
        where: The port, axis, symbol or domain that it is about; ``""`` where it is the whole file.
        before: What was there; ``""`` where nothing was.
        after: What is there now; ``""`` where nothing is.
    """

    rule: Rule
    where: str
    before: str
    after: str

    @classmethod
    def of(cls, rule: str, where: str = "", before: object = "", after: object = "") -> Change:
        """A change under the rule of that id."""
        return cls(RULES[rule], where, str(before), str(after))

    def to_dict(self) -> dict[str, Any]:
        """The change as plain values, for JSON."""
        return {
            "rule": self.rule.id,
            "grade": self.rule.grade,
            "where": self.where,
            "before": self.before,
            "after": self.after,
            "words": self.rule.words,
        }


@dataclass(frozen=True)
class Changes:
    """Every difference between two contracts, the worst first.

    Attributes:
        found: The changes that count.
        allowed: Changes that the caller accepts; they do not count in the verdict.
    """

    found: tuple[Change, ...] = ()
    allowed: tuple[Change, ...] = ()

    @classmethod
    def sorted(cls, found: Iterable[Change], allowed: Iterable[str] = ()) -> Changes:
        """The changes in order, those of the rules ``allowed`` apart."""
        accepted = set(allowed)
        ordered = sorted(found, key=lambda change: _ORDER.index(change.rule.grade))
        return cls(
            tuple(change for change in ordered if change.rule.id not in accepted),
            tuple(change for change in ordered if change.rule.id in accepted),
        )

    def __iter__(self) -> Iterator[Change]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def of(self, grade: Grade) -> tuple[Change, ...]:
        """The changes of one grade."""
        return tuple(change for change in self.found if change.rule.grade == grade)

    @property
    def verdict(self) -> Verdict:
        """The worst grade; ``same`` where nothing but the content changed."""
        grades = {change.rule.grade for change in self.found}
        for grade in ("breaking", "widening", "cosmetic"):
            if grade in grades:
                return grade
        return "same"

    def to_dict(self) -> dict[str, Any]:
        """The changes as plain values, for JSON."""
        return {
            "verdict": self.verdict,
            "changes": [change.to_dict() for change in self.found],
            "allowed": [change.to_dict() for change in self.allowed],
        }
