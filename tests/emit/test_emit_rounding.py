"""Whole numbers made of shares of sizes are what Python and torch make of them, at every size."""

import math

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import torchport
from torchport.emit._onnx_rounding import double_of
from torchport.errors import ProofError


class Stretched(nn.Module):
    def __init__(self, scale, mode, recompute=True):
        super().__init__()
        self.scale, self.mode, self.recompute = scale, mode, recompute

    def forward(self, x):
        return nn.functional.interpolate(x, scale_factor=self.scale, mode=self.mode, recompute_scale_factor=self.recompute)


class Shared(nn.Module):
    """Keeps a share of its steps."""

    def forward(self, x):
        return x[:, : math.floor(x.shape[1] * 0.7)] + x[:, : math.ceil(x.shape[1] / 1.3)].mean()


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
@pytest.mark.parametrize(("scale", "mode"), [(1.3, "nearest"), (1.3, "linear"), (2.6, "nearest"), (0.7, "linear"), (1 / 9, "nearest")])
def test_lengths_by_a_scale_are_those_of_torch(tmp_path, scale, mode, strategy):
    model = Stretched(scale, mode)
    path = tmp_path / "m.onnx"
    example = torch.randn(2, 3, 45)
    torchport.export(model, path, input_example=example, input_types={"x": "batch 3 time{min=9}"}, strategy=strategy)
    with torchport.load(path) as loaded:
        for size in range(9, 400):
            x = torch.arange(float(size)).expand(1, 3, size)
            (answer,) = loaded({"x": x}).values()
            np.testing.assert_allclose(answer, model(x).numpy(), rtol=1e-5, atol=1e-4)


def test_shares_in_the_model_s_own_code_are_rounded_as_python_does(tmp_path):
    path = tmp_path / "m.onnx"
    torchport.export(Shared(), path, input_types={"x": "batch time{min=4}"}, strategy="torch_export")
    with torchport.load(path) as loaded:
        for size in range(4, 400):
            x = torch.rand(1, size)
            (answer,) = loaded({"x": x}).values()
            np.testing.assert_allclose(answer, Shared()(x).numpy(), rtol=1e-5)


SHARES = {
    "half up": lambda size: math.floor(size * 0.35 + 0.5),
    "of one less": lambda size: math.floor((size - 1) * 0.29),
    "of a share": lambda size: math.floor(size * 0.7 * 0.3),
    "over a number": lambda size: math.ceil((2 * size + 1) / 0.7),
}


@pytest.mark.parametrize("share", SHARES)
def test_a_share_with_steps_around_it_is_rounded_as_python_does(tmp_path, share):
    class Padded(nn.Module):
        def forward(self, x):
            return nn.functional.pad(x, (0, SHARES[share](x.shape[1])))

    path = tmp_path / "m.onnx"
    torchport.export(Padded(), path, input_types={"x": "batch time"}, strategy="torch_export")
    with torchport.load(path) as loaded:
        for size in range(1, 1000):
            x = torch.ones(1, size)
            assert next(iter(loaded({"x": x}).values())).shape == Padded()(x).shape, size


class OfATensor(nn.Module):
    """A share that torch computes, in single precision: of 100 steps it keeps 29."""

    def forward(self, x):
        kept = torch.floor(torch.tensor(x.shape[1]) * 0.29).long()
        return x * (torch.arange(x.shape[1]) < kept)


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_share_that_torch_computes_stays_in_single_precision(tmp_path, strategy):
    path = tmp_path / "m.onnx"
    torchport.export(OfATensor(), path, input_types={"x": "batch time"}, strategy=strategy)
    with torchport.load(path) as loaded:
        for size in (100, 200, 400, 800, 1500):
            x = torch.ones(1, size)
            np.testing.assert_array_equal(next(iter(loaded({"x": x}).values())), OfATensor()(x).numpy())


@pytest.mark.parametrize("scale", [2.0, 0.5, 1.5, 0.25])
def test_scales_that_single_precision_holds_leave_the_file_as_it_is(tmp_path, scale):
    path = tmp_path / "m.onnx"
    torchport.export(Stretched(scale, "linear"), path, input_types={"x": "batch 3 time{min=4}"})
    assert onnx.TensorProto.DOUBLE not in {
        onnx.helper.get_node_attr_value(node, "to") for node in onnx.load(path).graph.node if node.op_type == "Cast"
    }


@pytest.mark.parametrize("inner", [False, True])
def test_a_scale_that_the_runtime_rounds_otherwise_is_refused_with_what_to_write(tmp_path, inner):
    model = Stretched(1.3, "nearest", recompute=None)
    if inner:  # the axis that is scaled is half as long as the declared one
        model = nn.Sequential(nn.AvgPool1d(2), model)
    types = {"input" if inner else "x": "batch 3 time{min=4,multiple_of=2}"}
    with pytest.raises(ProofError, match="recompute_scale_factor=True"):
        torchport.export(model, tmp_path / "m.onnx", input_types=types)
    torchport.export(model, tmp_path / "m.ts", input_types=types)  # the same runtime, the same lengths


def test_a_number_is_found_again_from_single_precision():
    ratios = {over / under for under in range(1, 65) for over in range(1, 2 * under)}
    decimals = {number / 1000 for number in range(1, 3000)}
    assert all(double_of(float(np.float32(number))) == number for number in ratios | decimals)
    assert double_of(float(np.float32(16000 / 22050))) == 16000 / 22050
    assert double_of(float(np.float32(np.pi))) == float(np.float32(np.pi))


def test_a_share_in_very_many_steps_is_left_as_it_is(tmp_path):
    class Long(nn.Module):
        def forward(self, x):
            share = float(1) * x.shape[1]
            for _ in range(400):
                share = (share + 0.1) * 1.001
            return nn.functional.pad(x, (0, math.floor(share / 100)))

    torchport.export(Long(), tmp_path / "m.onnx", input_types={"x": "batch time"}, strategy="torch_export", verify=False)
