"""The record of one proof: what was compared and what was found, as a sentence, as a table, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from torchport._counted import counted
from torchport.errors import ProofError
from torchport.verification._records import CaseResult, Finding, sizes_text
from torchport.verification.cause import Cause
from torchport.verification.runtimes._base import shortened

if TYPE_CHECKING:
    from torchport.verification.power._records import Power

__all__ = ["Proof"]

ANOTHER_STRATEGY = "another strategy may capture it right"
"""What to try where nothing is known of the cause."""

_SHOWN = 12
"""So many findings are in the table; the record has them all."""

_CELL = 96
"""What the artifact said is cut to so many characters in the table; the record has it whole."""


@dataclass(frozen=True)
class Proof:
    """The record of one proof.

    Attributes:
        artifact: The file's name.
        runtime: What ran it.
        cases: How each case went.
        findings: What disagreed, over all cases and the file itself; empty when the proof holds.
        noise: The model's own rounding noise by output, relative to the output's scale.
        tolerances: The tolerance of each output, relative to its scale.
        noise_source: ``double`` or ``jitter``.
        ranges: Sizes that hold, where they are fewer than declared.
        merged: Symbols that turned out equal.
        rows: Output to ``independent``, or to what a row's answer depends on; empty where no axis is a batch.
        notes: What weakens the proof, and what was allowed.
        cpu_seconds: CPU time of this process.
        power: What it would have noticed, where that was asked for.
        cause: Where the artifact leaves the model, as far as that was found.
    """

    artifact: str
    runtime: str
    cases: tuple[CaseResult, ...]
    findings: tuple[Finding, ...] = ()
    noise: Mapping[str, float] = field(default_factory=dict)
    tolerances: Mapping[str, float] = field(default_factory=dict)
    noise_source: str = "double"
    ranges: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    power: Power | None = None
    cause: Cause | None = None

    @property
    def ok(self) -> bool:
        """Whether the artifact equals the model wherever it was asked."""
        return not self.findings

    @property
    def worst_error(self) -> float:
        """The worst difference of any output in any case, relative to the output's scale."""
        return max((case.error for case in self.cases), default=0.0)

    def table(self) -> str:
        """The findings as a table, with their likely cause; for a proof that holds, the cases."""
        causes = {finding.cause for finding, *_ in self._shown()}
        return f"{self._rows()}\nlikely cause: {causes.pop()}" if len(causes) == 1 and any(causes) else self._rows()

    def _shown(self) -> list[list[Finding]]:
        """The first findings; those that say the same in several cases are together."""
        alike: dict[tuple[object, ...], list[Finding]] = {}
        for one in self.findings:
            alike.setdefault((one.kind, one.port, one.index, one.expected, one.got, one.error, one.cause), []).append(one)
        return list(alike.values())[:_SHOWN]

    def _rows(self) -> str:
        if self.ok:
            rows = [(case.label or "", sizes_text(case.sizes), f"{case.error:.1e}", f"{case.tolerance:.1e}") for case in self.cases]
            return _columns([("case", "sizes", "worst error", "tolerance"), *rows])
        shown = self._shown()
        causes = {finding.cause for finding, *_ in shown}
        rows5 = [
            (
                finding.port or "(the file)",
                _where_found(finding, len(others)),
                f"[{', '.join(map(str, finding.index))}]" if finding.index is not None else finding.kind,
                finding.expected,
                shortened(finding.got, _CELL)
                + (f" (off by {finding.error:.1e}, allowed {finding.tolerance:.1e})" if finding.tolerance is not None else ""),
                finding.cause if len(causes) > 1 else "",  # one cause for all stands below
            )
            for finding, *others in shown
        ]
        if (more := len(self.findings) - sum(map(len, shown))) > 0:
            rows5.append(("…", f"and {more} more", "", "", "", ""))
        return _columns([("port", "sizes", "worst element", "expected", "got", "likely cause"), *rows5])

    def summary(self) -> str:
        """One sentence."""
        if self.ok:
            worst = f"worst error {self.worst_error:.1e} of the output's scale"
            return f"{self.artifact} equals the model in {self.runtime} at {counted(len(self.cases), 'size')}; {worst}"
        if not self.cases and all(finding.kind == "runtime" for finding in self.findings):
            return f"{self.artifact} cannot be opened by {self.runtime}: {self.findings[0].got}"
        if not self.cases and all(finding.kind == "names" for finding in self.findings):
            return f"{self.artifact} has other ports than the model"
        failed = sum(bool(case.findings) for case in self.cases)
        counts = f"{counted(len(self.findings), 'finding')}, {failed} of {counted(len(self.cases), 'case')}"
        return f"{self.artifact} is not equal to the model in {self.runtime}: {counts}"

    def raise_if_failed(self) -> None:
        """Raises `ProofError` with the table unless the proof holds.

        Raises:
            ProofError: ``error.proof`` is this record.
        """
        if self.ok:
            return
        first = self.findings[0]
        cause = next((finding.cause for finding in self.findings if finding.cause), "")
        error = ProofError(
            self.summary(),
            where=first.port or self.artifact,
            found="\n" + "\n".join(f"    {line}" for line in self._rows().splitlines()),
            hint=(f"look at this first: {cause}" if self.cases else cause) if cause else ANOTHER_STRATEGY,
        )
        error.proof = self
        raise error

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, for JSON."""
        return {
            "ok": self.ok,
            "artifact": self.artifact,
            "runtime": self.runtime,
            "worst_error": _finite(self.worst_error),
            "noise": {name: _finite(value) for name, value in self.noise.items()},
            "noise_source": self.noise_source,
            "tolerances": {name: _finite(value) for name, value in self.tolerances.items()},
            "ranges": {name: list(limits) for name, limits in self.ranges.items()},
            "merged": dict(self.merged),
            "rows": dict(self.rows),
            "cases": [_case_dict(case) for case in self.cases],
            "findings": [_finding_dict(finding) for finding in self.findings],
            "cause": None if self.cause is None else self.cause.to_dict(),
            "notes": list(self.notes),
            "cpu_seconds": round(self.cpu_seconds, 4),
            "power": None if self.power is None else self.power.to_dict(),
        }


def _case_dict(case: CaseResult) -> dict[str, Any]:
    numbers = {"error": _finite(case.error), "tolerance": _finite(case.tolerance)}
    return {"sizes": dict(case.sizes), "label": case.label, **numbers, "ok": not case.findings}


def _finding_dict(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "port": finding.port,
        "sizes": dict(finding.sizes),
        "index": None if finding.index is None else list(finding.index),
        "expected": finding.expected,
        "got": finding.got,
        "error": None if finding.error is None else _finite(finding.error),
        "tolerance": None if finding.tolerance is None else _finite(finding.tolerance),
        "cause": finding.cause,
        "values": finding.values,
    }


def _where_found(finding: Finding, others: int) -> str:
    """The sizes and values of the first case, and how many more have the same finding."""
    case = ", ".join(part for part in (sizes_text(finding.sizes) if finding.sizes else "", finding.values) if part)
    return f"{case} and {counted(others, 'more case', 'more cases')} alike".lstrip() if others else case


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _columns(rows: list[tuple[str, ...]]) -> str:
    """Rows as aligned columns; empty columns are left out."""
    kept = [index for index in range(len(rows[0])) if any(row[index] for row in rows[1:])]
    widths = [max(len(row[index]) for row in rows) for index in kept]
    return "\n".join("  ".join(row[index].ljust(width) for index, width in zip(kept, widths, strict=True)).rstrip() for row in rows)
