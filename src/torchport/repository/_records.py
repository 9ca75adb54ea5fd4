"""The records of a check: findings, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torchport._counted import counted
from torchport.repository._rules import RULES, Effect, Severity, severity_of

__all__ = ["Finding", "Report", "Verdict"]

Verdict = Literal["loads", "refused", "undecided"]
"""What a server makes of a model, as far as the files tell."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: The rule's id.
        model: The model's folder; empty for the repository itself.
        file: The file, relative to the repository.
        line: The line in it, from 1; 0 where it is about the file as a whole.
        column: The column, from 1; 0 likewise.
        message: What is wrong, in a sentence.
        found: What is there.
        expected: What should be there.
        effect: What the server makes of it.
    """

    rule: str
    model: str
    file: str
    message: str
    effect: Effect
    line: int = 0
    column: int = 0
    found: str = ""
    expected: str = ""

    @property
    def severity(self) -> Severity:
        """``error`` where the model is refused or answers wrong, else ``warning``."""
        return severity_of(self.effect)

    @property
    def fix(self) -> str:
        """What to do."""
        return RULES[self.rule].fix

    @property
    def place(self) -> str:
        """The file, with line and column where they are known: ``m/config.pbtxt:12:3``."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        found = f": {self.found}" if self.found else ""
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.severity} {self.rule} {self.place}: {self.message}{found}{expected} (try: {self.fix})"

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "effect": self.effect,
            "model": self.model,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "found": self.found,
            "expected": self.expected,
            "fix": self.fix,
        }


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        models: What the server makes of each model, by its folder; ignored findings count here.
        findings: What is wrong, without what was ignored; by model and place.
        ignored: What is wrong with rules that were to be ignored.
    """

    models: Mapping[str, Verdict]
    findings: Sequence[Finding]
    ignored: Sequence[Finding] = ()

    @property
    def errors(self) -> list[Finding]:
        """Findings for which the server refuses a model, or serves it wrong."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def clean(self) -> bool:
        """Whether nothing was found, no warning either."""
        return not self.findings

    def summary(self) -> str:
        """How many models, errors and warnings there are."""
        errors = len(self.errors)
        parts = [counted(errors, "error"), counted(len(self.findings) - errors, "warning")]
        if self.ignored:
            parts.append(f"{len(self.ignored)} ignored")
        return f"{counted(len(self.models), 'model')}: {', '.join(parts)}"

    def text(self) -> str:
        """The findings, one in each line, and a last line that sums up."""
        return "\n".join([*(str(finding) for finding in self.findings), self.summary()])

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "clean": self.clean,
            "errors": len(self.errors),
            "warnings": len(self.findings) - len(self.errors),
            "models": dict(self.models),
            "findings": [finding.to_dict() for finding in self.findings],
            "ignored": [finding.to_dict() for finding in self.ignored],
        }
