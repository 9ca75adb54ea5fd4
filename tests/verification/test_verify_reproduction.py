"""A reproduction shows the fault by itself, is small, and is written whole or not at all."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import torchport

TYPES = {"input_types": {"x": "batch time 4"}, "output_types": {"y": "batch time 4"}}


class Mean(nn.Module):
    def forward(self, x):
        return x - x.sum(1, keepdim=True) / int(x.shape[1])


class Wide(nn.Module):
    """Weights of 4 MB before and after the fault."""

    def __init__(self, part):
        super().__init__()
        self.front = nn.Sequential(nn.Linear(4, 1000), nn.Linear(1000, 1000), nn.Linear(1000, 4))
        self.part = part

    def forward(self, x):
        return torch.relu(self.part(self.front(x)))


def failed(model, path, **more):
    with pytest.raises(torchport.ProofError) as caught:
        torchport.export(model, path, strategy="trace", reproduction=path.parent / "repro", **{**TYPES, **more})
    return "\n".join(caught.value.__notes__)


def printed(folder):
    return subprocess.run([sys.executable, str(folder / "repro.py")], capture_output=True, text=True, check=True).stdout


def test_the_first_wrong_node_is_shown_alone(tmp_path):
    note = failed(Wide(Mean()), tmp_path / "m.onnx")
    folder = tmp_path / "repro"
    assert f"a reproduction is in {folder}: The first wrong node of m.onnx at batch 2, time 12: node Div '/part/Div', module part" in note
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "repro.py", "tensors.npz"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20_000
    assert [node.op_type for node in onnx.load(folder / "model.onnx").graph.node] == ["Div"]
    with np.load(folder / "tensors.npz") as stored:
        tensors = dict(stored)
    (given,) = (tensors[name] for name in tensors if name.startswith("input "))
    (expected,) = (tensors[name] for name in tensors if name.startswith("expected "))
    np.testing.assert_allclose(expected, given / 12, rtol=1e-5)
    out = printed(folder)
    assert "expected float32 (2, 1, 4)" in out
    assert "got      float32 (2, 1, 4)" in out
    assert float(out.rpartition("largest difference")[2]) > 1e-3


class Reshaped(nn.Module):
    def forward(self, x):
        return x.reshape(int(x.shape[0]), int(x.shape[1]), 4) * 2


def test_a_node_that_the_runtime_refuses_is_shown_too(tmp_path):
    failed(Reshaped(), tmp_path / "m.onnx")
    assert "got an error:" in printed(tmp_path / "repro")


class Doubled(nn.Module):
    """No single node is wrong by itself: a whole branch is missing in the file."""

    def forward(self, x):
        return x + 1 if torch.jit.is_tracing() else torch.tanh(x) + x


def test_where_no_node_shows_it_the_whole_file_does(tmp_path):
    note = failed(Doubled(), tmp_path / "m.onnx")
    assert "All of m.onnx at " in note
    assert "largest difference" in printed(tmp_path / "repro")


@pytest.mark.parametrize(("suffix", "model", "reason"), [("ts", Mean(), "only ONNX files"), ("onnx", Wide(Doubled()), "it would take")])
def test_what_cannot_be_made_small_is_refused_with_the_reason(tmp_path, suffix, model, reason):
    assert f"no reproduction: {reason}" in failed(model, tmp_path / f"m.{suffix}")
    assert not (tmp_path / "repro").exists()


def test_nothing_is_written_where_the_proof_holds_and_nothing_is_overwritten(tmp_path):
    torchport.export(nn.Tanh(), tmp_path / "m.onnx", reproduction=tmp_path / "repro", **TYPES)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    (tmp_path / "repro").mkdir()
    with pytest.raises(torchport.TorchportError, match="exists"):
        torchport.export(nn.Tanh(), tmp_path / "n.onnx", reproduction=tmp_path / "repro", **TYPES)
    with pytest.raises(torchport.TorchportError, match="parent"):
        torchport.export(nn.Tanh(), tmp_path / "n.onnx", reproduction=tmp_path / "no" / "repro", **TYPES)
