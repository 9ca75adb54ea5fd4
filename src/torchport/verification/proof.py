"""Proves an artifact: runs it in its real runtime on every case of the reference and compares, without mercy and with a table."""

from __future__ import annotations

import contextlib
import linecache
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from torchport._options import ExportOptions
from torchport.errors import NoAnswerError, RuntimeFailure
from torchport.ports.extremes import EXTREMES
from torchport.verification._memory import hand_back
from torchport.verification._records import Array, Case, CaseResult, Finding, sizes_text
from torchport.verification.axes import answers_to, check_ports, onnx_ports
from torchport.verification.cause import Cause, find_cause
from torchport.verification.causes.hidden_rows import hidden_rows
from torchport.verification.comparison import Difference, compare, is_exact
from torchport.verification.record import Proof
from torchport.verification.reference import Reference
from torchport.verification.rows import INDEPENDENT, rows_of
from torchport.verification.runtimes import PortInFile, Session, open_artifact, runtime_for
from torchport.verification.runtimes._base import shortened
from torchport.verification.second_look import TIE, SecondLook

if TYPE_CHECKING:
    from torchport.emit import Artifact

__all__ = ["Prover", "failure_of", "prove"]


def prove(
    artifact: Artifact,
    reference: Reference,
    options: ExportOptions,
    *,
    feeds: Mapping[str, Array] | None = None,
    timeout: float = 600.0,
    session: Session | None = None,
    explain: bool = True,
) -> Proof:
    """Runs the artifact on every case of the reference.

    Args:
        artifact: The files and their ports.
        reference: What the untouched model answers.
        options: ``verify``, ``check_trace``, ``check_tolerance`` and ``allow_ties`` are read. Without ``verify`` only the caller's own
            examples are checked, within ``check_tolerance``.
        feeds: Constant inputs: the weights of an artifact exported with ``export_params=False``.
        timeout: Seconds for loading and for each answer, where the runtime has a process of its own.
        session: An opened artifact, instead of opening it; it stays open.
        explain: Look for the cause where something differs.

    Returns:
        The proof; it may have failed. A runtime that refuses, crashes or hangs is a finding.

    Raises:
        NoAnswerError: The artifact was not loaded within the timeout: that tells nothing about its answers.
    """
    start = time.process_time()
    prover = Prover(artifact, reference, options, dict(feeds or {}))
    runtime = runtime_for(artifact.path).name
    hand_back()
    try:
        opened = session or open_artifact(artifact.paths, artifact.signature, timeout=timeout, briefly=True)
    except NoAnswerError:
        raise
    except RuntimeFailure as error:
        prover.findings.append(failure_of(error, {}))
    else:
        with opened if session is None else contextlib.nullcontext():
            prover.run(opened)
            if explain:
                prover.explain(opened)
    weak = [note for note in reference.notes if note.startswith("weak:")]
    return Proof(
        artifact=artifact.path.name,
        runtime=runtime,
        cases=tuple(prover.results),
        findings=tuple(prover.findings),
        noise=dict(reference.noise),
        tolerances={name: reference.tolerance(name) for name in reference.cases[0].outputs},
        noise_source=reference.noise_source,
        ranges=dict(reference.ranges),
        merged=dict(reference.merged),
        rows=prover.rows,
        notes=tuple(dict.fromkeys((*weak, *prover.second_look.notes, *prover.notes))),
        cpu_seconds=time.process_time() - start,
        cause=prover.cause,
    )


_DECIDES = "decides by a size, otherwise at {}: the file holds one way only"
_SCALES = (
    "makes the length of an axis by a scale that the file has in single precision, and torch in double: with "
    "interpolate(…, recompute_scale_factor=True), or size=…, they are the same"
)


