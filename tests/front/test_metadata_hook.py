"""What a model says of its own use is in every format it is exported to, and in the bundle."""

import json
from functools import cached_property

import onnx
import pytest
import torch

import torchport
from torchport.check import read_manifest
from torchport.emit import read_metadata
from torchport.errors import HookError, MetadataError
from torchport.metadata import KEY, stated_metadata


class Tagger(torch.nn.Module, torchport.Exportable):
    input_types = {"x": ("batch 4", "float32")}
    output_types = {"y": ("batch 3", "float32")}

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)


class Stating(Tagger):
    def export_metadata(self):
        return {"labels": ("yes", "no", "ß"), "ports": {"scores": "y"}}


STATED = {"version": 1, "labels": ["yes", "no", "ß"], "ports": {"scores": "y"}}


@pytest.mark.parametrize("name", ["m.onnx", "m.ts", "m.pt2"])
def test_every_format_holds_what_the_model_states(tmp_path, name):
    result = Stating().export(tmp_path / name)
    assert stated_metadata(read_metadata(result.path), where=name) == STATED
    with torchport.load(result.path) as artifact:
        assert json.loads(artifact.metadata[KEY]) == STATED


def test_onnx_shows_it_to_whoever_reads_its_properties(tmp_path):
    Stating().export(tmp_path / "m.onnx")
    shown = {one.key: one.value for one in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(shown[KEY]) == STATED


def test_the_manifest_of_a_bundle_holds_it_too(tmp_path):
    Stating().export(tmp_path / "m.onnx").package(tmp_path / "b")
    torchport.package(tmp_path / "m.onnx", tmp_path / "again")
    for name in ("b", "again"):
        assert read_manifest(tmp_path / name)[0]["artifacts"][0]["metadata"] == STATED


def test_a_model_that_says_nothing_leaves_nothing(tmp_path):
    result = Tagger().export(tmp_path / "m.onnx")
    assert KEY not in read_metadata(result.path)
    result.package(tmp_path / "b")
    assert read_manifest(tmp_path / "b")[0]["artifacts"][0]["metadata"] is None


def test_other_words_change_the_file_and_not_the_graph(tmp_path):
    torch.manual_seed(0)
    one = Stating()
    results = [one.export(tmp_path / "a.onnx"), one.export(tmp_path / "b.onnx")]
    one.export_metadata = lambda: {"labels": ["other"]}
    results.append(one.export(tmp_path / "c.onnx"))
    digests = [result.parts[0].artifact.content_digests() for result in results]
    assert digests[0] == digests[1]
    assert digests[0].graph == digests[2].graph
    assert digests[0].weights == digests[2].weights
    assert digests[0].artifact != digests[2].artifact


class AsProperty(Tagger):
    @property
    def export_metadata(self):
        return {"sample_rate": 8000}


class AsCached(Tagger):
    @cached_property
    def export_metadata(self):
        return {"sample_rate": 8000}


@pytest.mark.parametrize("kind", [AsProperty, AsCached])
def test_the_hook_may_be_a_property(tmp_path, kind):
    result = kind().export(tmp_path / "m.onnx")
    assert stated_metadata(result.parts[0].artifact.metadata, where="m") == {"version": 1, "sample_rate": 8000}


class Parts(torch.nn.Module, torchport.Exportable):
    def __init__(self):
        super().__init__()
        self.plain, self.stating = Tagger(), Stating()

    def list_export_subnets(self):
        return ["plain", "stating"]

    def export_metadata(self, subnet):
        return {"task": subnet, "labels": ["of", "the", "whole"]}


def test_each_part_gets_the_words_of_the_whole_and_its_own_win(tmp_path):
    result = Parts().export(tmp_path / "m.onnx")
    plain, stating = (stated_metadata(part.artifact.metadata, where="m") for part in result.parts)
    assert plain == {"version": 1, "task": "plain", "labels": ["of", "the", "whole"]}
    assert stating == {"task": "stating", **STATED}


class Wrong(Tagger):
    def export_metadata(self):
        return ["labels"]


class Broken(Tagger):
    def export_metadata(self):
        raise RuntimeError("no labels yet")


class Misspelt(Tagger):
    def export_metadata(self):
        return {"label": ["a"]}


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (Wrong, HookError, "export_metadata returned the wrong thing"),
        (Broken, HookError, "export_metadata raised RuntimeError: no labels yet"),
        (Misspelt, MetadataError, "did you mean 'labels'"),
    ],
)
def test_what_is_wrong_with_it_is_said_before_anything_is_captured(tmp_path, kind, error, message):
    with pytest.raises(error, match=message):
        kind().export(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
