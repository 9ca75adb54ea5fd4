"""``torchport verify``, ``inspect``, ``models`` and ``doctor`` in process."""

import hashlib

import numpy as np
import onnx
import pytest
import torch

import torchport
from torchport.cli._output import size_text


@pytest.fixture
def artifact(torchport_cli, folder):
    """A proved ONNX file of ``toys.Scale``."""
    assert torchport_cli("export", "toys.py:Scale", "-o", "m.onnx").exit_code == 0
    return folder / "m.onnx"


def test_verify_proves_an_existing_artifact(torchport_cli, artifact):
    result = torchport_cli("verify", artifact, "toys.py:Scale")
    assert result.exit_code == 0, result.output
    assert "m.onnx equals the model in onnxruntime at" in result.stdout
    document = torchport_cli("verify", artifact, "toys.py:Scale", "--json").document
    assert document["ok"] is True
    assert document["worst_error"] < 1e-6


def test_verify_refuses_an_artifact_with_other_weights(torchport_cli, artifact):
    result = torchport_cli("verify", artifact, "toys.py:Scale", "--seed", "1")
    assert result.exit_code == 3
    assert "m.onnx is not equal to the model" in result.stderr
    assert result.stdout == ""


def test_verify_needs_an_artifact(torchport_cli):
    result = torchport_cli("verify", "none.onnx", "toys.py:Scale")
    assert result.exit_code == 2
    assert "there is no such artifact" in result.stderr


def test_verify_takes_axes_as_export_does(torchport_cli, folder):
    words = ("toys.py:Plain", "--input-type", "x=rows 4,float32", "--output-type", "y=rows 2")
    assert torchport_cli("export", *words, "-o", "p.ts").exit_code == 0
    assert torchport_cli("verify", "p.ts", *words).exit_code == 0


def test_inspect_shows_what_the_file_is(torchport_cli, artifact):
    facts = torchport_cli("inspect", artifact, "--json").document
    assert (facts["format"], facts["model"], facts["strategy"], facts["opset"]) == ("onnx", "toys.Scale", "trace", 18)
    content = artifact.read_bytes()
    assert facts["files"] == [{"path": str(artifact), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}]
    (port,) = facts["inputs"]
    assert (port["name"], port["dtype"]) == ("x", "float32")
    assert [axis["symbol"] or axis["size"] for axis in port["axes"]] == ["batch", 4, "time"]
    assert facts["ranges"]["time"] == {"min": 1, "max": None, "multiple_of": 1}
    assert (facts["operators"], facts["weights"], facts["notes"]) == ({"Conv": 1}, 15, [])
    text = torchport_cli("inspect", artifact).stdout
    for part in ("opset 18", "batch 4 time", "1 or more", facts["files"][0]["sha256"][:30]):
        assert part in text


def test_inspect_reads_torchscript_without_running_it(torchport_cli):
    assert torchport_cli("export", "toys.py:Scale", "-o", "m.ts").exit_code == 0
    facts = torchport_cli("inspect", "m.ts", "--json").document
    assert facts["format"] == "torchscript"
    assert [port["name"] for port in facts["inputs"] + facts["outputs"]] == ["x", "y"]


def test_inspect_shows_what_a_foreign_file_states(torchport_cli, folder):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["in"], ["out"])],
        "g",
        [value("in", onnx.TensorProto.FLOAT, ["N", 3, None, "2*N"])],
        [value("out", onnx.TensorProto.FLOAT, None)],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), "foreign.onnx")
    facts = torchport_cli("inspect", "foreign.onnx", "--json").document
    assert [axis["symbol"] or axis["size"] for axis in facts["inputs"][0]["axes"]] == ["N", 3, "in_axis2", "_2_N"]
    assert facts["outputs"][0]["axes"] is None
    assert "torchport did not write this file" in facts["notes"][0]
    assert "not stated" in torchport_cli("inspect", "foreign.onnx").stdout


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # torch.jit, which the test itself calls
def test_inspect_opens_a_foreign_torchscript_file(torchport_cli):
    torch.jit.trace(torch.nn.ReLU(), torch.ones(2)).save("foreign.pt")
    facts = torchport_cli("inspect", "foreign.pt", "--json").document
    assert [port["name"] for port in facts["inputs"]] == ["input"]


