"""Whatever becomes of a bundle is found, said in its own words, and ends with its own exit code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import bundle_makers as make
import numpy as np
import onnx
import pytest
import torch

import torchport
from torchport.check import EXIT_CODES, MANIFEST, check
from torchport.check.__main__ import main
from torchport.errors import BrokenBundleError

TAMPERED = [
    (make.flip_weight, "bytes", "damaged in one place: in the weights (one.weight)"),
    (make.flip_name, "bytes", "damaged in one place: in what it says about itself"),
    (make.cut, "bytes", "no ONNX model any more"),
    (make.exchange_weights, "weights", "they hold each other's values (found one.weight, two.weight)"),
    (make.rename_weight, "weights", "not those that were packaged (found one.weight, other)"),
    (make.reorder_inputs, "ports", "the inputs stand in another order (found right, left, lens, expected left, right, lens)"),
    (make.reorder_outputs, "ports", "the outputs stand in another order"),
    (make.drop_output, "ports", "the outputs are not those that were packaged"),
    (make.fix_axis, "ports", "left: one of the inputs was changed (found float32 [2 3 time], expected float32 [batch 3 time])"),
    (make.downgrade, "opset", "the opset was downgraded (found ai.onnx 17, expected ai.onnx 18)"),
    (make.add_domain, "opset", "a domain that it did not use (found com.example 1)"),
    (make.change_operator, "graph", "its operators are not those that were packaged"),
]


@pytest.mark.parametrize(("tamper", "kind", "said"), TAMPERED, ids=[one[0].__name__ for one in TAMPERED])
def test_a_changed_artifact_is_named_and_never_run(bundle, capsys, tamper, kind, said):
    tamper(bundle)
    assert main([str(bundle)]) == EXIT_CODES[kind]
    printed = capsys.readouterr().out
    assert f"{kind}: twins.onnx" in printed
    assert said in printed
    assert "replayed" not in printed
    assert "twins.onnx was not run" in printed


@pytest.mark.parametrize(
    ("tamper", "kind"),
    [one[:2] for one in TAMPERED if one[1] in ("ports", "opset", "graph") or one[0] in (make.flip_weight, make.exchange_weights)],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_it_is_found_where_the_digests_of_the_files_were_made_to_fit(bundle, tamper, kind):
    tamper(bundle)
    make.rehash(bundle)
    report = check(bundle)
    assert report.exit_code == EXIT_CODES["weights" if tamper is make.flip_weight else kind]
    assert not report.replayed


@pytest.mark.parametrize("tamper", [make.flip_weight, make.exchange_weights, make.change_operator])
def test_the_golden_answers_show_what_the_manifest_was_made_to_hide(bundle, tamper):
    tamper(bundle)
    make.rehash(bundle, whole=True)
    report = check(bundle)
    assert {problem.kind for problem in report.problems} == {"values"}
    assert report.exit_code == 3
    assert len(report.replayed) == 4
    assert "off by" in report.problems[0].message


def test_an_artifact_that_the_runtime_refuses(bundle):
    make.unknown_operator(bundle)
    make.rehash(bundle, whole=True)
    report = check(bundle)
    assert [problem.kind for problem in report.problems] == ["runtime"]
    assert "NoSuchThing" in report.problems[0].message


def test_an_artifact_that_does_not_answer(bundle):
    path = bundle / "goldens/self/traced.inputs.npz"
    shutil.copyfile(bundle / "goldens/self/traced.outputs.npz", path)
    make.rehash(bundle)
    report = check(bundle)
    assert report.exit_code == EXIT_CODES["runtime"]
    assert [one.case for one in report.replayed] == ["ragged", "smallest", "zeros"]


def test_weights_of_another_training_are_replaced_weights(bundle, tmp_path):
    torchport.export(make.Twins(seed=1), tmp_path / "twins.onnx", verify=False)
    shutil.copyfile(tmp_path / "twins.onnx", bundle / "twins.onnx")
    report = check(bundle)
    assert report.exit_code == EXIT_CODES["weights"]
    assert "weights were replaced: 4 of " in report.problems[0].message


def test_changed_goldens_are_a_change_and_are_not_run(bundle):
    path = bundle / "goldens/self/traced.outputs.npz"
    content = bytearray(path.read_bytes())
    content[-150] ^= 1
    path.write_bytes(content)
    report = check(bundle)
    assert [(problem.kind, problem.where) for problem in report.problems] == [("bytes", "goldens/self/traced.outputs.npz")]
    assert [one.case for one in report.replayed] == ["ragged", "smallest", "zeros"]
    assert "twins.onnx: traced was not run: its goldens were changed" in report.notes


def test_goldens_that_cannot_be_read_are_a_problem(bundle):
    (bundle / "goldens/self/traced.outputs.npz").write_bytes(b"no archive")
    make.rehash(bundle)
    report = check(bundle)
    assert report.exit_code == 3
    assert "the goldens cannot be read" in report.problems[0].message


def test_goldens_with_other_names_are_a_problem(bundle):
    from torchport.check._arrays import write_arrays

    path = bundle / "goldens/self/smallest.outputs.npz"
    arrays = dict(np.load(path))
    write_arrays(path, {"low": arrays["low"], "height": arrays["high"]})
    make.rehash(bundle)
    report = check(bundle)
    assert report.exit_code == 3
    said = [problem.message for problem in report.problems]
    assert said == ["the goldens hold other outputs", "the artifact gives no such output"]


def test_long_words_of_a_runtime_are_cut():
    from torchport.check._replay import _short

    assert len(_short(RuntimeError("word " * 200))) < 300
    assert _short(RuntimeError()) == "RuntimeError"


def test_a_changed_readme_is_a_change_and_the_artifact_is_still_run(bundle):
    make.append(bundle)
    report = check(bundle)
    assert report.exit_code == EXIT_CODES["bytes"]
    assert "bytes instead of" in report.problems[0].found
    assert len(report.replayed) == 4


@pytest.mark.parametrize("name", ["twins.onnx", "README.md", "goldens/self/zeros.inputs.npz"])
def test_missing_files_links_and_strangers_are_problems(bundle, tmp_path, name):
    shutil.move(bundle / name, tmp_path / "elsewhere")
    report = check(bundle)
    assert (report.problems[0].kind, report.problems[0].where) == ("files", name)
    assert report.exit_code == EXIT_CODES["files"]
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    assert check(bundle).problems[0].message == "a file was replaced by a link"


def test_a_file_that_is_not_listed_is_a_problem(bundle):
    (bundle / "goldens" / "sitecustomize.py").write_text("import os\n")
    (bundle / "manifest.sig").write_text("{}")
    problems = check(bundle).problems
    assert {(problem.kind, problem.where) for problem in problems} == {("files", "goldens/sitecustomize.py"), ("files", "manifest.sig")}


def test_a_flipped_bit_is_found_wherever_it_is(bundle):
    from torchport.check._artifact import artifact_problems
    from torchport.check._bundle import _changed

    path = bundle / "twins.onnx"
    content = path.read_bytes()
    manifest = json.loads((bundle / MANIFEST).read_text())
    only = {**manifest, "files": [entry for entry in manifest["files"] if entry["path"] == "twins.onnx"]}
    kinds = set()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        found = artifact_problems(bundle, manifest["artifacts"][0], _changed(bundle, only, []))
        assert len(found) >= 1, place
        kinds |= {problem.kind for problem in found}
    assert kinds <= {"bytes", "ports", "opset", "weights"}


def test_an_untouched_bundle_holds(original, capsys):
    assert main([str(original), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"]
    assert [one["case"] for one in document["replayed"]] == ["traced", "ragged", "smallest", "zeros"]
    assert all(one["error"] <= one["tolerance"] for one in document["replayed"])
    check(original).raise_if_broken()


def test_a_broken_bundle_raises_with_its_report(bundle):
    make.downgrade(bundle)
    make.append(bundle)
    with pytest.raises(BrokenBundleError, match="the opset was downgraded; 1 more") as caught:
        check(bundle).raise_if_broken()
    assert caught.value.exit_code == EXIT_CODES["opset"]
    assert not caught.value.report.ok


def test_what_is_no_bundle_is_bad_input(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "this is no bundle" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


# -- without torch ------------------------------------------------------------------------------------------------------------

BLOCKED = """
import sys

