"""What the untouched model says of itself: randomness, counters, ranges, merged axes, output axes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torchport
from torchport.errors import PortValueError, ReferenceRunError
from torchport.ports import Axis, Port


class Of(nn.Module):
    """A module around a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


X = {"x": ("batch 4 time", "float32")}
Y = {"y": ("batch time", "float32")}
SIZES = {"batch": 3, "time": 37}


def test_the_reference_answers_the_covering_sizes_with_the_example_first(bench):
    reference = bench(Of(lambda x: x.sum(1)), X, Y, SIZES).reference()
    assert reference.cases[0].label == "example"
    assert reference.cases[0].sizes == SIZES
    assert {case.sizes["batch"] for case in reference.cases} >= {1, 2, 3, 5}
    assert len(reference.cases) >= 9
    assert reference.notes == ()
    assert all(case.outputs["y"].shape == (case.sizes["batch"], case.sizes["time"]) for case in reference.cases)


def test_without_verify_only_the_examples_are_run(bench):
    one = bench(Of(lambda x: x.sum(1)), X, Y, SIZES, options={"verify": False, "check_trace": True})
    reference = one.reference(further_examples=[{"x": torch.randn(2, 4, 9)}])
    assert [case.label for case in reference.cases] == ["example", "check_trace[0]"]
    assert reference.must_check


def test_dropout_that_is_left_on_is_recognised_as_random(bench):
    model = Of(lambda x: nn.functional.dropout(x.sum(1), 0.5, training=True))
    with pytest.raises(ReferenceRunError, match="random: another seed"):
        bench(model, X, Y, SIZES).reference()


def test_numpy_randomness_is_recognised_too(bench):
    import numpy as np

    model = Of(lambda x: x.sum(1) + float(np.random.rand()))
    with pytest.raises(ReferenceRunError, match="random"):
        bench(model, X, Y, SIZES).reference()


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.count = 0

    def forward(self, x):
        self.count += 1
        return x.sum(1) + self.count


def test_a_counter_is_recognised(bench):
    with pytest.raises(ReferenceRunError, match="keeps something from run to run"):
        bench(Counting(), X, Y, SIZES).reference()


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.longest = 0

    def forward(self, x):
        self.longest = max(self.longest, x.shape[2])
        return x.sum(1) / self.longest


def test_a_model_that_other_sizes_change_is_recognised(bench):
    with pytest.raises(ReferenceRunError, match="inputs of other sizes changed"):
        bench(Remembering(), X, Y, SIZES).reference()


def test_the_random_state_is_as_before(bench):
    one = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    before = torch.get_rng_state()
    one.reference()
    assert torch.equal(before, torch.get_rng_state())


def test_a_least_size_is_found_by_bisection(bench):
    reference = bench(nn.Conv1d(4, 6, 9), X, {"y": ("batch 6 frames", "float32")}, SIZES).reference()
    assert reference.ranges == {"time": (9, None)}
    assert reference.signature.symbols["time"].min == 9
    assert "time: 9 or more" in reference.notes
    assert reference.refusals[0].sizes["time"] == 8
    assert min(case.sizes["time"] for case in reference.cases) == 9


def test_a_greatest_size_is_found_by_bisection(bench):
    table = torch.randn(50)
    reference = bench(Of(lambda x: x.sum(1) + table[torch.arange(x.shape[2])]), X, Y, SIZES).reference()
    assert reference.ranges == {"time": (1, 50)}
    assert reference.refusals[0].sizes["time"] == 51
    assert max(case.sizes["time"] for case in reference.cases) == 50


def test_a_multiple_that_the_model_asks_for_is_found(bench):
    model = Of(lambda x: x.reshape(x.shape[0], 4, -1, 8).sum(1).flatten(1))
    reference = bench(model, X, Y, {"batch": 3, "time": 40}).reference()
    assert reference.signature.symbols["time"].multiple_of == 8
    assert all(case.sizes["time"] % 8 == 0 for case in reference.cases)
    assert "`time` must be a multiple of 8" in reference.notes


