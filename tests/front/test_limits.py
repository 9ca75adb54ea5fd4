"""Sizes that the model was found to refuse are refused by the file, too, whatever a capture drops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import torchport
from torchport.emit import read_metadata, stored_limits
from torchport.errors import RuntimeFailure


class Checked(nn.Module):
    """An assertion and an error in Python, which a trace drops."""

    def forward(self, x):
        assert x.shape[1] >= 5, "too short"
        if x.shape[1] > 100:
            raise ValueError("too long")
        return x * 2


class Pooled(nn.Module):
    """Small images end in a pool without room: torch refuses, ONNX Runtime answers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 5), nn.MaxPool2d(3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.MaxPool2d(3, 2))

    def forward(self, x):
        return self.layers(x).mean((2, 3))


class Positions(nn.Module):
    """Learned positions, and a table that is cut to the sequence: a slice past its end would be cut short and broadcast."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.learned = nn.Embedding(64, 4)
        self.register_buffer("table", torch.randn(1, 64, 4))

    def forward(self, x):
        return x + self.learned(torch.arange(x.size(1))) + self.table[:, : x.size(1)]


class Skipping(nn.Module):
    """Halves an image twice and joins it again, rounding up where torch would not."""

    def forward(self, x):
        small = nn.functional.max_pool2d(x, 4)
        return torch.cat([nn.functional.interpolate(small, scale_factor=4.0), x], 1)


class Related(nn.Module):
    def forward(self, x, context):
        if x.shape[1] > context.shape[1]:
            raise ValueError("more questions than context")
        return x.sum(1) + context.sum(1)


class Doubled(nn.Module):
    """Fewer than two of one for each of another."""

    def forward(self, x, context):
        if x.shape[1] >= 2 * context.shape[1]:
            raise ValueError("too many for each")
        return x.sum(1) + context.sum(1)


class Cached(nn.Module):
    """Learned positions of steps that follow those in a cache."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.positions = nn.Embedding(102, 4)

    def forward(self, x, cache):
        past = cache.shape[1]
        return torch.cat([cache, x + self.positions(torch.arange(past + 2, past + 2 + x.shape[1]))], 1)


class Pair(nn.Module):
    """A least size of 2, which torch.export takes for one of its own making."""

    def forward(self, x):
        if x.shape[1] < 2:
            raise ValueError("one is no pair")
        return x * 2


def image(height, width):
    return {"x": (1, 3, height, width)}


def row(time):
    return {"x": (2, time, 4)}


def steps(time, past):
    return {"x": (2, time, 4), "cache": (2, past, 4)}


MODELS = {
    "checked": (Checked, {"x": "batch time 4"}, "time must be 5 to 100", [row(5), row(100)], [row(4), row(101), row(1), row(5000)]),
    "pooled": (
        Pooled,
        {"x": "batch 3 height width"},
        "height must be 15 or more; width must be 15 or more",
        [image(15, 15), image(40, 33)],
        [image(14, 20), image(20, 14), image(9, 9)],
    ),
    "positions": (Positions, {"x": "batch time 4"}, "time must be 64 or less", [row(1), row(64)], [row(65), row(200)]),
    "skipping": (
        Skipping,
        {"x": "batch 3 height width"},
        "height must be a multiple of 4; width must be a multiple of 4",
        [image(4, 8), image(16, 12)],
        [image(16, 18), image(15, 16)],
    ),
    "related": (
        Related,
        {"x": "batch asked 4", "context": "batch given 4"},
        "asked must be at most given",
        [{"x": (1, 3, 4), "context": (1, 3, 4)}, {"x": (2, 1, 4), "context": (2, 9, 4)}],
        [{"x": (1, 4, 4), "context": (1, 3, 4)}, {"x": (1, 90, 4), "context": (1, 2, 4)}],
    ),
    "doubled": (
        Doubled,
        {"x": "batch asked 4", "context": "batch given 4"},
        "asked must be at most 2 times given minus 1",
        [{"x": (1, 5, 4), "context": (1, 3, 4)}, {"x": (2, 1, 4), "context": (2, 1, 4)}],
        [{"x": (1, 6, 4), "context": (1, 3, 4)}, {"x": (1, 2, 4), "context": (1, 1, 4)}],
    ),
    "cached": (
        Cached,
        {"x": "batch time 4", "cache": "batch past 4"},
        "time must be 99 or less; past must be 99 or less; past + time must be at most 100",
        [steps(1, 99), steps(99, 1), steps(63, 37), steps(1, 1)],
        [steps(2, 99), steps(99, 2), steps(63, 38), steps(99, 99), steps(100, 1)],
    ),
    "pair": (Pair, {"x": "batch time 4"}, "time must be 2 or more", [row(2), row(3)], [row(1)]),
}


