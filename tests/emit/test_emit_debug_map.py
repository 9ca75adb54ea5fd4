"""The debug map says where each node comes from; the artifact beside it is the same as without one."""

from __future__ import annotations

import inspect
import json

import onnx
import pytest
import torch
from torch import nn

import torchport

TYPES = {"input_types": {"x": "batch time 4"}, "output_types": {"y": "batch time 4"}}


class Position(nn.Module):
    def forward(self, x):
        return x + torch.arange(x.shape[1])[:, None]  # here


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.pos = Position()

    def forward(self, x):
        return torch.relu(self.pos(self.layer(x)))


def line_of(kind):
    lines, start = inspect.getsourcelines(kind)
    return next(start + place for place, line in enumerate(lines) if line.rstrip().endswith("# here"))


CASES = [("onnx", "trace"), ("onnx", "torch_export"), ("ts", "trace"), ("pt2", "torch_export")]


@pytest.mark.parametrize(("suffix", "strategy"), CASES)
def test_every_node_has_its_module_and_line_and_the_artifact_stays_clean(tmp_path, suffix, strategy, capfd):
    model = Model()
    torchport.export(model, tmp_path / f"m.{suffix}", strategy=strategy, debug_map=tmp_path / "m.map.json", **TYPES)
    with_map = (tmp_path / f"m.{suffix}").read_bytes()
    plain = torchport.export(model, tmp_path / f"m.{suffix}", strategy=strategy, overwrite=True, **TYPES).path
    assert plain.read_bytes() == with_map
    assert __file__.encode() not in with_map
    found = json.loads((tmp_path / "m.map.json").read_text())
    assert (found["artifact"], found["strategy"]) == (f"m.{suffix}", strategy)
    assert list(found["digests"]) == [f"m.{suffix}"]
    added = [
        node for node in found["nodes"].values() if node["operator"] in ("Add", "aten::add", "aten.add.Tensor") and node["module"] == "pos"
    ]
    assert [(node["file"], node["line"]) for node in added] == [(__file__, line_of(Position))]
    assert all(node["original"] for node in added)
    assert capfd.readouterr().out == ""
    if suffix == "onnx":
        assert list(found["nodes"]) == [node.name for node in onnx.load(plain).graph.node]


def test_lines_survive_another_opset(tmp_path):
    torchport.export(Model(), tmp_path / "m.onnx", strategy="torch_export", onnx_opset_version=14, debug_map=tmp_path / "m.json", **TYPES)
    nodes = json.loads((tmp_path / "m.json").read_text())["nodes"]
    assert line_of(Position) in {node["line"] for node in nodes.values()}


def test_the_map_is_written_with_the_artifact_or_not_at_all(tmp_path):
    (tmp_path / "m.json").write_text("mine")
    with pytest.raises(torchport.TorchportError, match="exists"):
        torchport.export(Model(), tmp_path / "m.onnx", debug_map=tmp_path / "m.json", **TYPES)
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
    assert (tmp_path / "m.json").read_text() == "mine"
    torchport.export(Model(), tmp_path / "m.onnx", debug_map=tmp_path / "m.json", overwrite=True, **TYPES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "m.onnx"]
    assert json.loads((tmp_path / "m.json").read_text())["artifact"] == "m.onnx"


@pytest.mark.parametrize("argument", ["debug_map", "reproduction"])
def test_what_is_no_path_is_refused(tmp_path, argument):
    with pytest.raises(torchport.TorchportError, match="is a path"):
        torchport.export(Model(), tmp_path / "m.onnx", **{argument: 3}, **TYPES)
