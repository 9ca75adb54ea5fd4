"""Finds the cause of a wrong answer: where the artifact leaves the model, and whether a traced size in the file is to blame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchport.errors import RuntimeFailure
from torchport.ports.extremes import EXTREMES
from torchport.verification._records import Array, Case, CaseResult
from torchport.verification.causes.eager import Step, Watched, watch
from torchport.verification.causes.fingerprints import Shelf, fingerprint
from torchport.verification.causes.frontier import first_wrong_node, first_wrong_steps, of_one_module, step_before, wrong_nodes
from torchport.verification.causes.healing import FailingCase, Suspect, heal
from torchport.verification.causes.literals import LiteralTrial, literals_of
from torchport.verification.causes.onnx_constants import OnnxTrial, short_table, suspects_of
from torchport.verification.causes.onnx_values import NodeSeen, Seen, load, see
from torchport.verification.causes.torch_values import see_torch
from torchport.verification.comparison import compare
from torchport.verification.reference import Reference
from torchport.verification.runtimes import Session
from torchport.verification.runtimes._torch_files import TorchFileSession

if TYPE_CHECKING:
    import onnx

    from torchport.emit import Artifact

__all__ = ["Cause", "Search", "failing_cases", "find_cause"]

_NEAR = 5e-6
"""Inner values that differ by less of their length are the same: rounding, in another order."""

_NOISE = 4
"""So many times the tolerance of the outputs, inner values may differ."""

_PREPARED = "the prepared model no longer answers as the untouched one: look at _prepare_for_export and the swapped modules"

_PASSING = 2
"""So many cases that pass have to stay right, at sizes other than the traced ones."""

_CONFIRMING = 4
"""So many further failing cases are asked before a constant is called guilty."""


@dataclass(frozen=True)
class Cause:
    """Why an artifact's answer is wrong, as far as it was found.

    Attributes:
        claim: What is sure, or ``""``: "`time` was baked in at 37".
        doubt: What may be: "`time` may have been baked in at 37".
        node: The node where it happens.
        module: The path of its module; ``None`` where it is not known.
        file: The source file.
        line: The line.
    """

    claim: str = ""
    doubt: str = ""
    node: str = ""
    module: str | None = None
    file: str = ""
    line: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, for JSON."""
        return {**asdict(self), "file": Path(self.file).name, "text": self.text}

    @property
    def text(self) -> str:
        """One sentence."""
        places = [f"node {self.node}"] if self.node else []
        if self.module is not None:
            places.append(f"module `{self.module}`" if self.module else "the model itself")
        if self.file:
            places.append(f"{Path(self.file).name} line {self.line}")
        if not places:
            return self.claim or self.doubt
        what = self.claim or self.doubt
        return f"{what or 'the first wrong value'}: {', '.join(places)}"


def failing_cases(results: Sequence[CaseResult], cases: Sequence[Case]) -> list[tuple[Case, CaseResult]]:
    """The failing cases, first the one that tells most for the least work: usual values, no size is 1, it is answered, it is small."""
    by_sizes = {(tuple(case.sizes.items()), case.label): case for case in cases}
    failing = [
        (case, result) for result in results if result.findings and (case := by_sizes.get((tuple(result.sizes.items()), result.label)))
    ]

    def cost(pair: tuple[Case, CaseResult]) -> tuple[bool, bool, bool, int]:
        case, result = pair
        refused = any(finding.kind == "runtime" for finding in result.findings)
        small = any(size < 2 for size in case.sizes.values())
        return case.label in EXTREMES, small, refused, sum(array.size for array in case.inputs.values())

    return sorted(failing, key=cost)


def passing_cases(failing: Sequence[Case], reference: Reference) -> list[Case]:
    """Cases that nothing was found at, at sizes other than the traced ones, the one that is most unlike them first."""
    wrong = {tuple(case.sizes.items()) for case in failing}
    others = [case for case in reference.cases if tuple(case.sizes.items()) not in wrong and case.label not in EXTREMES]

    def alike(case: Case) -> tuple[int, int]:
        return sum(case.sizes.get(name) == size for name, size in reference.traced.items()), sum(one.size for one in case.inputs.values())

    return [case for case in sorted(others, key=alike) if alike(case)[0] < len(reference.traced)][:_PASSING]