def test_inspect_does_not_follow_weights_out_of_the_folder(torchport_cli, folder):
    (folder.parent / "secret.bin").write_bytes(b"12345678")
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret.bin")
    other = onnx.TensorProto(name="v", data_type=onnx.TensorProto.FLOAT, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    other.external_data.add(key="location", value="gone.bin")
    graph = onnx.helper.make_graph([], "g", [], [], initializer=[tensor, other])
    (folder / "h.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    facts = torchport_cli("inspect", "h.onnx", "--json").document
    assert len(facts["files"]) == 1
    assert "outside its folder: '../secret.bin'" in " ".join(facts["notes"])
    assert "'gone.bin', which is not there" in " ".join(facts["notes"])


@pytest.mark.parametrize(
    ("name", "content"), [("x.onnx", b""), ("x.onnx", b"\x99" * 40), ("x.ts", b"nothing"), ("x.txt", b""), ("gone.onnx", None)]
)
def test_inspect_refuses_what_is_no_artifact(torchport_cli, folder, name, content):
    if content is not None:
        (folder / name).write_bytes(content)
    result = torchport_cli("inspect", name)
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("error")
    assert "unexpected" not in result.stderr
    assert "Traceback" not in result.output


def test_models_lists_families_and_pretrained_ones(torchport_cli):
    document = torchport_cli("models", "--json").document
    names = {family["name"]: [info["name"] for info in family["pretrained"]] for family in document["models"]}
    assert {"alexnet", "fastpitch", "speaker-encoder"} <= set(names)
    assert "speaker-encoder-en" in names["speaker-encoder"]
    assert "speaker-encoder-en" in torchport_cli("models").stdout


def test_one_broken_family_does_not_hide_the_others(torchport_cli):
    from torchport.models import Family, families

    families.add("broken", Family("broken", "no_such_package:Model", "A plug-in that is gone"))
    try:
        result = torchport_cli("models")
    finally:
        families.remove("broken")
    assert result.exit_code == 0
    assert "alexnet" in result.stdout
    assert "not importable" in result.stdout


def test_doctor_tries_every_format(torchport_cli):
    result = torchport_cli("doctor", "--json")
    assert result.exit_code == 0, result.output
    assert {check["format"]: check["ok"] for check in result.document["formats"]} == {
        "onnx": True,
        "torchscript": True,
        "exported_program": True,
    }
    assert result.document["packages"]["torch"] == torch.__version__


def test_doctor_says_what_does_not_work(torchport_cli, monkeypatch):
    def export(*_, **__):
        raise RuntimeError("no exporter [today]")

    monkeypatch.setattr("torchport.pipeline.export", export)
    result = torchport_cli("doctor")
    assert result.exit_code == 1
    assert "FAILS" in result.stdout
    assert "no exporter [today]" in result.stdout


def test_no_command_shows_the_help(torchport_cli):
    result = torchport_cli()
    assert result.exit_code == 2
    assert "verify" in result.output


def test_version(torchport_cli):
    from torchport import __version__

    assert torchport_cli("--version").stdout == f"torchport {__version__}\n"
    assert torchport_cli("--version", "--json").document == {"version": __version__}


def test_help_is_for_people_with_json_too(torchport_cli):
    result = torchport_cli("export", "--help", "--json")
    assert result.exit_code == 0
    assert "--output" in result.stdout


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 kB"), (3 * 2**20, "3.0 MB"), (5 * 2**30, "5.00 GB")])
def test_sizes_for_people(count, text):
    assert size_text(count) == text


def test_verify_takes_check_trace_as_export_does(torchport_cli, artifact):
    np.savez("one.npz", x=np.ones((2, 4, 9), np.float32))
    for words, label in ((("--check-trace",), "example"), (("--check-trace", "one.npz", "one.npz"), "check_trace[1]")):
        result = torchport_cli("verify", artifact, "toys.py:Scale", *words, "--json")
        assert result.exit_code == 0, result.output
        assert label in [case["label"] for case in result.document["cases"]]


def test_an_artifact_that_does_not_load_in_time_is_not_called_unequal(torchport_cli):
    assert torchport_cli("export", "toys.py:Scale", "-o", "m.ts").exit_code == 0
    result = torchport_cli("verify", "m.ts", "toys.py:Scale", "--timeout", "0.001", "--json")
    assert result.exit_code == 1
    assert result.document["error"]["type"] == "NoAnswerError"
    assert "within 0.001 s while loading" in result.document["error"]["message"]


def test_no_command_as_json_lists_the_commands(torchport_cli):
    document = torchport_cli("--json").document
    assert document["exit_code"] == 2
    names = "export, verify, package, inspect, diff, check-repository, serve, request, kserve, models, doctor"
    assert document["error"]["message"] == f"a command is missing: {names}"


@pytest.mark.parametrize("seed", [-99999999999999999999, 2**64])
@pytest.mark.parametrize("command", ["export", "verify"])
def test_a_seed_that_is_none_is_bad_input(torchport_cli, artifact, command, seed):
    words = ("toys.py:Scale", "-o", "n.onnx") if command == "export" else (artifact, "toys.py:Scale")
    result = torchport_cli(command, *words, f"--seed={seed}")
    assert result.exit_code == 2
    assert "there is no such seed" in result.stderr


def test_a_checkpoint_of_weights_is_told_from_an_artifact(torchport_cli, folder):
    torch.save({"linear.weight": torch.ones(2, 4), "linear.bias": torch.ones(2)}, folder / "plain.pt")
    for words in (("inspect", "plain.pt"), ("verify", "plain.pt", "toys.py:Plain"), ("inspect", "plain.pt", "--lock", "l.json")):
        result = torchport_cli(*words)
        assert result.exit_code == 2
        assert "the file holds weights and no program" in result.stderr
        assert "torchport export file.py:Class --weights plain.pt -o plain.onnx" in result.stderr


def test_a_bundle_stands_for_its_artifact(torchport_cli, folder):
    assert torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", "--bundle", "m.bundle").exit_code == 0
    document = torchport_cli("inspect", "m.bundle", "--json").document
    assert [facts["format"] for facts in document["artifacts"].values()] == ["onnx"]
    assert "batch 4 time" in torchport_cli("inspect", "m.bundle").stdout
    assert torchport_cli("inspect", "m.bundle", "--lock", "m.json").stdout.startswith("locked m.bundle/m.onnx in m.json")
    for first, second in (("m.bundle", "m.bundle"), ("m.onnx", "m.bundle"), ("m.bundle", "m.json")):
        assert torchport_cli("diff", first, second).stdout.startswith("same")
    assert torchport_cli("verify", "m.bundle", "toys.py:Scale").exit_code == 0
    (folder / "m.bundle" / "m.onnx").unlink()
    assert "lacks an artifact that its manifest lists" in torchport_cli("inspect", "m.bundle").stderr


def test_a_bundle_with_several_artifacts_asks_which(torchport_cli):
    for name in ("one", "two"):
        assert torchport_cli("export", "toys.py:Scale", "-o", f"{name}.onnx", "--no-verify").exit_code == 0
    assert torchport_cli("package", "one.onnx", "two.onnx", "-o", "both").exit_code == 0
    assert len(torchport_cli("inspect", "both", "--json").document["artifacts"]) == 2
    result = torchport_cli("diff", "both", "one.onnx")
    assert result.exit_code == 2
    assert "expected: both/one.onnx or both/two.onnx" in result.stderr


def test_a_folder_that_is_no_bundle_is_refused(torchport_cli, folder):
    (folder / "empty").mkdir()
    for words in (("inspect", "empty"), ("diff", "empty", "empty"), ("verify", "empty", "toys.py:Scale")):
        result = torchport_cli(*words)
        assert result.exit_code == 2
        assert "the folder is no bundle" in result.stderr


def test_inspect_shows_the_limits_that_a_file_checks(torchport_cli, folder):
    class Related(torch.nn.Module):
        def forward(self, x, context):
            if x.shape[1] > context.shape[1]:
                raise ValueError("more than that")
            return x.sum(1) + context.sum(1)

    torchport.export(Related(), "related.onnx", input_types={"x": "batch asked 4", "context": "batch given 4"})
    assert torchport_cli("inspect", "related.onnx", "--json").document["limits"] == ["asked must be at most given"]
    assert "asked must be at most given" in torchport_cli("inspect", "related.onnx").stdout
