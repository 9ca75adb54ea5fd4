"""One run for many requests, and to each its own rows; and what a sequence keeps between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchport.serving.backends.batching import answer_together
from torchport.serving.backends.sequences import SequenceStates


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_each_request_gets_its_own_rows(sizes):
    feeds = [{"x": np.full((size, 2), index, np.int64), "y": np.arange(size)} for index, size in enumerate(sizes)]
    runs = []

    def run(feed):
        runs.append(len(feed["x"]))
        return {"sum": feed["x"].sum(1) + feed["y"]}

    answers = answer_together(feeds, run, batched=True)
    assert runs == [sum(sizes)]
    for feed, answer in zip(feeds, answers, strict=True):
        np.testing.assert_array_equal(answer["sum"], feed["x"].sum(1) + feed["y"])


def test_without_a_batch_each_request_is_a_run():
    runs = []
    answer_together([{"x": np.zeros(2)}, {"x": np.zeros(3)}], lambda feed: runs.append(feed["x"].shape) or {}, batched=False)
    assert runs == [(2,), (3,)]


@pytest.mark.parametrize("answer", [np.zeros((3, 1)), np.zeros(())])
def test_an_answer_for_another_batch_is_no_answer(answer):
    with pytest.raises(ValueError, match="for a batch of 2"):
        answer_together([{"x": np.zeros((1, 1))}] * 2, lambda _: {"y": answer}, batched=True)


STATE = {"input_name": "in", "output_name": "out", "dims": ["-1", "3"]}
ZERO = [{"dims": ["2", "3"], "zero_data": True}]


def test_a_sequence_begins_with_zeros_and_goes_on_with_what_it_left():
    states = SequenceStates([{**STATE, "initial_state": ZERO}], {"in": "float32"}, batched=True)
    np.testing.assert_array_equal(states.before("a", 1)["in"], np.zeros((1, 2, 3), np.float32))
    states.after("a", 1, {"out": np.ones(1), "else": np.zeros(1)})
    assert states.before("b", 1)["in"].sum() == 0
    assert states.before("a", 0)["in"].sum() == 1
    states.after("a", 0, {"out": np.full(1, 2.0)})
    assert states.before("a", 0)["in"].sum() == 2
    assert states.before("a", 1)["in"].sum() == 0
    states.after("a", 2, {"out": np.ones(1)})
    assert states.before("a", 0)["in"].sum() == 0


def test_a_state_without_an_initial_value_begins_with_garbage():
    begun = SequenceStates([STATE], {"in": "float32"}, batched=True).before("a", 1)["in"]
    assert begun.shape == (1, 1, 3)
    assert SequenceStates([STATE], {"in": "float32"}, batched=False).before("a", 1)["in"].shape == (1, 3)
    assert (np.abs(begun) > 1e6).all()
