"""Of several strategies that failed, one error is raised, and it says in short what became of the others."""

from torchport._outcome import worst
from torchport.errors import CaptureError, FrozenDecisionError, ProofError
from torchport.result import Attempt


def chosen(*errors):
    return worst(errors, [Attempt(f"s{place}", "failed", error.message, 0.0) for place, error in enumerate(errors)])


def test_a_failed_proof_says_most_then_a_frozen_decision():
    assert chosen(CaptureError("a"), FrozenDecisionError("b"), ProofError("c")).message == "c"
    assert chosen(CaptureError("a"), FrozenDecisionError("b")).message == "b"
    assert chosen(CaptureError("a"), CaptureError("b")).message == "a"


def test_the_others_are_told_with_their_reason_and_what_a_failed_proof_found():
    error = chosen(ProofError("one", hint="first"), ProofError("two\nlines", hint="look there"), CaptureError("three", hint="not this"))
    assert error.also_tried == ("s1: failed: two lines; look there", "s2: failed: three")
    assert str(error).splitlines() == [
        "verify: one",
        "  try: first",
        "  also tried s1: failed: two lines; look there",
        "  also tried s2: failed: three",
    ]


def test_a_long_reason_is_cut():
    (told,) = chosen(ProofError("one"), CaptureError("long " * 400)).also_tried
    assert len(told) < 600
    assert told.endswith(" …")


def test_an_error_that_stands_alone_says_nothing_of_others():
    assert chosen(CaptureError("a")).also_tried == ()
