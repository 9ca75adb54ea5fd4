"""Nearest interpolation to sizes of run time: the same neighbours as in torch, at every size."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import torchport


class Fitted(nn.Module):
    """Stretches its first input over the second."""

    def forward(self, x, like):
        return nn.functional.interpolate(x, size=like.shape[2:]) + like


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
@pytest.mark.parametrize("opset", [13, None])
def test_every_size_has_the_neighbours_that_torch_picks(tmp_path, strategy, opset):
    types = {"x": "batch 2 height width", "like": "batch 2 rows columns"}
    example = (torch.randn(2, 2, 6, 5), torch.randn(2, 2, 9, 7))
    path = tmp_path / "m.onnx"
    result = torchport.export(Fitted(), path, input_example=example, input_types=types, strategy=strategy, onnx_opset_version=opset)
    assert "Resize" not in [node.op_type for node in onnx.load(path).graph.node]
    assert result.signature.inputs["like"].axes[2].name == "rows"
    with torchport.load(path) as loaded:
        for size in (64, 40, 49):
            x = torch.arange(float(size)).expand(1, 2, 3, size)
            for other in range(1, 300, 7 if size == 49 else 2):
                like = torch.zeros(1, 2, 4, other)
                (answer,) = loaded({"x": x, "like": like}).values()
                np.testing.assert_array_equal(answer, Fitted()(x, like).numpy())


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
def test_sizes_that_the_file_knows_stay_with_the_runtime(tmp_path, strategy):
    class Fixed(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(x, size=(8, 12))

    path = tmp_path / "m.onnx"
    torchport.export(Fixed(), path, input_example=torch.randn(2, 2, 4, 6), input_types={"x": "batch 2 4 6"}, strategy=strategy)
    assert "Resize" in [node.op_type for node in onnx.load(path).graph.node]


def test_a_known_size_of_an_axis_that_varies_is_gathered(tmp_path):
    class Squeezed(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(x, size=600)

    path = tmp_path / "m.onnx"
    torchport.export(Squeezed(), path, input_example=torch.randn(2, 2, 9), input_types={"x": "batch 2 time"})
    assert "Resize" not in [node.op_type for node in onnx.load(path).graph.node]
    with torchport.load(path) as loaded:
        for time in (62, 88, 124, 600, 1000):
            x = torch.arange(float(time)).expand(1, 2, time)
            (answer,) = loaded({"x": x}).values()
            np.testing.assert_array_equal(answer, Squeezed()(x).numpy())


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
def test_an_input_whose_shape_nobody_inferred_is_gathered_as_well(tmp_path, strategy):
    """Back to full length from every third step: after the slice, the trace-based exporter knows no shape."""

    class Back(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(x[:, :, ::3], size=x.shape[2])

    path = tmp_path / "m.onnx"
    torchport.export(Back(), path, input_types={"x": "batch 1 time"}, strategy=strategy)
    assert "Resize" not in [node.op_type for node in onnx.load(path).graph.node]
    with torchport.load(path) as loaded:
        for time in (1, 2, 94, 166, 604, 742, 748):
            x = torch.arange(float(time)).expand(1, 1, time)
            (answer,) = loaded({"x": x}).values()
            np.testing.assert_array_equal(answer, Back()(x).numpy())
