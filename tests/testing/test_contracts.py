"""The contract is a snapshot: written on request, kept by tests, broken with a table that says what it means."""

import json
import tempfile

import pytest
from suite_models import Encoder, Limited, Tagger

from torchport import Exportable
from torchport.errors import BrokenContractError, ContractError, UnusablePathError
from torchport.testing import NotExportableError, assert_exportable
from torchport.testing._contracts import snapshot_path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    yield tmp_path
    assert list((tmp_path / "tmp").glob("torchport-*")) == []


def failure_of(model, formats, **kwargs):
    with pytest.raises(NotExportableError) as caught:
        assert_exportable(model, formats, **kwargs)
    return caught.value


def test_a_snapshot_is_written_and_then_kept(tmp_path):
    contract = tmp_path / "deep" / "tagger.contract.json"
    assert_exportable(Tagger(), ".onnx", contract=contract, update_contract=True)
    written = contract.read_bytes()
    assert [port["name"] for port in json.loads(written)["outputs"]] == ["tags"]
    assert_exportable(Tagger(), ".onnx", contract=contract)
    assert contract.read_bytes() == written


def test_a_breaking_change_fails_with_what_it_means(tmp_path):
    contract = tmp_path / "tagger.contract.json"
    assert_exportable(Tagger(), ".onnx", contract=contract, update_contract=True)
    written = contract.read_bytes()
    error = failure_of(Tagger(output="labels", time="time{max=800}"), ".onnx", contract=contract)
    (failure,) = error.failures
    assert isinstance(failure.error, BrokenContractError)
    assert {change.rule.grade for change in failure.error.changes} >= {"breaking"}
    assert failure.error.changes.verdict == "breaking"
    text = str(error)
    assert text.startswith("test: Tagger does not keep its contract in .onnx\n  .onnx: contract: tagger.onnx breaks its contract")
    assert all(word in text for word in ("breaking", "tags", "labels", "800", "--update-contracts"))
    assert "digest" not in text
    assert contract.read_bytes() == written


def test_a_widening_change_passes(tmp_path):
    contract = tmp_path / "tagger.contract.json"
    assert_exportable(Tagger(time="time{max=800}"), ".onnx", contract=contract, update_contract=True)
    assert_exportable(Tagger(time="time{max=900}"), ".onnx", contract=contract)


def test_an_update_replaces_the_snapshot(tmp_path):
    contract = tmp_path / "tagger.contract.json"
    assert_exportable(Tagger(), ".onnx", contract=contract, update_contract=True)
    assert_exportable(Tagger(output="labels"), ".onnx", contract=contract, update_contract=True)
    assert_exportable(Tagger(output="labels"), ".onnx", contract=contract)


def test_a_missing_snapshot_fails_and_is_not_written(tmp_path):
    error = failure_of(Tagger(), ".onnx", contract=tmp_path / "tagger.contract.json")
    assert "there is no snapshot of the contract" in str(error)
    assert "update_contract=True" in str(error)
    assert not (tmp_path / "tagger.contract.json").exists()


def test_a_broken_snapshot_fails(tmp_path):
    (tmp_path / "tagger.contract.json").write_text("{}")
    error = failure_of(Tagger(), ".onnx", contract=tmp_path / "tagger.contract.json")
    assert isinstance(error.failures[0].error, ContractError)


def test_a_snapshot_that_cannot_be_written_fails(tmp_path):
    (tmp_path / "file").touch()
    error = failure_of(Tagger(), ".onnx", contract=tmp_path / "file" / "tagger.contract.json", update_contract=True)
    assert isinstance(error.failures[0].error, UnusablePathError)


def test_what_failed_its_proof_writes_no_snapshot(tmp_path):
    failure_of(Limited(), ".onnx", strategy="trace", contract=tmp_path / "m.contract.json", update_contract=True)
    assert not (tmp_path / "m.contract.json").exists()


class Halves(Encoder, Exportable):
    """Two subnets."""

    def __init__(self):
        super().__init__()
        self.head = Encoder()

    def list_export_subnets(self):
        return ["self", "head"]


def test_each_format_and_subnet_has_its_own(tmp_path):
    assert_exportable(Halves(), (".onnx", ".ts"), contract=tmp_path / "m.contract.json", update_contract=True)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [
        "head-m.onnx.contract.json",
        "head-m.ts.contract.json",
        "m.onnx.contract.json",
        "m.ts.contract.json",
    ]


@pytest.mark.parametrize(
    ("asked", "subnet", "suffix", "expected"),
    [
        ("m.json", "self", None, "m.json"),
        ("m.json", "self", ".ts", "m.ts.json"),
        ("m", "self", ".ts", "m.ts"),
        ("a.b.contract.json", "dec", ".onnx", "dec-a.b.onnx.contract.json"),
    ],
)
def test_snapshots_are_named_as_artifacts_are(tmp_path, asked, subnet, suffix, expected):
    assert snapshot_path(tmp_path / asked, subnet, suffix) == tmp_path / expected
