"""Conditions that torch.export makes of sizes are told as such, with what to do about them."""

import numpy as np
import pytest
import torch
from torch import nn

import torchport
from torchport.errors import ProofError, RuntimeFailure
from torchport.ports import Signature
from torchport.verification.runtimes._guards import guard_words


class Ramped(nn.Module):
    """A number of steps is what torch.export makes a constant of."""

    def forward(self, x):
        return (x * torch.linspace(0, 1, x.shape[1])).sum(1)


class Halved(nn.Module):
    """A strided convolution before a recurrent layer: torch.export wants three frames where one would do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 5, 2, 2)

    def forward(self, x):
        return self.conv(x)


def test_a_size_that_was_fixed_is_named(tmp_path):
    with pytest.raises(ProofError) as caught:
        torchport.export(Ramped(), tmp_path / "m.pt2", input_types={"x": "batch time"})
    assert "torch.export fixed `time` at 37" in caught.value.hint
    assert "write .onnx or .ts" in caught.value.hint
    assert torchport.export(Ramped(), tmp_path / "m.ts", input_types={"x": "batch time"}).proof.ok


def test_who_asks_outside_of_the_condition_reads_it(tmp_path):
    path = torchport.export(Halved(), tmp_path / "m.pt2", input_types={"x": "batch 4 time{min=3}"}, verify=False).path
    with torchport.load(path, timeout=60) as artifact:
        assert artifact(x=np.zeros((2, 4, 3), np.float32))["output"].shape == (2, 4, 2)
        artifact._checks = Signature()  # what torchport itself would refuse
        with pytest.raises(RuntimeFailure) as caught:
            artifact(x=np.zeros((2, 4, 2), np.float32))
    assert "torch.export made it a condition that `time` is" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("*args[0].shape[2] to be >= 3, but got 1", "`time` is 3 or more: declare it (time{min=3})"),
        ("*args[0].shape[2] to be <= 64, but got 70", "`time` is 64 or less: declare it (time{max=64})"),
        ("*args[1].shape[0] to be equal to 3, but got 1", "torch.export fixed `batch` at 3"),
        ("*args[0].shape[1] to be equal to 80, but got 1", None),
        ("*args[2].shape[0] to be >= 3, but got 1", None),
        ("*args[0].shape[5] to be >= 3, but got 1", None),
        ("something else", None),
    ],
)
def test_a_condition_is_told_by_its_axis(text, told):
    signature = Signature.of(inputs={"mel": "batch 80 time", "lengths": ("batch", "int64")})
    said = guard_words(f"RuntimeError: Expected input at {text}", signature)
    assert (said is None) if told is None else (said is not None and told in said)
    assert guard_words(f"Expected input at {text}", None) is None
