"""The rules: every way in which two contracts may differ, what it means to those who call the artifact, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["RULES", "Grade", "Rule"]

Grade = Literal["breaking", "widening", "cosmetic", "note"]
"""``breaking``: a client that worked may not work any more. ``widening``: every client still works, and more is possible. ``cosmetic``: no
client can tell. ``note``: the contract is the same, the content is not."""


@dataclass(frozen=True)
class Rule:
    """One kind of change.

    Attributes:
        id: Its name, as ``--allow`` takes it.
        grade: What the change means.
        words: What happened, in a sentence.
        reverse: The rule of the opposite change.
    """

    id: str
    grade: Grade
    words: str
    reverse: str


def _pair(first: str, grade: Grade, words: str, second: str, opposite: Grade, other: str) -> tuple[Rule, Rule]:
    return Rule(first, grade, words, second), Rule(second, opposite, other, first)


def _own(id: str, grade: Grade, words: str) -> tuple[Rule]:
    return (Rule(id, grade, words, id),)


_BREAKING: Grade = "breaking"
_WIDENING: Grade = "widening"

_ALL = (
    # -- inputs: what a client sends has to be taken as before
    *_pair(
        "input-removed", _BREAKING, "an input is gone: clients still send it",
        "input-added", _BREAKING, "a further input has to be sent: clients do not know it",
    ),
    *_pair(
        "optional-input-removed", _BREAKING, "an input that could be left out is gone: clients may send it",
        "optional-input-added", _WIDENING, "there is a further input that may be left out",
    ),
    *_own("input-renamed", _BREAKING, "an input has another name: clients send the old one"),
    *_own("input-order-changed", _BREAKING, "an input stands at another place: clients that send by position send another one"),
    *_pair(
        "input-made-required", _BREAKING, "an input may not be left out any more",
        "input-made-optional", _WIDENING, "an input may be left out now",
    ),
    *_own("input-dtype-changed", _BREAKING, "an input has another dtype"),
    *_own("input-rank-changed", _BREAKING, "an input has another number of axes"),
    *_own("input-size-changed", _BREAKING, "an axis of an input has another size: the old one is refused"),
    *_pair(
        "input-axis-closed", _BREAKING, "an axis of an input varied and has one size now",
        "input-axis-opened", _WIDENING, "an axis of an input had one size and varies now, the old size included",
    ),
    *_own("input-axis-follows-else", _BREAKING, "an axis of an input had one size and has to equal another axis now, or the opposite"),
    *_pair(
        "input-range-narrowed", _BREAKING, "sizes of an input that were taken are refused now",
        "input-range-widened", _WIDENING, "sizes of an input that were refused are taken now",
    ),
    *_pair(
        "inputs-tied", _BREAKING, "axes of inputs that varied apart have to be equal now",
        "inputs-untied", _WIDENING, "axes of inputs that had to be equal vary apart now",
    ),
    *_pair(
        "input-stated", _BREAKING, "the file now fixes the dtype or the axes of an input, which it left open",
        "input-unstated", _WIDENING, "the file now leaves the dtype or the axes of an input open",
    ),
    *_own("input-meaning-changed", _BREAKING, "the numbers of an input mean something else"),
    # -- outputs: what a client gets has to be what it expects
    *_pair(
        "output-removed", _BREAKING, "an output is gone: clients ask for it",
        "output-added", _WIDENING, "there is a further output: clients that ask by name do not see it",
    ),
    *_own("output-renamed", _BREAKING, "an output has another name: clients ask for the old one"),
    *_own("output-order-changed", _BREAKING, "an output stands at another place: clients that read by position read another one"),
    *_own("output-count-changed", _BREAKING, "the call returns another number of outputs, in a format that returns them without names"),
    *_pair(
        "output-made-optional", _BREAKING, "an output may be missing now",
        "output-made-required", _WIDENING, "an output that could be missing is always there now",
    ),
    *_own("output-dtype-changed", _BREAKING, "an output has another dtype"),
    *_own("output-rank-changed", _BREAKING, "an output has another number of axes"),
    *_own("output-size-changed", _BREAKING, "an axis of an output has another size"),
    *_pair(
        "output-axis-opened", _BREAKING, "an axis of an output had one size and varies now: clients counted on it",
        "output-axis-closed", _WIDENING, "an axis of an output varied and has one size now, one of the old ones",
    ),
    *_pair(
        "output-axis-closed-with-input", _BREAKING, "an axis of an output has one size now, as the input that it follows",
        "output-axis-opened-with-input", _WIDENING, "an axis of an output varies now with an input: old calls get what they got",
    ),
    *_own("output-axis-follows-else", _BREAKING, "an axis of an output follows an input that it did not follow, or the opposite"),
    *_pair(
        "output-range-widened", _BREAKING, "an output may have sizes that it never had",
        "output-range-narrowed", _WIDENING, "an output does not have some sizes any more",
    ),
    *_pair(
        "output-untied", _BREAKING, "an axis of an output was equal to another axis and is not any more",
        "output-tied", _WIDENING, "an axis of an output is always equal to another axis now",
    ),
    *_pair(
        "output-unstated", _BREAKING, "the file does not say the dtype or the axes of an output any more",
        "output-stated", _WIDENING, "the file now says the dtype or the axes of an output",
    ),
    *_own("output-meaning-changed", _BREAKING, "the numbers of an output mean something else"),
    # -- the file: whoever runs it has to be able to open it
    *_own("format-changed", _BREAKING, "the artifact is of another format"),
    *_pair(
        "opset-raised", _BREAKING, "the file needs a newer opset: a runtime that does not know it refuses the file",
        "opset-lowered", _WIDENING, "the file needs only an older opset",
    ),
    *_pair(
        "ir-version-raised", _BREAKING, "the file has a newer layout: a runtime that does not know it refuses the file",
        "ir-version-lowered", _WIDENING, "the file has an older layout",
    ),
    *_pair(
        "domain-added", _BREAKING, "the file uses operators of a further domain: a runtime without them refuses the file",
        "domain-removed", _WIDENING, "the file does not use a domain of operators any more",
    ),
    # -- what no client sees
    *_own("symbol-renamed", "cosmetic", "a size that varies has another name"),
    *_pair(
        "meaning-stated", "cosmetic", "the file now says what the numbers of a port mean",
        "meaning-unstated", "cosmetic", "the file does not say any more what the numbers of a port mean",
    ),
    *_own("model-changed", "cosmetic", "the model's class has another name"),
    *_own("strategy-changed", "cosmetic", "another strategy captured the model"),
    *_own("writer-changed", "cosmetic", "another version of torchport or torch wrote the file"),
    # -- content, which is no part of the contract
    *_own("weights-changed", "note", "the weights are others"),
    *_own("graph-changed", "note", "the program is another one"),
    *_own("artifact-changed", "note", "the files' bytes are others"),
)  # fmt: skip

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
"""Every rule, by id."""
