"""Limits that were found, in words and as names of nodes, and read back from a runtime's error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchport.ports import Signature
from torchport.ports.limits import AtMost, Limits, SizeLimit, SumAtMost, as_name, limit_said_in, limits_found, limits_named_in, places_of

LIMITS = [
    (SizeLimit("time", 9), "time must be 9 or more"),
    (SizeLimit("time", most=5000), "time must be 5000 or less"),
    (SizeLimit("x_time", 9, 5000), "x_time must be 9 to 5000"),
    (SizeLimit("time", multiple_of=4), "time must be a multiple of 4"),
    (SizeLimit("time", 8, 96, 8), "time must be 8 to 96 and a multiple of 8"),
    (AtMost("picks", "x_frames"), "picks must be at most x_frames"),
    (AtMost("picks", "x_frames", 2, -3), "picks must be at most 2 times x_frames minus 3"),
    (AtMost("picks", "time", 1, 10, 4), "picks must be at most time plus 10 over 4"),
    (SumAtMost("past", "x_time", 200), "past + x_time must be at most 200"),
    (SizeLimit("past_plus_time", most=7), "past_plus_time must be 7 or less"),
]
SYMBOLS = ["batch", "time", "x_time", "picks", "x_frames", "past", "past_plus_time"]


@pytest.mark.parametrize(("limit", "sentence"), LIMITS)
def test_a_limit_in_words_is_read_back_from_the_name_of_its_node(limit, sentence):
    assert limit.sentence == sentence
    assert limits_named_in(f"while running Reshape node. Name:'{as_name(limit)}' Status Message: …", SYMBOLS) == (sentence,)


@given(st.lists(st.sampled_from(LIMITS), min_size=1, max_size=4))
def test_limits_of_one_node_are_told_apart(limits):
    name = "_and_".join(as_name(limit) for limit, _ in limits)
    assert limits_named_in(f"Name:'{name}'", SYMBOLS) == tuple(sentence for _, sentence in limits)


def test_the_error_of_another_node_names_no_limit():
    assert limits_named_in("Name:'/encoder/MatMul' Status Message: …", SYMBOLS) == ()
    assert limits_named_in("no node", []) == ()


@pytest.mark.parametrize(("limit", "sentence"), LIMITS)
def test_a_limit_is_read_back_from_the_error_of_a_program_of_torch(limit, sentence):
    assert limit_said_in(f"torch.jit.Error: …\nbuiltins.ValueError: {limit.sentence}, not 3 and 4\n") == (sentence, "3 and 4")
    assert limit_said_in(f"RuntimeError: {limit.sentence}") == (sentence, None)


def test_the_words_of_a_model_are_no_limit():
    assert limit_said_in("ValueError: time must be positive, not 3") is None
    assert limit_said_in("RuntimeError: time must be 9 to 5000 frames") is None


def test_only_what_was_not_declared_was_found():
    declared = Signature.of(inputs={"x": "batch time{min=2,max=90,multiple_of=2}", "y": "batch frames"})
    assert not limits_found(declared, declared)
    settled = declared.restricted({"time": (4, None), "frames": (None, 7)})
    assert limits_found(declared, settled, [AtMost("frames", "time")]) == Limits(
        (SizeLimit("time", 4), SizeLimit("frames", most=7)), (AtMost("frames", "time"),)
    )


def test_two_symbols_that_share_a_room_are_a_limit_by_themselves():
    declared = Signature.of(inputs={"x": "batch time", "y": "batch past"})
    found = limits_found(declared, declared, sums=[SumAtMost("past", "time", 200)])
    assert found
    assert found.sentences == ("past + time must be at most 200",)
    (room,) = found.relations
    assert room.holds({"past": 150, "time": 50})
    assert not room.holds({"past": 150, "time": 51})
    assert room.renamed({"past": "cached"}) == SumAtMost("cached", "time", 200)


def test_a_least_size_that_only_a_factor_makes_is_the_factors():
    declared = Signature.of(inputs={"x": "batch time"})
    assert limits_found(declared, Signature.of(inputs={"x": "batch time{multiple_of=4}"})) == Limits((SizeLimit("time", multiple_of=4),))


def test_a_symbol_is_looked_for_in_the_inputs_at_hand():
    ports = Signature.of(inputs={"x": "batch size size", "y": "batch size"}, outputs={"z": "batch frames"})
    assert places_of(ports, "size", ["x", "y"]) == ("x", (1, 2))
    assert places_of(ports, "size", ["y"]) == ("y", (1,))
    assert places_of(ports, "frames", ["x", "y"]) is None
