"""The records of this room: a case, a refusal, a finding, the result of one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torchport._comparison import Array

__all__ = ["Array", "Case", "CaseResult", "Finding", "FindingKind", "Refusal", "sizes_text"]

FindingKind = Literal["names", "dtype", "shape", "pattern", "value", "tie", "runtime", "axis", "range", "example"]
"""What disagreed: names or order of ports, dtype, shape, NaN/Inf pattern, value, an index where scores tie, the runtime itself, an axis in
the file, sizes outside the range that the model answers, the ``output_example``."""


@dataclass(frozen=True)
class Case:
    """One set of inputs, and what the untouched model answers.

    Attributes:
        sizes: Symbol to size.
        inputs: The inputs by name.
        outputs: The model's outputs by name.
        seed: What the inputs were made with.
        label: What the case is when it is not of the covering set (``"example"``, ``"check_trace[1]"``).
        turned: File and line of the decisions on sizes that go another way here than at the traced sizes.
    """

    sizes: Mapping[str, int]
    inputs: Mapping[str, Array] = field(repr=False)
    outputs: Mapping[str, Array] = field(repr=False)
    seed: int = 0
    label: str = ""
    turned: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True)
class Refusal:
    """Sizes that the untouched model does not answer.

    Attributes:
        sizes: Symbol to size.
        reason: The model's own error, shortened.
        inputs: The inputs that it refused; ``None`` where none could be made.
    """

    sizes: Mapping[str, int]
    reason: str
    inputs: Mapping[str, Array] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Finding:
    """One disagreement between the artifact and the model.

    Attributes:
        kind: What disagreed.
        port: The output (or input) it is about; ``""`` when it is the whole artifact.
        sizes: The case's sizes; empty when it is about the file.
        expected: What the model says.
        got: What the artifact says.
        index: The worst element, for values.
        error: The worst difference over the tolerance's scale, for values.
        tolerance: The tolerance that ``error`` exceeds.
        cause: The likely cause.
        values: What the inputs held where they held no usual values (``zeros``, ``large``, …).
    """

    kind: FindingKind
    port: str
    sizes: Mapping[str, int]
    expected: str
    got: str
    index: tuple[int, ...] | None = None
    error: float | None = None
    tolerance: float | None = None
    cause: str = ""
    values: str = ""


@dataclass(frozen=True)
class CaseResult:
    """How the artifact did on one case.

    Attributes:
        sizes: Symbol to size.
        label: The case's label.
        error: The worst difference of any output, over its scale.
        tolerance: The tolerance of that output.
        findings: What disagreed; empty when the case passes.
    """

    sizes: Mapping[str, int]
    label: str
    error: float
    tolerance: float
    findings: tuple[Finding, ...] = ()


def sizes_text(sizes: Mapping[str, int]) -> str:
    """The sizes in words.

    Example:
        >>> sizes_text({"batch": 2, "time": 37})
        'batch 2, time 37'
    """
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "no dynamic axis"