def zeros(shapes):
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def onnx_answers(path, level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL):
    options, quiet = onnxruntime.SessionOptions(), onnxruntime.RunOptions()
    options.graph_optimization_level = level
    options.log_severity_level = quiet.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options)
    return lambda shapes: session.run(None, zeros(shapes), quiet)


@pytest.mark.parametrize(
    ("name", "strategy"), [*((name, "trace") for name in MODELS), ("pooled", "torch_export"), ("cached", "torch_export")]
)
def test_an_onnx_file_refuses_what_the_model_refuses(tmp_path, name, strategy):
    model, types, said, good, bad = MODELS[name]
    result = torchport.export(model(), tmp_path / "m.onnx", input_types=types, strategy=strategy)
    assert f"the file checks its sizes and fails elsewhere: {said}" in result.notes
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    levels = onnxruntime.GraphOptimizationLevel
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_BASIC, levels.ORT_ENABLE_ALL):
        answers = onnx_answers(tmp_path / "m.onnx", level)
        for shapes in good:
            answers(shapes)
        for shapes in bad:
            with pytest.raises(Exception, match=r"Name:'\w+_must_be_"):
                answers(shapes)


@pytest.mark.parametrize("suffix", [".ts", ".pt2"])
def test_a_file_of_torch_is_proved_to_refuse_it_too(tmp_path, suffix):
    model, types, said, *_ = MODELS["related"]
    result = torchport.export(model(), tmp_path / f"m{suffix}", input_types=types)
    assert f"the file checks its sizes and fails elsewhere: {said}" in result.notes
    with torchport.load(tmp_path / f"m{suffix}") as loaded, pytest.raises(RuntimeFailure, match="the file refuses these sizes") as refused:
        loaded(zeros({"x": (1, 4, 4), "context": (1, 3, 4)}))
    assert refused.value.expected == said


@pytest.mark.parametrize("suffix", [".onnx", ".ts", ".pt2"])
def test_axes_that_share_a_room_are_refused_in_words_by_every_form(tmp_path, suffix):
    model, types, _, good, bad = MODELS["cached"]
    torchport.export(model(), tmp_path / f"m{suffix}", input_types=types)
    with torchport.load(tmp_path / f"m{suffix}") as loaded:
        for shapes in good:
            loaded(zeros(shapes))
        for shapes in bad[:4]:
            with pytest.raises(RuntimeFailure, match="the file refuses these sizes") as refused:
                loaded(zeros(shapes))
            assert refused.value.expected == "past + time must be at most 100"


@pytest.mark.parametrize("opset", [13, 17, 25])
def test_every_opset_has_the_operators_of_a_check(tmp_path, opset):
    model, types, _, good, bad = MODELS["checked"]
    torchport.export(model(), tmp_path / "m.onnx", input_types=types, onnx_opset_version=opset)
    file = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(file, full_check=True)
    assert [one.version for one in file.opset_import if one.domain == ""] == [opset]
    answers = onnx_answers(tmp_path / "m.onnx")
    answers(good[0])
    with pytest.raises(Exception, match="time_must_be_5_to_100"):
        answers(bad[0])


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16"])
def test_inputs_of_any_dtype_are_checked(tmp_path, dtype):
    class Counted(nn.Module):
        def forward(self, x):
            if x.shape[1] > 50:
                raise ValueError("too long")
            return x.to(torch.float32).sum(1)

    torchport.export(Counted(), tmp_path / "m.onnx", input_types={"x": ("batch time", dtype)})
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    quiet = onnxruntime.RunOptions()
    quiet.log_severity_level = 4
    session.run(None, {"x": np.zeros((2, 50), dtype)}, quiet)
    with pytest.raises(Exception, match="time_must_be_50_or_less"):
        session.run(None, {"x": np.zeros((2, 51), dtype)}, quiet)