class Prover:
    """The state of one proof."""

    def __init__(self, artifact: Artifact, reference: Reference, options: ExportOptions, feeds: dict[str, Array]) -> None:
        self.artifact = artifact
        self.reference = reference
        self.options = options
        self.feeds = feeds
        self.tried: list[Case] = []
        self.results: list[CaseResult] = []
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.rows: dict[str, str] = {}
        self.cause: Cause | None = None
        self.session: Session | None = None
        self.second_look = self.look_again()

    def look_again(self) -> SecondLook:
        """What looks again at a difference."""
        return SecondLook(self.reference, self.options, self._again)

    def _again(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert self.session is not None
        return self._answer(self.session, inputs)

    def run(self, session: Session) -> None:
        """The file's ports, every case, every refused size, the caller's output."""
        self.session = session
        if self.options.verify:
            self.findings.extend(self._check_ports(session))
            if not answers_to(*self._ports(session), self.artifact.signature, unused=self.artifact.unused_inputs):
                return  # one finding says it; every case would say it again
        for index, case in enumerate(self.reference.cases):
            if self.options.verify or case.label:
                self.results.append(self._check_case(session, case, stated=self._stated(index)))
                self.tried.append(case)
        self._name_decisions()
        self.findings.extend(finding for result in self.results for finding in result.findings)
        if self.options.verify:
            self._check_refusals(session)
            self._check_empty_rows(session)
            if not self.findings:
                self.rows = rows_of(self._again, self.reference)
                self.notes.extend(f"rows: output `{name}` {said}" for name, said in self.rows.items() if said != INDEPENDENT)

    def _name_decisions(self) -> None:
        """Where the cases that differ are those at which a decision on a size goes another way, that decision is the cause."""
        wrong = [case.turned for case, result in zip(self.tried, self.results, strict=True) if result.findings]
        ran = zip(self.tried, self.results, strict=True)
        right = [case.turned for case, result in ran if not result.findings and case.label not in EXTREMES]  # zeros are right by chance
        places = sorted(frozenset.intersection(*wrong) - frozenset().union(*right)) if wrong else []
        if not places:
            return
        file, line = places[0]
        source = linecache.getline(file, line).strip()
        where = f"{Path(file).name}:{line}" + (f" (`{shortened(source, 80)}`)" if source else "")
        for index, result in enumerate(self.results):
            if result.findings:
                cause = f"{where} {_SCALES if places[0] in self.reference.lines_scaling else _DECIDES.format(sizes_text(result.sizes))}"
                self.results[index] = replace(result, findings=tuple(replace(one, cause=cause) for one in result.findings))

    def explain(self, session: Session) -> None:
        """Looks for the cause where the artifact was wrong, once: at the case that tells most."""
        if not any(one.sizes and not one.cause for result in self.results for one in result.findings):
            return
        unexplained = [result for result in self.results if not all(one.cause for one in result.findings)]
        self.cause = find_cause(self.artifact, self.reference, unexplained, self.feeds, session)
        if self.cause is None:
            return
        text = self.cause.text

        def explained(findings: Iterable[Finding]) -> list[Finding]:
            return [replace(one, cause=text) if one.sizes and not one.cause else one for one in findings]

        self.findings = explained(self.findings)
        self.results = [replace(result, findings=tuple(explained(result.findings))) for result in self.results]

    def _check_ports(self, session: Session) -> list[Finding]:
        return check_ports(
            *self._ports(session),
            self.artifact.signature,
            unused=self.artifact.unused_inputs,
            extra=self.feeds,
            traced=self.reference.traced,
            foreign=None if "torchport.signature" in self.artifact.metadata else self.reference.declared,
        )

    def _ports(self, session: Session) -> tuple[Sequence[PortInFile], Sequence[PortInFile]]:
        if self.artifact.path.suffix.lower() == ".onnx":
            return onnx_ports(self.artifact.path)
        return session.inputs, session.outputs

    def _answer(self, session: Session, inputs: Mapping[str, Array]) -> dict[str, Array]:
        given = {name: array for name, array in {**self.feeds, **inputs}.items() if name in session.input_names}
        return session.run(given)

    def _stated(self, index: int) -> Mapping[str, Array] | None:
        return self.reference.output_example if index == self.reference.output_example_case else None

    def _check_case(self, session: Session, case: Case, *, stated: Mapping[str, Array] | None) -> CaseResult:
        findings: list[Finding] = []
        try:
            answer = self._answer(session, case.inputs)
        except RuntimeFailure as error:
            return CaseResult(case.sizes, case.label, float("inf"), 0.0, (failure_of(error, case.sizes),))
        worst, allowed = 0.0, 0.0
        for name in case.outputs:
            if name not in answer:
                findings.append(Finding("names", name, case.sizes, f"an output {name!r}", ", ".join(answer)))
                continue
            tolerance = self.reference.tolerance(name) if self.options.verify else self.options.check_tolerance
            difference, tolerance = self._difference(case, name, answer[name], tolerance)
            if difference.kind is not None:
                findings.append(self._finding(case, name, difference, tolerance, answer))
            if difference.error > worst or allowed == 0.0:
                worst, allowed = difference.error, tolerance
        findings.extend(self._against_stated(case, answer, stated or {}))
        if case.label in EXTREMES:
            findings = [replace(finding, values=case.label) for finding in findings]
        return CaseResult(case.sizes, case.label, worst, allowed, tuple(findings))

    def _against_stated(self, case: Case, answer: Mapping[str, Array], stated: Mapping[str, Array]) -> list[Finding]:
        """The artifact's answer against the caller's ``output_example``."""
        findings = []
        tolerance = self.options.check_tolerance
        for name, expected in stated.items():
            difference = compare(expected, answer[name], tolerance) if name in answer else Difference(None)
            if difference.kind is not None:
                said = f"{difference.expected} in output_example"
                findings.append(Finding("example", name, case.sizes, said, difference.got, difference.index, difference.error, tolerance))
        return findings

    def _difference(self, case: Case, name: str, got: Array, tolerance: float) -> tuple[Difference, float]:
        """How an answer differs from the model's, and the tolerance that it was held to in the end."""
        difference = compare(case.outputs[name], got, tolerance)
        if difference.kind not in ("value", "pattern"):
            return difference, tolerance
        if self.options.verify and case.label in EXTREMES:  # only now is it worth asking how the model rounds at these very values
            own = self.reference.tolerance_at(case, name)
            if own == float("inf"):
                said = f"output `{name}`: at {case.label} values rounding alone decides it; only dtype and shape were held there"
                self.notes.append(said)
                return Difference(None), tolerance
            difference, tolerance = compare(case.outputs[name], got, own), own
            if difference.kind is None:
                return difference, tolerance
        return self.second_look.at(case, name, got, difference, tolerance)

    def _finding(self, case: Case, name: str, difference: Difference, tolerance: float, answer: Mapping[str, Array]) -> Finding:
        assert difference.kind is not None
        tie = difference.got.endswith(TIE)
        value = difference.kind == "value" and not is_exact(case.outputs[name])
        return Finding(
            "tie" if tie else difference.kind,
            name,
            case.sizes,
            difference.expected,
            difference.got,
            difference.index,
            difference.error if value else None,
            tolerance if value else None,
            "two scores tie; allow_ties=True accepts either" if tie else self._look(case, name, difference, answer),
        )

    def _swapped(self, case: Case, name: str, answer: Mapping[str, Array]) -> str:
        """Whether the artifact gives under this name what the model gives under another."""
        for other, expected in case.outputs.items():
            if other != name and compare(expected, answer[name], self.reference.tolerance(other)).kind is None:
                return f"the file gives output `{other}` under the name `{name}`"
        return ""

    def _look(self, case: Case, name: str, difference: Difference, answer: Mapping[str, Array]) -> str:
        """What the answer itself tells of the cause."""
        if difference.kind == "shape" and case.label == "negative":
            wrong = [pair for pair in zip(case.outputs[name].shape, answer[name].shape, strict=False) if pair[0] != pair[1]]
            if wrong and all(expected < got and got in case.sizes.values() for expected, got in wrong):
                told = "all rows are short here: the model ends with the longest, the file with the axis"
                return f"{told}; pad_packed_sequence keeps the axis with total_length=x.shape[1]"
        hidden = hidden_rows(case, name, answer[name]) if difference.kind == "pattern" else ""
        return hidden or self._swapped(case, name, answer)

    def _unkept(self) -> str:
        """What the file does not keep of what was found, and what to do: sizes can be declared (``time{min=4}``), relations cannot."""
        limits = self.reference.limits
        if not limits.sizes or limits.sums:
            said = "; ".join(limits.sentences) or "a limit of the model"
            return f"{said}: the model checks that, the file does not; a file that torchport exports does"
        found = []
        for one in limits.sizes:
            ends = {"min": one.least, "max": one.most, "multiple_of": one.multiple_of if one.multiple_of > 1 else None}
            found.append(f"{one.symbol}{{{','.join(f'{name}={size}' for name, size in ends.items() if size is not None)}}}")
        return f"declare {', '.join(found)}: where an axis ends, nothing is promised outside"

    def _check_refusals(self, session: Session) -> None:
        """Outside the sizes that the model answers, the artifact must fail too."""
        for refusal in self.reference.refusals:
            if refusal.inputs is None:
                continue
            try:
                answer = self._answer(session, refusal.inputs)
            except RuntimeFailure:
                continue
            shapes = ", ".join(f"{name} {list(np.shape(array))}" for name, array in answer.items())
            if not any(np.size(array) for array in answer.values()):  # a pool over too few frames: no number that could mislead
                self.notes.append(
                    f"outside its range the artifact gives empty outputs where the model refuses: {sizes_text(refusal.sizes)}"
                )
                continue
            self.findings.append(
                Finding(
                    "range",
                    "",
                    refusal.sizes,
                    "an error, as from the model",
                    shapes,
                    cause=self._unkept(),
                )
            )

    def _check_empty_rows(self, session: Session) -> None:
        """A row that a mask hides as a whole has no meaning; where the artifact answers it otherwise than the model, that is told."""
        case = self.reference.empty
        if case is None:
            return
        findings = self._check_case(session, case, stated=None).findings
        if findings:
            first = findings[0]
            said = f"the model gives {first.expected}, the artifact {first.got}" if first.kind != "runtime" else first.got
            self.notes.append(f"limit: a row that is masked as a whole is not promised: {said} in output `{first.port}`")


def failure_of(error: RuntimeFailure, sizes: Mapping[str, int]) -> Finding:
    """What the runtime refused, as a finding."""
    found = error.message if error.found is None else f"{error.message}: {shortened(str(error.found), 200)}"
    return Finding("runtime", "", sizes, "an answer", found, cause=error.hint or "")