def find_cause(
    artifact: Artifact, reference: Reference, results: Sequence[CaseResult], feeds: Mapping[str, Array], session: Session
) -> Cause | None:
    """The cause of what went wrong, looked for at the failing case that tells most.

    Args:
        artifact: The artifact.
        reference: What the untouched model answers.
        results: How the artifact did on every case.
        feeds: Constant inputs: weights that the artifact takes.
        session: The opened artifact.

    Returns:
        What was found; ``None``: nothing.
    """
    failing = failing_cases(results, reference.cases)
    if not failing:
        return None
    case, result = failing[0]
    outputs = list(dict.fromkeys(finding.port for finding in result.findings if finding.port)) or list(case.outputs)
    if reference.call is not None and not reference.answers_as_before(case):
        return Cause(claim=_PREPARED)
    apart = {tuple(one.sizes.items()): one for one, _ in reversed(failing)}  # the likeliest of each combination of sizes
    others = [one for one, _ in failing if one is not case and apart[tuple(one.sizes.items())] is one]
    search = Search(artifact, reference, [case, *others[:_CONFIRMING]], outputs, feeds, session)
    search.stay_right(passing_cases([one for one, _ in failing], reference))
    return search.in_onnx() if artifact.path.suffix.lower() == ".onnx" else search.in_torch_file()


class Search:
    """The search for one cause."""

    def __init__(
        self,
        artifact: Artifact,
        reference: Reference,
        cases: Sequence[Case],
        outputs: Sequence[str],
        feeds: Mapping[str, Array],
        session: Session | None,
    ) -> None:
        self.artifact, self.reference, self.cases, self.outputs, self.session = artifact, reference, cases, outputs, session
        self.feeds = feeds
        self.failing = [FailingCase(case.sizes, {**feeds, **case.inputs}) for case in cases]
        self.case = cases[0]
        self.moved = {name: size for name, size in reference.traced.items() if self.case.sizes.get(name, size) != size}
        self.near = max([_NEAR, *(_NOISE * reference.tolerance(name) for name in outputs)])
        self.watched = _watched(reference, self.case)

    def stay_right(self, cases: Sequence[Case]) -> None:
        """Adds cases that the file answers right, as far as it does."""
        for case in cases:
            self.cases = [*self.cases, case]
            try:
                inputs = {**self.feeds, **case.inputs}
                given = {name: array for name, array in inputs.items() if self.session is None or name in self.session.input_names}
                right = self.session is not None and self.right(len(self.cases) - 1, self.session.run(given))
            except RuntimeFailure:
                right = False
            if right:
                self.failing.append(FailingCase(case.sizes, inputs, passes=True))
            else:
                self.cases = self.cases[:-1]

    def in_onnx(self) -> Cause | None:
        """The cause in an ONNX file."""
        try:
            model = load(self.artifact.path)
        except Exception:  # noqa: BLE001 - a file that cannot be read has another finding
            return None
        if model is None:
            return None
        seen = see(model, self.failing[0].inputs)
        steps, nodes = self.where(seen)
        suspects = suspects_of(model, seen, nodes, self.moved, self.case.sizes)
        confirmed = self.healed_onnx(model, suspects)
        if not confirmed and steps:
            around = [*nodes, *(node for node in seen.nodes if of_one_module(node, steps[0]) and node not in nodes)]
            confirmed = self.healed_onnx(model, suspects_of(model, seen, around, self.moved, self.case.sizes))
        if not confirmed and nodes:
            wide = suspects_of(model, seen, (), self.moved, self.case.sizes)
            confirmed = self.healed_onnx(model, [one for one in wide if one.tier < 2])
        table = None if confirmed else short_table(model, nodes if self.watched else seen.nodes, self.moved, self.case.sizes)
        return self.told(seen, steps, nodes, confirmed, suspects, table)

    def in_torch_file(self) -> Cause | None:
        """The cause in a TorchScript or ``.pt2`` file."""
        if not isinstance(self.session, TorchFileSession):
            return None
        try:
            seen = see_torch(self.session, self.case.inputs, list(self.case.outputs))
            steps, nodes = self.where(seen)
            suspects = literals_of(self.artifact.path, nodes, steps, self.moved) if self.artifact.format == "torchscript" else []
            confirmed = self.healed_torchscript(suspects)
        except RuntimeFailure:
            return None
        return self.told(seen, steps, nodes, confirmed, suspects, None)

    def where(self, seen: Seen) -> tuple[list[Step], list[NodeSeen]]:
        """The operations of the model, and the nodes of the file, where the two part."""
        if self.watched is None:
            return [], []
        in_file, in_model = Shelf(self.near), Shelf(self.near)
        for one in seen.prints.values():
            in_file.put(one)
        for one in (*self.watched.values, *map(fingerprint, self.case.inputs.values())):
            in_model.put(one)
        return first_wrong_steps(self.watched, in_file, self.outputs), wrong_nodes(seen, in_model, self.outputs)

    def healed_onnx(self, model: onnx.ModelProto, suspects: Sequence[Suspect]) -> list[Suspect]:
        """Constants that were confirmed to be to blame."""
        if not suspects:
            return []
        try:
            trial = OnnxTrial(model, suspects, self.failing, self.right)
        except Exception:  # noqa: BLE001 - the runtime wants its constants constant: then nothing can be confirmed
            return []
        return heal(trial, suspects)

    def healed_torchscript(self, suspects: Sequence[Suspect]) -> list[Suspect]:
        """Numbers in the code that were confirmed to be to blame."""
        if not suspects:
            return []
        assert isinstance(self.session, TorchFileSession)
        trial = LiteralTrial(self.session, self.artifact.path, self.failing, self.right)
        try:
            return heal(trial, suspects)
        finally:
            trial.close()

    def right(self, place: int, answer: Mapping[str, Array]) -> bool:
        """Whether an answer to a case is the model's."""
        return all(
            name in answer and compare(expected, answer[name], self.reference.tolerance(name)).kind is None
            for name, expected in self.cases[place].outputs.items()
        )

    def told(
        self,
        seen: Seen,
        steps: Sequence[Step],
        nodes: Sequence[NodeSeen],
        confirmed: Sequence[Suspect],
        suspects: Sequence[Suspect],
        table: tuple[NodeSeen, str] | None,
    ) -> Cause | None:
        """What was found, as a cause: the surest first."""
        if confirmed:
            return _placed(confirmed[0].node, steps, claim=_sentence(confirmed, "was baked in"))
        if table is not None:
            return _placed(table[0], steps, claim=table[1])
        wrong = {one.operator for one in nodes}
        suspected = [
            one for one in suspects if one.tier == 0 and (self.watched is None or one.node in nodes or one.node.operator in wrong)
        ][:1]
        node = first_wrong_node(nodes, steps[0] if steps else None)
        if self.watched is None:
            node = suspected[0].node if suspected else seen.failed
        if node is None and not steps:
            return None
        if not steps and node is not None and self.watched is not None:
            before = step_before(node, seen, self.watched, self.near)
            steps = [before] if before is not None else []
        return _placed(node, steps, doubt=_sentence(suspected, "may have been baked in"))