def test_a_checked_input_keeps_its_axes_for_what_follows(tmp_path):
    model, types, *_ = MODELS["pooled"]
    torchport.export(model(), tmp_path / "m.onnx", input_types=types)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.load(tmp_path / "m.onnx").graph.value_info
    }
    assert list(shapes.values()) == [["batch", 3, "height", "width"]]


def test_weights_that_are_inputs_are_left_alone(tmp_path):
    model, types, _, _, _ = MODELS["pooled"]
    torchport.export(model(), tmp_path / "m.onnx", input_types=types, export_params=False)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    weights = {name: tensor.numpy() for name, tensor in model().state_dict().items()}
    assert {one.name for one in session.get_inputs()} == {"x", *weights}
    quiet = onnxruntime.RunOptions()
    quiet.log_severity_level = 4
    session.run(None, {**zeros(image(15, 15)), **weights})
    with pytest.raises(Exception, match="height_must_be_15_or_more"):
        session.run(None, {**zeros(image(14, 15)), **weights}, quiet)


def test_a_declared_range_leaves_the_file_as_it_was(tmp_path):
    torchport.export(Checked(), tmp_path / "m.onnx", input_types={"x": "batch time{min=5,max=100} 4"})
    assert [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node] == ["Mul"]


@pytest.mark.parametrize("suffix", [".onnx", ".ts"])
def test_a_checked_file_has_the_same_bytes_twice_and_no_paths(tmp_path, suffix):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        options = {"verify": True} if suffix == ".onnx" else {"debug_map": tmp_path / folder / "m.json"}
        torchport.export(Checked(), tmp_path / folder / f"m{suffix}", input_types={"x": "batch time 4"}, **options)
    one, two = ((tmp_path / folder / f"m{suffix}").read_bytes() for folder in ("one", "two"))
    assert one == two
    assert str(Path(torchport.__file__).parent).encode() not in one
    for debug_map in tmp_path.glob("*/m.json"):
        sources = {node["file"] for node in json.loads(debug_map.read_text())["nodes"].values()}
        assert sources <= {None, __file__}


def test_load_says_which_sizes_a_file_takes(tmp_path):
    model, types, _, _, (bad, _) = MODELS["related"]
    torchport.export(model(), tmp_path / "m.onnx", input_types=types)
    with torchport.load(tmp_path / "m.onnx") as loaded, pytest.raises(RuntimeFailure) as refused:
        loaded(zeros(bad))
    assert refused.value.message == "the file refuses these sizes"
    assert (refused.value.found, refused.value.expected) == ("batch 1, asked 4, given 3", "asked must be at most given")


def test_power_changes_the_checks_and_notices(tmp_path):
    model, types, *_ = MODELS["checked"]
    result = torchport.export(model(), tmp_path / "m.onnx", input_types=types, power=True)
    power = result.parts[0].proof.power
    assert power is not None
    assert any("must_be" in one.where for one in power.mutants)
    assert not [one for one in power.survivors if "must_be" in one.where], power.survivors


@pytest.mark.parametrize("stated", ["nonsense", "{}", "7"])
def test_limits_that_somebody_broke_are_none(stated):
    assert stored_limits({"torchport.limits": stated}) == ()


def test_a_file_states_its_limits(tmp_path):
    model, types, said, *_ = MODELS["checked"]
    torchport.export(model(), tmp_path / "m.onnx", input_types=types)
    assert stored_limits(read_metadata(tmp_path / "m.onnx")) == (said,)
    assert stored_limits({}) == ()
