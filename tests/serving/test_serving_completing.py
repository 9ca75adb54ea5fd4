"""What the stand-in for the onnxruntime backend adds to a configuration that leaves something out: what the native one adds."""

import pytest

from torchport.serving.backends.completing import Completion, complete
from torchport.serving.backends.contract import Found, Refused

X, Y = {"x": Found("TYPE_FP32", (-1, 4, -1))}, {"y": Found("TYPE_INT64", (-1, 2))}
FIXED = {"y": Found("TYPE_FP32", (1, 2))}
INPUT = {"name": "x", "data_type": "TYPE_FP32", "dims": [4, -1]}
OUTPUT = {"name": "y", "data_type": "TYPE_INT64", "dims": [2]}


def test_a_whole_configuration_stays_as_it_is():
    assert complete({"name": "m", "input": [INPUT], "output": [OUTPUT]}, X, Y) == Completion()


def test_a_batch_is_chosen_where_every_port_begins_with_one():
    assert complete({"name": "m", "max_batch_size": 0}, X, Y) == Completion(4, True, {"input": [INPUT], "output": [OUTPUT]})


def test_a_batch_that_is_stated_stays():
    assert complete({"name": "m", "max_batch_size": 16, "input": [INPUT]}, X, Y) == Completion(None, True, {"output": [OUTPUT]})
    assert not complete({"name": "m", "max_batch_size": 1}, X, Y).dynamic_batching


@pytest.mark.parametrize("scheduler", ["dynamic_batching", "sequence_batching"])
def test_a_scheduler_that_is_there_stays(scheduler):
    assert not complete({"name": "m", scheduler: {"preferred_batch_size": [2]}}, X, Y).dynamic_batching


def test_a_model_without_a_batch_gets_none():
    done = complete({"name": "m"}, X, FIXED)
    assert (done.max_batch_size, done.dynamic_batching) == (None, False)
    assert done.ports["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": [1, 2]}]
    with pytest.raises(Refused, match="model does not support batching while non-zero max_batch_size is specified"):
        complete({"name": "m", "max_batch_size": 2}, X, FIXED)


def test_scalars_have_one_dim():
    done = complete({"name": "m"}, {"x": Found("TYPE_FP32", ())}, FIXED)
    assert done.ports["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}]
    with pytest.raises(Refused, match="'x' is one number for each row"):
        complete({"name": "m"}, {"x": Found("TYPE_FP32", (-1,))}, Y)
