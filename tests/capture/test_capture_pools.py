"""Adaptive pools over axes that vary, in ONNX files."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import torchport
from torchport.capture._pools import PoolsBySize

SHAPES = {1: "batch 3 time", 2: "batch 3 height width", 3: "batch 2 depth height width"}


class Head(nn.Module):
    """What ends VGG: a grid of fixed size over a picture of any."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d((3, 2))
        self.linear = nn.Linear(24, 5)

    def forward(self, x):
        return self.linear(self.pool(self.conv(x)).flatten(1))


class Calls(nn.Module):
    def __init__(self, function, size):
        super().__init__()
        self.function, self.size = function, size

    def forward(self, x):
        return self.function(x, self.size)


class Asked(TorchDispatchMode):
    """Which operators of torch run inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_head_over_pictures_of_any_size_is_exported(tmp_path):
    result = torchport.export(Head(), tmp_path / "m.onnx", input_types={"x": "batch 3 height width"})
    assert result.proof.ok
    assert len({case.sizes["height"] for case in result.proof.cases}) > 3
    assert any("computed by a matrix of their size" in note for note in result.notes)


@pytest.mark.parametrize("opset", [13, None])
@pytest.mark.parametrize(
    ("function", "axes", "size"),
    [
        (F.adaptive_avg_pool1d, 1, 5),
        (F.adaptive_avg_pool2d, 2, (2, None)),
        (F.adaptive_max_pool1d, 1, 4),
        (F.adaptive_max_pool2d, 2, 3),
    ],
)
def test_functions_are_exported_too(tmp_path, function, axes, size, opset):
    types = {"x": SHAPES[axes]}
    result = torchport.export(Calls(function, size), tmp_path / "m.onnx", input_types=types, strategy="trace", onnx_opset_version=opset)
    assert result.proof.ok


@pytest.mark.parametrize("name", ["adaptive_avg_pool", "adaptive_max_pool"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_they_are_what_torch_computes(name, axes, size):
    function = getattr(F, f"{name}{axes}d")
    for length in (1, 2, 3, 5, 7, 12):
        x = torch.randn(2, 3, *(length, 5, 4)[:axes], generator=torch.Generator().manual_seed(length))
        expected = function(x, size)
        with PoolsBySize(), Asked() as asked:
            got = function(x, size)
        assert not [one for one in asked.names if name in one]
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", ["adaptive_avg_pool1d", "adaptive_max_pool1d"])
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_stays_in_its_parts(name, value):
    x = torch.arange(14.0).reshape(1, 2, 7)
    x[0, 0, 1] = value
    x[0, 1, :4] = value
    for size in (1, 3, 7):
        with PoolsBySize():
            got = getattr(F, name)(x, size)
        torch.testing.assert_close(got, getattr(F, name)(x, size), equal_nan=True)


def test_parts_are_counted_where_the_input_is():
    """Nothing is mixed with the memory of another device."""
    with PoolsBySize(), torch.device("cpu"):
        assert F.adaptive_max_pool1d(torch.ones(1, 2, 7, device="meta"), 3).shape == (1, 2, 3)
        assert F.adaptive_avg_pool1d(torch.ones(1, 2, 7, device="meta"), 3).is_meta


def test_who_asks_for_places_gets_torchs_own():
    x = torch.randn(2, 3, 7)
    with PoolsBySize():
        values, places = F.adaptive_max_pool1d(x, 3, return_indices=True)
    assert places.dtype == torch.int64
    torch.testing.assert_close(values, F.adaptive_max_pool1d(x, 3))


def test_sizes_that_are_known_stay_a_pool_of_the_runtime(tmp_path):
    result = torchport.export(Calls(F.adaptive_avg_pool2d, 2), tmp_path / "m.onnx", input_types={"x": "batch 3 8 8"}, strategy="trace")
    assert not any("a matrix of their size" in note for note in result.notes)
