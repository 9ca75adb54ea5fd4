"""The manifest for KServe has the published fields, and is refused where a cluster could not keep what it says."""

import json
from pathlib import Path

import pytest
import yaml
from test_packaging_triton_kinds import Streaming
from typer.testing import CliRunner

import torchport
from torchport._json_schema import violations
from torchport.cli import app
from torchport.errors import OptionError, PackageError
from torchport.packaging.kserve import kserve_manifest, kserve_text

TYPES = json.loads(Path(__file__).with_name("kserve_types.json").read_text())
URI = "s3://models/repository"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kserve")
    result = torchport.export(Streaming(), folder / "s.onnx")
    result.package(folder / "Voice_Models", target="triton", options={"max_batch_size": 4})
    result.package(folder / "streams", target="triton", options={"sequences": 4})
    return folder / "Voice_Models"


CHOICES = [
    {},
    {"protocol": "grpc-v2", "namespace": "speech", "runtime_version": "24.10-py3"},
    {"min_replicas": 0, "max_replicas": 5, "concurrency": 16, "cpu": "500m", "memory": "2Gi", "gpus": 1, "name": "voices"},
]


@pytest.mark.parametrize("choices", CHOICES)
def test_every_field_is_one_that_is_published(repository, choices):
    manifest = kserve_manifest(repository, URI, **choices)
    assert list(violations(manifest, TYPES)) == []
    assert list(violations({**manifest, "spec": {"predictor": {"replicas": 3}}}, TYPES)) != []
    assert yaml.safe_load(kserve_text(manifest)) == manifest
    assert "&" not in kserve_text(manifest)


def test_what_was_chosen_stands_in_it(repository):
    manifest = kserve_manifest(repository, URI)
    assert manifest["metadata"] == {"name": "voice-models"}
    model = {"modelFormat": {"name": "triton"}, "protocolVersion": "v2", "storageUri": URI}
    assert manifest["spec"] == {"predictor": {"minReplicas": 1, "model": model}}
    predictor = kserve_manifest(repository, URI, **CHOICES[2])["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["scaleMetric"], predictor["scaleTarget"]) == (
        0,
        5,
        "concurrency",
        16,
    )
    amounts = {"cpu": "500m", "memory": "2Gi", "nvidia.com/gpu": "1"}
    assert predictor["model"]["resources"] == {"requests": amounts, "limits": amounts}
    assert kserve_manifest(repository, URI, protocol="grpc-v2")["spec"]["predictor"]["model"]["ports"][0]["name"] == "h2c"


@pytest.mark.parametrize(
    ("uri", "choices", "said", "where"),
    [
        ("models/repository", {}, "a storage that it knows", "storage_uri"),
        ("ftp://models", {}, "a storage that it knows", "storage_uri"),
        ("s3://", {}, "a storage that it knows", "storage_uri"),
        (URI, {"name": "Upper_case"}, "a DNS label", "name"),
        (URI, {"name": "a" * 64}, "a DNS label", "name"),
        (URI, {"min_replicas": 3, "max_replicas": 2}, "more replicas at least than at most", "max_replicas"),
        (URI, {"min_replicas": -1}, "more replicas at least than at most", "max_replicas"),
        (URI, {"cpu": "many"}, "cpu is a quantity", "cpu"),
        (URI, {"memory": "4 GB"}, "memory is a quantity", "memory"),
    ],
)
def test_what_no_cluster_takes_is_refused(repository, uri, choices, said, where):
    with pytest.raises(OptionError, match=said) as caught:
        kserve_manifest(repository, uri, **choices)
    assert caught.value.where == where


def test_sequences_stay_at_one_server(repository):
    streams = repository.parent / "streams"
    kserve_manifest(streams, URI, max_replicas=1)
    with pytest.raises(PackageError, match="must reach the server that keeps its state") as caught:
        kserve_manifest(streams, URI, max_replicas=2)
    assert caught.value.where == "s"


def test_a_repository_that_triton_refuses_is_refused(tmp_path):
    (tmp_path / "repository" / "m" / "1").mkdir(parents=True)
    (tmp_path / "repository" / "m" / "config.pbtxt").write_text('name: "m"\nbackend: "onnxruntime"\nmax_batch: 3\n')
    with pytest.raises(PackageError, match="would refuse this repository") as caught:
        kserve_manifest(tmp_path / "repository", URI)
    assert "max_batch" in caught.value.found


def test_the_command_shows_or_writes_it(repository, tmp_path):
    words = ["kserve", str(repository), "--storage-uri", URI, "--max-replicas", "2"]
    shown = CliRunner().invoke(app, words)
    assert yaml.safe_load(shown.stdout) == kserve_manifest(repository, URI, max_replicas=2)
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout) == kserve_manifest(repository, URI, max_replicas=2)
    file = tmp_path / "m.yaml"
    assert CliRunner().invoke(app, [*words, "-o", str(file)]).exit_code == 0
    assert yaml.safe_load(file.read_text()) == kserve_manifest(repository, URI, max_replicas=2)
    again = CliRunner().invoke(app, [*words, "-o", str(file)])
    assert again.exit_code == 2
    assert "cannot be written" in again.stderr