def test_axes_that_must_be_equal_are_merged(bench):
    inputs = {"a": ("batch first", "float32"), "b": ("batch second", "float32")}
    model = Of(lambda a, b: a * b)
    reference = bench(model, inputs, {"y": ("batch out", "float32")}, {"batch": 3, "first": 37, "second": 37}).reference()
    assert reference.merged == {"second": "first"}
    assert list(reference.traced) == ["batch", "first"]
    assert reference.signature.symbol("b", 1) == "first"
    assert reference.signature.symbol("y", 1) == "first"


def test_a_model_that_answers_its_example_alone_is_refused_with_a_request_for_examples(bench):
    def only(x):
        assert tuple(x.shape) == (3, 4, 37), "one shape only"
        return x.sum(1)

    one = bench(Of(only), X, Y, SIZES)
    with pytest.raises(ReferenceRunError, match="answers no sizes but those of its example") as caught:
        one.reference()
    assert "one shape only" in str(caught.value)
    assert "check_trace=[example, …]" in str(caught.value)


def test_further_examples_stand_in_for_sizes_that_cannot_be_made(bench):
    def odd(x):
        assert tuple(x.shape) in ((3, 4, 37), (2, 4, 11)), "two shapes only"
        return x.sum(1)

    reference = bench(Of(odd), X, Y, SIZES).reference(further_examples=[{"x": torch.randn(2, 4, 11)}])
    assert [case.label for case in reference.cases] == ["example", "check_trace[0]"]
    assert reference.cases[1].sizes == {"batch": 2, "time": 11}
    assert any("stand in" in note for note in reference.notes)


def test_an_output_axis_of_its_own_keeps_its_own_name(bench):
    reference = bench(Of(lambda x: x[:, 0, ::2]), X, {"y": ("batch frames", "float32")}, SIZES).reference()
    assert reference.signature.symbol("y", 1) == "frames"


def test_an_output_axis_that_always_equals_an_input_axis_takes_its_name(bench):
    reference = bench(Of(lambda x: x.sum(1)), X, {"y": ("batch frames", "float32")}, SIZES).reference()
    assert reference.signature.symbol("y", 1) == "time"


def test_output_axes_that_are_always_equal_share_a_name(bench):
    outputs = {"y": ("batch one", "float32"), "z": ("batch two", "float32")}
    reference = bench(Of(lambda x: (x[:, 0, ::2], x[:, 1, ::2] * 2)), X, outputs, SIZES).reference()
    assert reference.signature.symbol("y", 1) == reference.signature.symbol("z", 1) == "one"


def test_an_undeclared_output_axis_that_varies_becomes_dynamic_and_is_noted(bench):
    reference = bench(Of(lambda x: x[:, 0, ::2]), X, {"y": Port("3 19", dtype="float32")}, SIZES).reference()
    assert reference.signature.dynamic_axes("outputs") == {"y": {0: "batch", 1: "y_axis1"}}
    assert any("`y` axis 1 is not fixed at 19" in note for note in reference.notes)


def test_an_output_axis_declared_equal_to_an_input_axis_must_be(bench):
    one = bench(Of(lambda x: x[:, 0, : max(37, x.shape[2])]), X, Y, SIZES)
    one.module = Of(lambda x: x[:, 0, :37])
    with pytest.raises(PortValueError, match="another size on axis 1"):
        one.reference()


def test_an_output_that_loses_an_axis_at_size_one_is_refused_with_the_reason(bench):
    with pytest.raises(ReferenceRunError, match="another rank") as caught:
        bench(Of(lambda x: x.sum(1).squeeze()), X, Y, SIZES).reference()
    assert "squeeze() without a dim" in str(caught.value)


def test_an_output_that_changes_its_dtype_is_refused(bench):
    model = Of(lambda x: x.sum(1) if x.shape[0] > 1 else x.sum(1).double())
    with pytest.raises(ReferenceRunError, match="another dtype"):
        bench(model, X, Y, SIZES).reference()


