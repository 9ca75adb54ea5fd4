"""Powers of whole numbers are exact in ONNX, whatever their shape."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import torchport


class Power(nn.Module):
    def __init__(self, exponent):
        super().__init__()
        self.exponent = exponent

    def forward(self, t):
        return t**self.exponent


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
@pytest.mark.parametrize(("exponent", "most"), [(2, 2**31 - 1), (3, 2**20 + 1), (4, 55103)])
def test_powers_of_whole_numbers_are_exact(tmp_path, strategy, exponent, most):
    path = tmp_path / "m.onnx"
    torchport.export(Power(exponent), path, input_types={"t": ("batch time", "int64")}, strategy=strategy)
    assert "Pow" not in {node.op_type for node in onnx.load(path).graph.node}
    numbers = np.linspace(-most, most, 24).astype(np.int64)
    with torchport.load(path) as run:
        for shape in ((24, 1), (2, 12), (1, 24)):
            (answer,) = run({"t": numbers.reshape(shape)}).values()
            np.testing.assert_array_equal(answer, Power(exponent)(torch.from_numpy(numbers.reshape(shape))).numpy())


def test_powers_of_real_numbers_stay_powers(tmp_path):
    path = tmp_path / "m.onnx"
    torchport.export(Power(3), path, input_types={"t": "batch time"})
    assert "Pow" in {node.op_type for node in onnx.load(path).graph.node}
