"""Shape inference without the weights gives the same graph as with them, and is put back."""

import contextlib

import pytest
import torch
from prepared_by_hand import options, prepare, recurrent, tiny

import torchport.capture.trace as trace
from torchport.capture import strategies
from torchport.capture._shapes import shapes_without_weights
from torchport.emit import formats


class Wide(torch.nn.Module):
    """Weights above the limit, a small table that is a shape, and sizes that only inference tells."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(8, 600), torch.nn.Linear(600, 12)
        self.register_buffer("offsets", torch.arange(12))

    def forward(self, x):
        y = self.second(self.first(x).relu()) + self.offsets
        return y.reshape(x.shape[0], -1, 4).transpose(1, 2).flatten(1)


def wide():
    return prepare(Wide().eval(), {"x": torch.randn(3, 37, 8)}, {"x": "batch time 8"}, {"y": "batch flat"})


@pytest.mark.parametrize("make", [tiny, wide, lambda: recurrent("LSTM", True, True)], ids=["tiny", "wide", "lstm"])
def test_the_file_is_the_same_with_and_without(tmp_path, monkeypatch, make):
    files = []
    prepared = make()
    for place, spared in enumerate((shapes_without_weights, contextlib.nullcontext)):
        monkeypatch.setattr(trace, "shapes_without_weights", spared)
        folder = tmp_path / str(place)
        folder.mkdir()
        captured = strategies["trace"].capture(prepared, "onnx", options())
        files.append(formats["onnx"].write(captured, folder, "m", options(), {}).paths[0].read_bytes())
    assert files[0] == files[1]


def test_the_pass_is_put_back_when_the_exporter_fails():
    before = torch._C._jit_pass_onnx_graph_shape_type_inference

    def fail():
        with shapes_without_weights():
            assert torch._C._jit_pass_onnx_graph_shape_type_inference is not before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert torch._C._jit_pass_onnx_graph_shape_type_inference is before