def test_a_constant_output_is_noted_as_weak(bench):
    reference = bench(Of(lambda x: x.sum(1) * 0), X, Y, SIZES).reference()
    assert any(note.startswith("weak: output `y` is") for note in reference.notes)


def test_two_outputs_that_are_always_equal_are_noted_as_weak(bench):
    outputs = {"y": ("batch time", "float32"), "z": ("batch time", "float32")}
    reference = bench(Of(lambda x: (x.sum(1), x.sum(1))), X, outputs, SIZES).reference()
    assert any("`y` and `z` are equal" in note for note in reference.notes)


def test_an_output_example_that_the_model_does_not_answer_is_refused(bench):
    one = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    with pytest.raises(ReferenceRunError, match="output_example is not what the model answers: its shape differs"):
        one.reference(output_example={"y": torch.zeros(3, 36)})
    with pytest.raises(ReferenceRunError, match="its value differs"):
        one.reference(output_example={"y": torch.zeros(3, 37)})
    with pytest.raises(ReferenceRunError, match="names an output that the model does not give"):
        one.reference(output_example={"z": torch.zeros(3, 37)})


def test_an_output_example_that_the_model_answers_must_be_checked(bench):
    one = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    reference = one.reference(output_example={"y": one.example["x"].sum(1)})
    assert reference.must_check
    assert reference.output_example_case == 0


def test_a_model_that_fails_on_its_own_example_says_so(bench):
    one = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    one.module = Of(lambda x: x @ x)
    with pytest.raises(ReferenceRunError, match="fails on its own example"):
        one.reference()


def test_a_limit_on_the_axis_is_respected(bench):
    inputs = {"x": Port((Axis("batch"), 4, Axis("time", min=4, max=60, multiple_of=4)), dtype="float32")}
    reference = bench(Of(lambda x: x.sum(1)), inputs, Y, {"batch": 3, "time": 20}).reference()
    assert all(case.sizes["time"] in range(4, 61, 4) for case in reference.cases)
    assert {4, 60} <= {case.sizes["time"] for case in reference.cases}


def test_a_size_that_may_not_exceed_another_is_a_relation_and_no_range(tmp_path):
    class Gathered(torch.nn.Module):
        def forward(self, values, places):
            return values.gather(1, places)

    example = (torch.randn(3, 9), torch.randint(0, 2, (3, 5)))
    axes = {"values": {0: "rows", 1: "columns"}, "places": {0: "few", 1: "taken"}}
    result = torchport.export(Gathered(), tmp_path / "m.onnx", input_example=example, dynamic_axes=axes)
    assert "few" not in result.proof.ranges
    assert "rows" not in result.proof.ranges
    assert any("`few` is never greater than `rows`" in note for note in result.notes)
    with torchport.load(tmp_path / "m.onnx") as loaded:
        (answer,) = loaded({"values": torch.randn(7, 9), "places": torch.randint(0, 2, (6, 5))}).values()
    assert answer.shape == (6, 5)


IMAGE = {"x": ("batch 3 height width", "float32")}


class Boxes(nn.Module):
    """The ten best of all places: an image needs ten places, however they lie."""

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 2, ceil_mode=True).mean(1).flatten(1).topk(10, dim=1).values