BLOCKED = ("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "yaml", "rich", "typer", "torchvision", "lightning")


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not here")


sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """Runs the check in a process where only numpy and ONNX Runtime can be imported."""
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text(BLOCKED)
    paths = f"{folder}:{Path(torchport.__file__).parents[1]}"

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "torchport.check", *map(str, words)], env={"PYTHONPATH": paths}, capture_output=True, text=True
        )

    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-c", "import torch"], env={"PYTHONPATH": paths}, check=True, capture_output=True)
    return run


def test_a_bundle_holds_where_there_is_no_torch(bare, original):
    done = bare(original)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("replayed: self:") == 4


@pytest.mark.parametrize(
    ("tamper", "kind"),
    [
        (make.flip_weight, "bytes"),
        (make.exchange_weights, "weights"),
        (make.reorder_inputs, "ports"),
        (make.downgrade, "opset"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_tampering_is_found_where_there_is_no_torch(bare, bundle, tamper, kind):
    tamper(bundle)
    done = bare(bundle)
    assert done.returncode == EXIT_CODES[kind]
    assert done.stdout.startswith(f"{kind}: twins.onnx")
    assert not done.stderr


def test_forged_weights_are_found_by_their_answers_where_there_is_no_torch(bare, bundle):
    make.exchange_weights(bundle)
    make.rehash(bundle, whole=True)
    assert bare(bundle).returncode == EXIT_CODES["values"]


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_other_formats_say_that_they_need_torch(bare, tmp_path):
    path = tmp_path / "m.ts"
    torchport.export(make.Part(), path, input_example=torch.randn(3, 4), verify=False).package(tmp_path / "m.bundle")
    done = bare(tmp_path / "m.bundle")
    assert done.returncode == EXIT_CODES["runtime"]
    assert ".ts files are run by torch, which is not here" in done.stdout
    content = bytearray((tmp_path / "m.bundle" / "m.ts").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m.bundle" / "m.ts").write_bytes(content)
    report = check(tmp_path / "m.bundle")
    assert report.exit_code == EXIT_CODES["bytes"]
    assert "within bytes" in report.problems[0].found
    assert "m.ts was not run: it is not the file that was packaged" in report.notes


def test_an_onnx_file_reads_the_same_with_and_without_onnx(exported):
    from torchport.check._onnx import read_onnx

    found = read_onnx(exported.path)
    model = onnx.load(exported.path)
    assert [port["name"] for port in found.inputs] == [value.name for value in model.graph.input]
    assert {one["name"]: one["shape"] for one in found.weights} == {one.name: list(one.dims) for one in model.graph.initializer}
