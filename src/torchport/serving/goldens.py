"""The golden cases beside the models of a repository: what a server answers to them is compared with what the model answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchport._comparison import Array, Difference, compare
from torchport._strict_json import strict_json
from torchport.check._arrays import read_arrays
from torchport.errors import OptionError, ServeError
from torchport.serving.client import ModelClient

__all__ = ["Asked", "GoldenCase", "ask_goldens", "compare_answers", "golden_cases"]

_RECORD = "torchport.json"


@dataclass(frozen=True)
class GoldenCase:
    """Inputs, the outputs that belong to them, and how close an answer has to be; names are the server's."""

    model: str
    version: str
    name: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    tolerances: Mapping[str, float]


@dataclass(frozen=True)
class Asked:
    """What came of one case.

    Attributes:
        case: The case.
        differences: How each output differs; empty where it was not asked.
        reason: Why it was not asked, or not answered; empty where it was.
        refused: Whether the server refused it: then it failed.
    """

    case: GoldenCase
    differences: Mapping[str, Difference]
    reason: str = ""
    refused: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; a case that could not be asked is not."""
        return not self.refused and all(one.kind is None for one in self.differences.values())

    @property
    def error(self) -> float:
        """The worst difference, relative to the scale of its output."""
        return max((one.error for one in self.differences.values()), default=0.0)


def golden_cases(repository: Path) -> Iterator[GoldenCase]:
    """Every golden case of every version of every model, in order; models without are passed over.

    Raises:
        OptionError: There is no such repository, or what stands there is broken.
    """
    if not repository.is_dir():
        raise OptionError("there is no such model repository", stage="request", where="repository", found=str(repository))
    for record in sorted(repository.glob(f"*/*/{_RECORD}"), key=lambda path: (path.parts[-3], path.parts[-2].zfill(9))):
        version = record.parent
        try:
            told = strict_json(record.read_text(encoding="utf-8"))
            for golden in told.get("goldens", ()):
                name = str(golden["name"])
                inputs, outputs = (read_arrays(version / "goldens" / f"{name}.{side}.npz", {}) for side in ("inputs", "outputs"))
                yield GoldenCase(version.parent.name, version.name, name, inputs, outputs, dict(golden["tolerances"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise OptionError("the golden cases cannot be read", stage="request", where=str(version), found=str(error)) from error


def ask_goldens(client: ModelClient, cases: Iterator[GoldenCase]) -> Iterator[Asked]:
    """Sends each case to the server and compares."""
    ready = {(one.name, one.version): one for one in client.models()}
    for case in cases:
        served = ready.get((case.model, case.version))
        if served is None or not served.ready:
            yield Asked(case, {}, f"version {case.version} is not served" + (f": {served.reason}" if served and served.reason else ""))
            continue
        if reason := _unfit(case, client.config(case.model)):
            yield Asked(case, {}, reason)
            continue
        try:
            answer = client.ask(case.model, case.inputs, version=case.version)
        except ServeError as error:
            yield Asked(case, {}, f"{error.message}: {error.found}", refused=True)
            continue
        yield Asked(case, compare_answers(case.outputs, answer, case.tolerances))


def compare_answers(expected: Mapping[str, Array], answer: Mapping[str, Array], tolerances: Mapping[str, float]) -> dict[str, Difference]:
    """How each output that is expected differs; one that is not there differs in shape."""
    missing = Difference("shape", "an output", "none", error=float("inf"))
    return {name: compare(want, answer[name], tolerances.get(name, 0.0)) if name in answer else missing for name, want in expected.items()}


def _unfit(case: GoldenCase, config: Mapping[str, Any]) -> str:
    """Why a case cannot be sent as one request; empty where it can."""
    if (config.get("sequence_batching") or {}).get("state"):
        return "the server keeps the state that the case brings along"
    most = int(config.get("max_batch_size") or 0)
    rows = {array.shape[0] for array in case.inputs.values() if array.ndim}
    if most and max(rows, default=0) > most:
        return f"its batch of {max(rows)} is above the {most} that the server takes"
    return ""
