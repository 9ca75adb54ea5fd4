"""A ramp is in the file what ``torch.linspace`` gives: of one step its start, and counted from both ends."""

import numpy as np
import pytest
import torch
from torch import nn

import torchport


class Ramp(nn.Module):
    """Weights each step by a ramp over the time."""

    def __init__(self, start=0.0, end=1.0):
        super().__init__()
        self.start, self.end = start, end

    def forward(self, x):
        return x * torch.linspace(self.start, self.end, x.shape[1])


class Mean(nn.Module):
    """Divides a count up by one less than the time, which is no ramp: infinity at one step stays infinity."""

    def forward(self, x):
        return x.cumsum(1) * (torch.ones(()) / (x.shape[1] - 1))


@pytest.mark.parametrize("opset", [13, 18, None])
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (-1, 1), (2.5, -0.5)])
def test_a_ramp_is_right_at_every_number_of_steps(tmp_path, start, end, opset):
    model = Ramp(start, end)
    path = tmp_path / "m.onnx"
    result = torchport.export(model, path, input_types={"x": "batch time"}, strategy="trace", onnx_opset_version=opset)
    assert {case.sizes["time"] for case in result.proof.cases} >= {1, 37}
    with torchport.load(path) as artifact:
        for time in (1, 2, 3):
            got = artifact(x=np.ones((2, time), np.float32))["output"]
            np.testing.assert_allclose(got, model(torch.ones(2, time)), rtol=1e-6, atol=1e-6)


def test_what_is_no_ramp_is_left_alone(tmp_path):
    path = torchport.export(Mean(), tmp_path / "m.onnx", input_types={"x": "batch time"}, strategy="trace").path
    with torchport.load(path) as artifact:
        assert np.isinf(artifact(x=np.ones((1, 1), np.float32))["output"]).all()


class Picked(nn.Module):
    """Frames at even distances, as models of video pick them."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, x):
        return x[:, torch.linspace(0, x.shape[1] - 1, self.count or x.shape[1] // 4 + 1).long()]


@pytest.mark.parametrize("count", [1, 4, 8, 17, None])
def test_the_same_frames_are_picked_at_every_length(tmp_path, count):
    model = Picked(count)
    path = torchport.export(model, tmp_path / "m.onnx", input_types={"x": "batch time"}, strategy="trace").path
    with torchport.load(path) as artifact:
        for time in range(1, 520):
            x = np.arange(time, dtype=np.float32)[None]
            np.testing.assert_array_equal(artifact(x=x)["output"], model(torch.from_numpy(x)).numpy(), str(time))


def test_a_ramp_that_is_the_answer_itself_keeps_its_name(tmp_path):
    class Alone(nn.Module):
        def forward(self, x):
            return torch.linspace(0, 2, x.shape[0]), x + 1

    path = torchport.export(Alone(), tmp_path / "m.onnx", input_types={"x": "time 2"}, output_types={"ramp": "time", "y": "time 2"}).path
    with torchport.load(path) as artifact:
        np.testing.assert_allclose(artifact(x=np.ones((9, 2), np.float32))["ramp"], torch.linspace(0, 2, 9), rtol=1e-6)


class ByHand(nn.Module):
    """Nearly a ramp: shifted by what is no start of it, or only scaled."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, x):
        steps = x.shape[1]
        scaled = torch.arange(steps) * (torch.tensor(2 * steps - 1.0) / (torch.tensor(steps) - 1))
        return x + (scaled if self.shift is None else scaled + self.shift)


@pytest.mark.parametrize("shift", [None, 0.5])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_products_that_are_no_ramps_stay_as_they_are(tmp_path, shift):
    model = ByHand(shift)
    path = torchport.export(model, tmp_path / "m.onnx", input_types={"x": "batch time{min=2}"}, strategy="trace").path
    with torchport.load(path) as artifact:
        for time in (2, 3, 20, 45):
            np.testing.assert_allclose(artifact(x=np.ones((2, time), np.float32))["output"], model(torch.ones(2, time)), rtol=1e-5)
