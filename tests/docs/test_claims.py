"""What the README says of the bare exporters is true of the torch that is installed, and torchport does what it says instead."""

import math
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

import torchport


class Average(torch.nn.Module):
    def forward(self, x):
        return x.sum(1) / int(x.shape[1])


class Padded(torch.nn.Module):
    def forward(self, x):
        return F.pad(x, (0, math.ceil(x.shape[1] / 4) * 4 - x.shape[1])).unflatten(1, (-1, 4)).sum((1, 2))


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]


class Scale(torch.nn.Module):
    def forward(self, x):
        return x * 2


TYPES = {"input_types": {"x": ("batch time", "float32")}, "output_types": {"y": ("batch", "float32")}}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def answer(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def traced_bare(model, path):
    axes = {"x": {0: "batch", 1: "time"}, "y": {0: "batch"}}
    torch.onnx.export(model, (torch.ones(2, 7),), path, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes)


def test_the_tracing_exporter_bakes_a_size_that_is_read_as_a_python_number(tmp_path):
    traced_bare(Average(), tmp_path / "m.onnx")
    assert not np.allclose(answer(tmp_path / "m.onnx", torch.ones(2, 5)), 1.0)
    with pytest.raises(torchport.ProofError, match="`time` was baked in"):
        torchport.export(Average(), tmp_path / "refused.onnx", **TYPES)
    assert not (tmp_path / "refused.onnx").exists()


def test_the_tracing_exporter_bakes_a_size_that_python_rounds(tmp_path):
    traced_bare(Padded(), tmp_path / "m.onnx")
    assert not np.allclose(answer(tmp_path / "m.onnx", torch.ones(2, 10)), 10.0)
    result = torchport.export(Padded(), tmp_path / "right.onnx", **TYPES)
    assert [attempt.outcome for attempt in result.attempts] == ["rejected", "proved"]
    assert np.allclose(answer(result.path, torch.ones(2, 10)), 10.0)


def test_the_other_exporter_makes_a_declared_axis_static(tmp_path):
    path = tmp_path / "m.onnx"
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=8)}}
    torch.onnx.export(Recurrent(), (torch.ones(1, 5, 4),), path, dynamo=True, dynamic_shapes=shapes, verify=True, verbose=False)
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    types = {"input_types": {"x": ("batch{max=8} 5 4", "float32")}, "output_types": {"y": ("batch 5 4", "float32")}}
    result = torchport.export(Recurrent(), tmp_path / "right.onnx", input_example=torch.ones(1, 5, 4), **types)
    assert onnx.load(result.path).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_other_exporter_writes_a_newer_opset_than_asked(tmp_path):
    path = tmp_path / "m.onnx"
    torch.onnx.export(Scale(), (torch.ones(2, 4),), path, dynamo=True, opset_version=13, verbose=False)
    assert onnx.load(path).opset_import[0].version == 18
    types = {"input_types": {"x": ("batch 4", "float32")}, "output_types": {"y": ("batch 4", "float32")}}
    result = torchport.export(Scale(), tmp_path / "right.onnx", onnx_opset_version=13, **types)
    assert onnx.load(result.path).opset_import[0].version == 13