def test_axes_that_are_too_small_together_end_together(bench):
    reference = bench(Boxes(), IMAGE, {"y": ("batch 10", "float32")}, {"batch": 2, "height": 32, "width": 24}).reference()
    least = {name: low for name, (low, high) in reference.ranges.items() if high is None}
    assert least.keys() == {"height", "width"}
    assert -(-least["height"] // 2) * -(-least["width"] // 2) >= 10
    assert max(least.values()) < 12
    assert any("together" in note and f"height: {least['height']} or more" in note for note in reference.notes)
    (refusal,) = reference.refusals
    assert all(refusal.sizes[name] < size for name, size in least.items())


def test_axes_that_are_too_large_together_end_together(bench):
    def few(x):
        if x.shape[2] * x.shape[3] > 1500:
            raise ValueError("too many pixels")
        return x.mean((1, 2, 3))

    reference = bench(Of(few), IMAGE, {"y": ("batch", "float32")}, {"batch": 2, "height": 20, "width": 24}).reference()
    most = {name: high for name, (low, high) in reference.ranges.items()}
    assert 700 < most["height"] * most["width"] <= 1500
    assert all(case.sizes["height"] <= most["height"] for case in reference.cases)


def test_a_relation_that_shows_in_company_only_is_a_relation(bench):
    def prompted(x, prompt):
        if prompt.shape[1] > x.shape[1]:
            raise ValueError("the prompt is longer than the text")
        return x.cumsum(1) + prompt.sum(1, keepdim=True)

    inputs = {"x": ("batch text{min=8}", "float32"), "prompt": ("batch first", "float32")}
    reference = bench(Of(prompted), inputs, {"y": ("batch text", "float32")}, {"batch": 2, "text": 40, "first": 5}).reference()
    assert any("`first` is never greater than `text`" in note for note in reference.notes)
    assert all(case.sizes["first"] <= case.sizes["text"] for case in reference.cases)
    assert not {"first", "text"} & reference.ranges.keys()


class Graph(nn.Module):
    """The mean of each node's neighbours; a second input has numbers of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.kinds = nn.Embedding(9, 3)

    def forward(self, x, edges, kinds):
        return torch.zeros_like(x).index_add(0, edges[1], x[edges[0]]) + self.kinds(kinds)


def test_numbers_that_point_into_an_axis_are_no_reason_for_it_to_be_long(tmp_path):
    example = (torch.randn(7, 3), torch.randint(0, 7, (2, 15)), torch.tensor([3, 1, 4, 1, 5, 2, 6]))
    types = {"x": "nodes 3", "edges": "2 edges", "kinds": "nodes"}
    result = torchport.export(Graph(), tmp_path / "m.onnx", input_example=example, input_types=types, power=8)
    assert "`edges` points into `nodes`: numbers from 0 to below its size" in result.notes
    assert not any("`kinds` points" in note for note in result.notes)
    assert "nodes" not in result.proof.ranges
    assert {1, 22} <= {case.sizes["nodes"] for case in result.proof.cases}


def test_several_inputs_may_point_together_and_into_an_axis_that_is_merged(bench):
    def between(x, y, starts, ends):
        return (x + y).gather(1, starts) - (x + y).gather(1, ends)

    example = {
        "x": torch.randn(2, 9),
        "y": torch.randn(2, 9),
        "starts": torch.tensor([[0, 8], [4, 5]]),
        "ends": torch.tensor([[8, 1], [2, 3]]),
    }
    inputs = {"x": "batch time", "y": "batch other", "starts": "batch few", "ends": "batch few"}
    reference = bench(Of(between), inputs, {"d": ("batch few", "float32")}, {}, example=example).reference()
    assert reference.pointers == {"starts": "time", "ends": "time"}
    assert reference.merged == {"other": "time"}
    assert not reference.ranges


def test_a_short_axis_that_is_refused_for_another_reason_ends_there(bench):
    def windows(x, ids):
        return x.unfold(1, 5, 1).sum((1, 2)) + ids.sum(1)

    example = {"x": torch.randn(2, 19), "ids": torch.tensor([[0, 7], [4, 5]])}
    reference = bench(Of(windows), {"x": "batch time", "ids": "batch 2"}, {"s": ("batch", "float32")}, {}, example=example).reference()
    assert reference.pointers == {}
    assert reference.ranges == {"time": (5, None)}


def test_an_output_that_is_let_differ_by_much_is_told(bench):
    class Cancelling(nn.Module):
        def forward(self, x):
            return ((x + 300000.0) - 300000.0).sum(1)

    reference = bench(
        Cancelling(), {"x": ("batch 4 time", "float32")}, {"y": ("batch time", "float32")}, {"batch": 3, "time": 37}
    ).reference()
    assert any(note.startswith("weak: rounding alone moves output `y`") and "is let pass" in note for note in reference.notes)
