"""The judge of mutants: the proof's own verdict, at its first finding, without the search for causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from torchport._options import ExportOptions
from torchport.errors import RuntimeFailure
from torchport.verification._memory import hand_back
from torchport.verification._records import Array, Case, Finding
from torchport.verification.comparison import Difference, is_exact
from torchport.verification.proof import Prover, failure_of
from torchport.verification.reference import Reference
from torchport.verification.runtimes import Session, open_artifact
from torchport.verification.second_look import SecondLook

if TYPE_CHECKING:
    from torchport.emit import Artifact

__all__ = ["Judge"]


class Judge:
    """Judges one changed artifact after the other.

    What the second looks of the proof measure of the model is measured once, for all of them; runtimes that live in a process of their own
    keep it from mutant to mutant.

    Args:
        artifact: The artifact that was proved.
        reference: What it was proved against.
        options: The options of its proof.
        feeds: Constant inputs.
        timeout: Seconds for loading and for each answer, where the runtime has a process of its own.
    """

    def __init__(
        self, artifact: Artifact, reference: Reference, options: ExportOptions, feeds: Mapping[str, Array], *, timeout: float
    ) -> None:
        self._artifact = artifact
        self._options = options
        self.timeout = timeout
        self._prover = _Quick(artifact, reference, options, dict(feeds))
        self._session: Session | None = None

    def now_mutants(self) -> None:
        """What was judged until now was the unchanged artifact; from here on they are mutants."""
        self._prover.quick_look.unchanged = False

    def finding(self, paths: Sequence[Path]) -> Finding | None:
        """The first thing that the proof holds against these files; ``None``: it would let them pass."""
        try:
            session = self._open(paths)
        except RuntimeFailure as error:
            return failure_of(error, {})
        return self._prover.first_finding(session, replace(self._artifact, paths=tuple(paths)))

    def effect(self, witnesses: Sequence[Case]) -> float:
        """The worst error of the files judged last on further inputs, in units of the output's tolerance."""
        assert self._session is not None
        return max((self._prover.error_in_tolerances(self._session, case) for case in witnesses), default=0.0)

    def _open(self, paths: Sequence[Path]) -> Session:
        before = self._session  # kept where the runtime refuses a mutant: its process takes the next one
        opened = None if before is None else before.successor(paths, timeout=self.timeout)
        if opened is None:
            self.close()
            opened = open_artifact(paths, self._artifact.signature, timeout=self.timeout, briefly=True)
        self._session = opened
        return opened

    def rest(self) -> None:
        """Lets go of what the next artifact has no use for, before it is made."""
        if self._session is not None and type(self._session).successor is Session.successor:
            self.close()
            hand_back()

    def close(self) -> None:
        """Lets go of the runtime; may be called twice."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _QuickLook(SecondLook):
    """A second look that runs the model for what the unchanged artifact needed it for, and for nothing else.

    Where ties are not allowed, another index is a finding, tie or not. Between a number and infinity, and of single elements, rounding
    decides where it does so for the unchanged artifact.

    Attributes:
        unchanged: Whether the artifact at hand is the unchanged one.
    """

    def __init__(self, reference: Reference, options: ExportOptions) -> None:
        super().__init__(reference, options)
        self.unchanged = True
        self._decided_by_rounding: set[tuple[int, str]] = set()

    def at(self, case: Case, name: str, got: Array, difference: Difference, tolerance: float) -> tuple[Difference, float]:
        if is_exact(case.outputs[name]) and not self.options.allow_ties:
            return difference, tolerance
        if difference.kind == "pattern" and not self._decides(case, name):
            return difference, tolerance
        return super().at(case, name, got, difference, tolerance)

    def one_by_one(self, case: Case, name: str, got: Array, tolerance: float) -> bool:
        return self._decides(case, name) and super().one_by_one(case, name, got, tolerance)

    def _decides(self, case: Case, name: str) -> bool:
        """Whether rounding may decide there: it did for the unchanged artifact."""
        place = (id(case), name)
        if self.unchanged:
            self._decided_by_rounding.add(place)
        return place in self._decided_by_rounding


class _Quick(Prover):
    """The proof's judgement, case by case."""

    def look_again(self) -> _QuickLook:
        self.quick_look = _QuickLook(self.reference, self.options)
        return self.quick_look

    def first_finding(self, session: Session, artifact: Artifact) -> Finding | None:
        self.artifact = artifact
        self.findings = []
        if self.options.verify and (found := self._check_ports(session)):
            return found[0]
        for index, case in enumerate(self.reference.cases):
            if not (self.options.verify or case.label):
                continue
            result = self._check_case(session, case, stated=self._stated(index))
            if result.findings:
                return result.findings[0]
        if self.options.verify:
            self._check_refusals(session)
        return self.findings[0] if self.findings else None

    def error_in_tolerances(self, session: Session, case: Case) -> float:
        try:
            answer = self._answer(session, case.inputs)
        except RuntimeFailure:
            return float("inf")
        worst = 0.0
        for name, expected in case.outputs.items():
            if name not in answer:
                return float("inf")
            difference, tolerance = self._difference(case, name, answer[name], self.reference.tolerance(name))
            if difference.kind is None and is_exact(expected):
                continue  # equal, or a tie that is allowed
            if difference.kind not in (None, "value") or is_exact(expected):
                return float("inf")
            worst = max(worst, difference.error / tolerance)
        return worst
