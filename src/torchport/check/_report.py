"""What a check found: problems by kind, each kind with its exit code, and how every golden answer came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from torchport.errors import BrokenBundleError

__all__ = ["EXIT_CODES", "FindingKind", "Problem", "Replayed", "Report"]

FindingKind = Literal["signature", "files", "opset", "ports", "weights", "graph", "bytes", "runtime", "values"]

EXIT_CODES: dict[FindingKind, int] = {
    "signature": 16,
    "files": 15,
    "opset": 13,
    "ports": 12,
    "weights": 11,
    "graph": 14,
    "bytes": 10,
    "runtime": 17,
    "values": 3,
}
"""The exit code of each kind of problem; of several, the one that stands first here counts."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was packaged.

    Attributes:
        kind: What sort of thing.
        where: The file, port, tensor or case.
        message: One sentence.
        expected: What the manifest says.
        found: What is there.
    """

    kind: FindingKind
    where: str
    message: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        told = ", ".join(part for part in (self.found and f"found {self.found}", self.expected and f"expected {self.expected}") if part)
        return f"{self.kind}: {self.where}: {self.message}" + (f" ({told})" if told else "")


@dataclass(frozen=True)
class Replayed:
    """One golden case that was run again.

    Attributes:
        artifact: The artifact's name.
        case: The case's name.
        sizes: Symbol to size.
        error: The worst difference of any output, relative to its scale.
        tolerance: What that output is held to.
    """

    artifact: str
    case: str
    sizes: Mapping[str, int]
    error: float
    tolerance: float


@dataclass(frozen=True)
class Report:
    """What came of checking one bundle.

    Attributes:
        bundle: The directory.
        problems: What is wrong; empty when the bundle holds.
        replayed: The golden cases that were run.
        notes: What was not checked, and what the goldens stand for.
    """

    bundle: str
    problems: tuple[Problem, ...] = ()
    replayed: tuple[Replayed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the bundle is what was packaged, and answers as it did."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """0, or the code of the gravest problem."""
        kinds = {problem.kind for problem in self.problems}
        return next((code for kind, code in EXIT_CODES.items() if kind in kinds), 0)

    def raise_if_broken(self) -> None:
        """Raises unless the bundle holds.

        Raises:
            BrokenBundleError: ``error.report`` is this record.
        """
        if self.ok:
            return
        first = min(self.problems, key=lambda problem: list(EXIT_CODES).index(problem.kind))
        more = f"; {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
        error = BrokenBundleError(
            f"the bundle does not hold: {first.message}{more}",
            where=f"{self.bundle}: {first.where}",
            found=first.found or None,
            expected=first.expected or None,
        )
        error.report = self
        error.exit_code = self.exit_code
        raise error

    def text(self) -> str:
        """The report as lines of text."""
        lines = [str(problem) for problem in self.problems]
        for one in self.replayed:
            sizes = ", ".join(f"{name} {size}" for name, size in one.sizes.items()) or "no dynamic axis"
            lines.append(f"replayed: {one.artifact}: {one.case} ({sizes}): off by {one.error:.1e}, allowed {one.tolerance:.1e}")
        lines.extend(f"note: {note}" for note in self.notes)
        lines.append(f"{self.bundle}: holds" if self.ok else f"{self.bundle}: DOES NOT HOLD (exit code {self.exit_code})")
        return "\n".join(line if line.isprintable() else ascii(line)[1:-1] for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, for JSON."""
        return {
            "ok": self.ok,
            "exit_code": self.exit_code,
            "bundle": self.bundle,
            "problems": [vars(problem) for problem in self.problems],
            "replayed": [
                {**vars(one), "sizes": dict(one.sizes), "error": one.error if isfinite(one.error) else None} for one in self.replayed
            ],
            "notes": list(self.notes),
        }
