"""``torchport export`` in process: options, reports, exit codes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from torchport.cli._export import _spelled_out


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name not in ("toys.py", "__pycache__"))


def test_a_class_of_a_file_becomes_a_proved_artifact(torchport_cli, folder):
    result = torchport_cli("export", "toys.py:Scale", "-o", "m.onnx")
    assert result.exit_code == 0, result.output
    assert "toys.Scale exported to m.onnx (onnx, trace): proved at" in result.stdout
    assert "x: float32 [batch 4 time]" in result.stdout
    assert "batch 1 to" in result.stdout
    assert result.stderr == ""
    assert files(folder) == ["m.onnx"]


def test_json_is_one_document_whatever_the_model_prints(torchport_cli):
    result = torchport_cli("--json", "export", "toys.py:Loud", "-o", "m.ts")
    assert result.exit_code == 0
    (part,) = result.document["artifacts"]
    assert (part["format"], part["strategy"], part["proof"]["ok"]) == ("torchscript", "trace", True)
    assert "a print of the model" in result.stderr


def test_the_shared_options_may_stand_behind_the_command(torchport_cli):
    assert torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", "--json").document["artifacts"]


def test_a_failed_proof_has_exit_code_3_and_its_table(torchport_cli, folder):
    result = torchport_cli("export", "toys.py:Baked", "-o", "m.onnx")
    assert result.exit_code == 3
    assert "`time` was baked in at 37" in result.stderr
    assert "Traceback" not in result.output
    assert files(folder) == []


def test_a_failed_proof_as_json_carries_the_whole_proof(torchport_cli, folder):
    result = torchport_cli("export", "toys.py:Baked", "-o", "m.onnx", "--json", "--keep-rejected", "--strategy", "trace")
    assert result.exit_code == 3
    assert result.document["exit_code"] == 3
    assert result.document["error"]["type"] == "ProofError"
    assert result.document["error"]["proof"]["findings"][0]["kind"] == "shape"
    assert files(folder) == ["m.onnx.rejected"]


def test_an_existing_artifact_is_kept_unless_told(torchport_cli, folder):
    (folder / "m.onnx").write_text("mine")
    refused = torchport_cli("export", "toys.py:Scale", "-o", "m.onnx")
    assert (refused.exit_code, (folder / "m.onnx").read_text()) == (2, "mine")
    assert "--overwrite replaces it" in refused.stderr
    assert torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", "--overwrite").exit_code == 0


def test_an_unknown_extension_lists_the_known_ones(torchport_cli):
    result = torchport_cli("export", "toys.py:Scale", "-o", "m.exe")
    assert result.exit_code == 2
    assert ".onnx (onnx)" in result.stderr


def test_ports_can_be_declared_on_the_command_line(torchport_cli, folder):
    words = ("export", "toys.py:Plain", "-o", "m.onnx", "--input-type", "x=batch 4, float32", "--output-type", "scores=batch 2")
    assert torchport_cli(*words).exit_code == 0
    graph = onnx.load("m.onnx").graph
    assert [value.name for value in graph.output] == ["scores"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_axes_without_quotes_are_told_to_take_some(torchport_cli):
    result = torchport_cli("export", "toys.py:Plain", "-o", "m.onnx", "--input-type", "x=batch", "4")
    assert result.exit_code == 2
    assert "stands in quotes" in " ".join(result.stderr.split())


def test_nothing_to_export_with_names_the_options(torchport_cli):
    result = torchport_cli("export", "toys.py:Plain", "-o", "m.onnx")
    assert result.exit_code == 2
    assert '--input-type "x=batch 80 time"' in result.stderr
    assert "--input-example FILE" in result.stderr


def test_a_file_of_other_weights_is_suspected_of_that(torchport_cli):
    assert torchport_cli("export", "toys.py:Scale", "-o", "m.onnx").exit_code == 0
    result = torchport_cli("verify", "m.onnx", "toys.py:Scale", "--seed", "3")
    assert result.exit_code == 3
    assert "is this the model that the file was made from, with its weights?" in result.stderr


def test_dynamic_axes_and_an_example_from_a_file(torchport_cli, folder):
    np.savez("one.npz", x=np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    words = ("export", "toys.py:Plain", "-o", "m.onnx", "--input-example", "one.npz", "--dynamic-axes", "x=0:rows")
    result = torchport_cli(*words, "--json")
    assert result.exit_code == 0, result.output
    assert result.document["artifacts"][0]["signature"]["inputs"][0]["axes"].split()[0] == "rows"


def test_check_trace_takes_files_and_output_example_is_checked(torchport_cli):
    torch.save((torch.randn(5, 4),), "one.pt")
    np.save("two.npy", np.ones((7, 4), np.float32))
    result = torchport_cli(
        *("export", "toys.py:Plain", "-o", "m.ts", "--input-example", "one.pt", "--dynamic-axes", "x=0"),
        *("--check-trace", "one.pt", "two.npy", "--json"),
    )
    assert result.exit_code == 0, result.output
    labels = [case["label"] for case in result.document["artifacts"][0]["proof"]["cases"]]
    assert {"check_trace[0]", "check_trace[1]"} <= set(labels)
    torch.save(torch.zeros(5, 2), "wrong.pt")
    refused = torchport_cli(
        "export", "toys.py:Plain", "-o", "n.ts", "--input-example", "one.pt", "--output-example", "wrong.pt", "--check-trace"
    )
    assert refused.exit_code == 1
    assert "output_example is not what the model answers" in refused.stderr


@pytest.mark.parametrize(
    ("words", "spelled"),
    [
        (["--check-trace"], ["--check-trace=itself"]),
        (["--check-trace", "a.npz", "b.PT", "x"], ["--check-trace=a.npz", "--check-trace=b.PT", "x"]),
        (["a", "--", "--check-trace", "b.npz"], ["a", "--", "--check-trace", "b.npz"]),
    ],
)
def test_check_trace_takes_none_or_many_files(words, spelled):
    assert _spelled_out(words) == spelled


def test_the_opt_out_of_the_proof_is_printed(torchport_cli):
    result = torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", "--no-verify")
    assert result.exit_code == 0
    assert "NOT PROVED" in result.stdout


def test_every_option_reaches_the_export(torchport_cli, monkeypatch):
    seen = {}

    def export(module, output, **arguments):
        seen.update(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("torchport.pipeline.export", export)
    words = (
        "--no-set-eval --check-tolerance 0.5 --no-use-dynamic-axes --no-verify --allow-ties --keep-rejected --strategy trace --try-script"
    )
    more = (
        "--opset 15 --no-export-params --no-do-constant-folding --keep-initializers-as-inputs --replace-1d-2d --set gain=2.5 --set name=low"
    )
    result = torchport_cli(
        "export",
        "toys.py:Scale",
        "-o",
        "m.onnx",
        *words.split(),
        *more.split(),
        "--overwrite",
        "--verbose",
        "--mutants",
        "3",
        "--debug-map",
        "m.map.json",
        "--reproduction",
        "repro",
    )
    assert result.exit_code == 130
    expected = {
        **{
            "set_eval": False,
            "check_tolerance": 0.5,
            "use_dynamic_axes": False,
            "verify": False,
            "allow_ties": True,
            "power": 3,
            "keep_rejected": True,
        },
        **{"strategy": "trace", "try_script": True, "onnx_opset_version": 15, "export_params": False, "do_constant_folding": False},
        **{"keep_initializers_as_inputs": True, "replace_1D_2D": True, "gain": 2.5, "name": "low", "overwrite": True, "verbose": True},
        **{
            "input_example": None,
            "output_example": None,
            "check_trace": False,
            "dynamic_axes": None,
            "debug_map": Path("m.map.json"),
            "reproduction": Path("repro"),
            "input_types": None,
            "output_types": None,
        },
    }
    assert {name: value for name, value in seen.items() if name != "on_stage"} == expected


def test_a_keyword_reaches_the_hook_and_its_error_is_named(torchport_cli):
    result = torchport_cli("export", "toys.py:Tunable", "-o", "m.onnx", "--set", "gain=3")
    assert result.exit_code == 2
    assert "_prepare_for_export" in result.stderr
    assert "gain 3" in result.stderr


def test_a_keyword_that_no_hook_names_is_refused(torchport_cli):
    result = torchport_cli("export", "toys.py:Plain", "-o", "m.onnx", "--input-type", "x=batch 4,float32", "--set", "gian=3")
    assert result.exit_code == 2
    assert "gian" in result.stderr


def test_verbose_prints_the_stages_to_standard_error(torchport_cli):
    result = torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", "-v")
    for stage in ("load", "declare", "reference", "capture trace", "verify"):
        assert f"torchport: {stage}" in result.stderr
    assert "torchport: " not in result.stdout


def test_a_traceback_is_shown_when_asked(torchport_cli):
    result = torchport_cli("export", "toys.py:Scale", "-o", "m.exe", "--traceback")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr


def test_usage_errors_have_exit_code_2(torchport_cli):
    result = torchport_cli("export", "toys.py:Scale")
    assert result.exit_code == 2
    assert "--output" in result.stderr
    document = torchport_cli("export", "toys.py:Scale", "--json").document
    assert document["exit_code"] == 2
    assert "--output" in document["error"]["message"]


def test_an_unexpected_error_is_one_line(torchport_cli, monkeypatch):
    monkeypatch.setattr("torchport.pipeline.export", lambda *_, **__: 1 / 0)
    result = torchport_cli("export", "toys.py:Scale", "-o", "m.onnx")
    assert result.exit_code == 1
    assert "unexpected ZeroDivisionError: division by zero" in result.stderr
    assert "Traceback" not in result.output


def test_random_weights_are_the_same_in_the_next_command(torchport_cli):
    first = torchport_cli("export", "toys.py:Scale", "-o", "a.onnx", "--json").document
    second = torchport_cli("export", "toys.py:Scale", "-o", "b.onnx", "--json").document
    other = torchport_cli("export", "toys.py:Scale", "-o", "c.onnx", "--seed", "1", "--json").document
    digest = [list(one["artifacts"][0]["digests"].values()) for one in (first, second, other)]
    assert digest[0] == digest[1] != digest[2]


def test_the_range_that_the_model_answers_is_shown_everywhere(torchport_cli):
    exported = torchport_cli("export", "toys.py:Narrow", "-o", "m.onnx")
    assert exported.exit_code == 0, exported.output
    assert "time: 2 or more" in exported.stdout
    assert "time: 2 or more" in torchport_cli("verify", "m.onnx", "toys.py:Narrow").stdout
    assert torchport_cli("inspect", "m.onnx", "--json").document["ranges"]["time"]["min"] == 2


def test_power_is_shown_by_export_and_verify(torchport_cli):
    exported = torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", "--power")
    assert exported.exit_code == 0, exported.output
    for words in ("Power: ", "mutants noticed", "axis frozen", "The least change that is noticed"):
        assert words in exported.stdout
    document = torchport_cli("verify", "m.onnx", "toys.py:Scale", "--mutants", "4", "--json").document
    assert len(document["power"]["mutants"]) == 4
    assert document["power"]["kill_rate"] == 1
    assert torchport_cli("verify", "m.onnx", "toys.py:Scale", "--json").document["power"] is None


def test_power_without_a_proof_is_bad_input(torchport_cli):
    result = torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", "--power", "--no-verify")
    assert result.exit_code == 2
    assert "--no-verify leaves out" in result.stderr