def _watched(reference: Reference, case: Case) -> Watched | None:
    """The model at work, where there is one at hand."""
    return None if reference.call is None else watch(reference.call, case.inputs)


def _placed(node: NodeSeen | None, steps: Sequence[Step], *, claim: str = "", doubt: str = "") -> Cause:
    """A cause at a node, with the line of the step that goes with it."""
    step = next((one for one in steps if node is not None and of_one_module(node, one)), steps[0] if steps else None)
    return Cause(
        claim=claim,
        doubt=doubt,
        node=_named(node),
        module=step.module if step is not None else node.module if node is not None else None,
        file=step.file if step is not None else "",
        line=step.line if step is not None else 0,
    )


def _named(node: NodeSeen | None) -> str:
    """The operator, and its name where the file has one."""
    if node is None:
        return ""
    return f"{node.operator} {node.name!r}" if node.name and not node.name.startswith(("code/", "constants/")) else node.operator


def _sentence(suspects: Sequence[Suspect], verb: str) -> str:
    """Which sizes became numbers; where a number was computed from the size, that number too."""
    found: dict[str, None] = {}
    for one in suspects:
        number = "" if one.value == one.traced else f" (as {one.value:.6g})"
        found[f"`{one.symbol}` {verb} at {one.traced}{number}"] = None
    return " and ".join(found)
