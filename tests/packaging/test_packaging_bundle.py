"""What is in a bundle: the model's own answers, the proof, every port, and a README whose code runs."""

import json
import re
import runpy
import shutil

import bundle_makers as make
import numpy as np
import onnx
import pytest
import torch

import torchport
from torchport import NeuralType
from torchport.check import check, read_manifest
from torchport.check._arrays import read_arrays, write_arrays
from torchport.emit import content_digests
from torchport.errors import OptionError, PackageError, UnknownNameError, UnusablePathError
from torchport.packaging import BundleTarget, Golden, Order, Part, part_of_file, targets
from torchport.types import MaskType


def manifest_of(folder):
    return read_manifest(folder)[0]


def test_the_golden_answers_are_those_of_the_untouched_model(original):
    model = make.Twins().eval()
    artifact = manifest_of(original)["artifacts"][0]
    assert artifact["goldens"]["from"] == "model"
    assert [case["name"] for case in artifact["goldens"]["cases"]] == ["traced", "ragged", "smallest", "zeros"]
    for case in artifact["goldens"]["cases"]:
        inputs = {name: torch.from_numpy(array) for name, array in np.load(original / case["inputs"]).items()}
        outputs = np.load(original / case["outputs"])
        with torch.no_grad():
            for name, expected in zip(("low", "high"), model(**inputs), strict=True):
                assert np.array_equal(outputs[name], expected.numpy())
        if case["name"] == "ragged":
            assert len(set(inputs["lens"].tolist())) > 1


def test_the_manifest_says_what_was_exported_and_how_it_was_proved(original, exported):
    manifest = manifest_of(original)
    artifact = manifest["artifacts"][0]
    proof = exported.proof
    assert artifact["digests"] == content_digests(exported.path).to_dict()
    assert artifact["opsets"] == {"ai.onnx": onnx.load(exported.path).opset_import[0].version}
    assert [(port["name"], port["axes"]) for port in artifact["inputs"]] == [
        ("left", ["batch", 3, "time"]),
        ("right", ["batch", 3, "time"]),
        ("lens", ["batch"]),
    ]
    assert artifact["inputs"][2]["meaning"] == "LengthsType()"
    assert artifact["symbols"]["time"] == {"min": 1, "max": None, "multiple_of": 1}
    assert artifact["strategy"] == exported.strategy
    assert artifact["model"].endswith("Twins")
    assert len(artifact["proof"]["cases"]) == len(proof.cases)
    assert artifact["proof"]["worst_error"] == proof.worst_error
    assert artifact["proof"]["rows"] == {"low": "independent", "high": "independent"}
    assert manifest["versions"]["torch"] == torch.__version__.partition("+")[0] or manifest["versions"]["torch"] == torch.__version__
    assert (original / "twins.onnx").read_bytes() == exported.path.read_bytes()


def test_the_same_export_gives_the_same_bytes(original, exported, tmp_path):
    exported.package(tmp_path / original.name)
    for path in original.rglob("*"):
        if path.is_file():
            assert (tmp_path / original.name / path.relative_to(original)).read_bytes() == path.read_bytes(), path


def test_the_code_of_the_readme_runs(original, monkeypatch, tmp_path):
    readme = (original / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    (tmp_path / "run.py").write_text(code)
    monkeypatch.chdir(original)
    outputs = runpy.run_path(str(tmp_path / "run.py"))["outputs"]
    expected = np.load("goldens/self/traced.outputs.npz")
    for name in ("low", "high"):
        assert np.allclose(outputs[name], expected[name], atol=1e-5)
    for said in ("| input | `left` | float32 | batch 3 time |", "LengthsType", "by the untouched model", "no torch", "not signed"):
        assert said in readme


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_the_code_of_a_torchscript_readme_runs(monkeypatch, tmp_path):
    result = torchport.export(make.Part(), tmp_path / "m.ts", verify=False)
    result.package(tmp_path / "m.bundle")
    readme = (tmp_path / "m.bundle" / "README.md").read_text()
    (tmp_path / "run.py").write_text(re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1])
    monkeypatch.chdir(tmp_path / "m.bundle")
    outputs = runpy.run_path(str(tmp_path / "run.py"))["outputs"]
    assert np.allclose(outputs.numpy(), np.load("goldens/self/traced.outputs.npz")["y"], atol=1e-5)
    assert "NOT PROVED" in readme
    assert "It needs torch, because of the format." in readme
    report = check(".")
    assert report.ok
    assert "m.ts was never proved over its axes: it was exported with verify=False" in report.notes


def test_subnets_become_one_bundle(tmp_path):
    result = make.Coder().export(tmp_path / "m.onnx")
    packaged = torchport.package(result, tmp_path / "m.bundle", metadata={"license": "Apache-2.0"})
    manifest = manifest_of(tmp_path / "m.bundle")
    assert [artifact["name"] for artifact in manifest["artifacts"]] == ["encoder", "decoder"]
    assert manifest["metadata"] == {"license": "Apache-2.0"}
    assert {"encoder-m.onnx", "decoder-m.onnx", "goldens/decoder/traced.inputs.npz"} <= set(packaged.files)
    assert packaged.to_dict()["files"] == list(packaged.files)
    assert check(tmp_path / "m.bundle").ok
    shutil.copyfile(tmp_path / "encoder-m.onnx", tmp_path / "m.bundle" / "decoder-m.onnx")
    report = check(tmp_path / "m.bundle")
    assert report.exit_code == 11
    assert {one.artifact for one in report.replayed} == {"encoder"}
    torchport.package([tmp_path / "encoder-m.onnx", tmp_path / "decoder-m.onnx"], tmp_path / "bare.bundle")
    assert [artifact["name"] for artifact in manifest_of(tmp_path / "bare.bundle")["artifacts"]] == ["encoder-m", "decoder-m"]


def test_a_file_alone_gives_its_own_answers_and_says_so(exported, tmp_path):
    packaged = torchport.package(exported.path, tmp_path / "m.bundle")
    artifact = manifest_of(tmp_path / "m.bundle")["artifacts"][0]
    assert artifact["goldens"]["from"] == "artifact"
    assert artifact["proof"] is None
    assert [case["name"] for case in artifact["goldens"]["cases"]] == ["ragged", "zeros"]
    assert any("cannot show that it equals its model" in note for note in packaged.notes)
    readme = (tmp_path / "m.bundle" / "README.md").read_text()
    assert "Not known: it was packaged from the file alone" in readme
    assert "by the artifact itself" in readme
    report = check(tmp_path / "m.bundle")
    assert report.ok
    assert any("are its own" in note for note in report.notes)
    for case in artifact["goldens"]["cases"]:
        assert all(0 < tolerance < 1e-4 for tolerance in case["tolerances"].values())


def test_a_file_that_states_no_ports_is_refused(exported, tmp_path):
    model = onnx.load(exported.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(PackageError, match="does not state its ports"):
        torchport.package(tmp_path / "foreign.onnx", tmp_path / "m.bundle")
    with pytest.raises(UnusablePathError, match="no such artifact"):
        torchport.package(tmp_path / "nothing.onnx", tmp_path / "m.bundle")
    assert not (tmp_path / "m.bundle").exists()


def test_a_file_that_takes_its_weights_as_inputs_is_refused(tmp_path):
    result = torchport.export(make.Part(), tmp_path / "m.onnx", export_params=False)
    for what in (result, result.path):
        with pytest.raises(PackageError, match="takes its weights as inputs") as caught:
            torchport.package(what, tmp_path / "m.bundle")
        assert "linear.bias" in str(caught.value)


class Square(torch.nn.Module):
    """Takes square inputs only, and does not say so: one symbol would."""

    input_types = {"x": ("batch{max=6,multiple_of=2} 4 width{max=9}", "float32"), "mask": NeuralType(("B",), MaskType())}
    output_types = {"y": ("batch", "float32")}

    def forward(self, x, mask):
        return x.sum((1, 2)) * mask


def test_inputs_of_a_file_alone_keep_its_limits(tmp_path):
    torchport.export(Square(), tmp_path / "m.onnx")
    part = part_of_file(tmp_path / "m.onnx")
    assert part.goldens[0].sizes == {"batch": 4, "width": 9}
    BundleTarget().package([part], Order(tmp_path / "m.bundle"))
    readme = (tmp_path / "m.bundle" / "README.md").read_text()
    assert "| `batch` | 2 to 6, a multiple of 2 |" in readme


def test_an_artifact_that_disagrees_with_its_goldens_is_not_packaged(exported, tmp_path):
    part = part_of_file(exported.path)
    first, second = part.goldens
    wrong = {name: array + 1 for name, array in first.outputs.items()}
    broken = Golden("wrong", first.sizes, first.inputs, wrong, first.tolerances)
    order = Order(tmp_path / "m.bundle")

    def with_goldens(*goldens):
        return Part("self", None, part.artifact, None, goldens, "artifact")

    with pytest.raises(PackageError, match="does not answer its first golden case"):
        BundleTarget().package([with_goldens(broken, second)], order)
    assert not order.directory.exists()
    packaged = BundleTarget().package([with_goldens(second, broken)], order)
    assert any("the case 'wrong' is no golden one" in note for note in packaged.notes)
    assert [case["name"] for case in manifest_of(order.directory)["artifacts"][0]["goldens"]["cases"]] == ["zeros"]


@pytest.mark.parametrize("names", [("self", "self"), ("..", "b"), ("a/b", "c")])
def test_parts_need_names_of_their_own(exported, tmp_path, names):
    part = part_of_file(exported.path)
    make.Part()
    shutil.copyfile(exported.path, tmp_path / "other.onnx")
    other = part_of_file(tmp_path / "other.onnx")
    parts = [Part(name, None, one.artifact, None, one.goldens, "artifact") for name, one in zip(names, (part, other), strict=True)]
    with pytest.raises(PackageError, match="name of its own"):
        BundleTarget().package(parts, Order(tmp_path / "m.bundle"))
    with pytest.raises(PackageError, match="would have one name"):
        BundleTarget().package([part, part], Order(tmp_path / "m.bundle"))
    with pytest.raises(PackageError, match="nothing to package"):
        BundleTarget().package([], Order(tmp_path / "m.bundle"))
    with pytest.raises(PackageError, match="without golden inputs"):
        BundleTarget().package([Part("self", None, part.artifact, None, (), "model")], Order(tmp_path / "m.bundle"))


@pytest.mark.parametrize(
    ("what", "more", "said"),
    [
        ([], {}, "can be packaged"),
        (7, {}, "can be packaged"),
        ("m.onnx", {"metadata": {"a": 1}}, "metadata are texts"),
        ("m.onnx", {"metadata": "a"}, "metadata are texts"),
        ("m.onnx", {"directory": 5}, "directory is a path"),
    ],
)
def test_bad_arguments_are_named(tmp_path, what, more, said):
    with pytest.raises(OptionError, match=said):
        torchport.package(what, **{"directory": tmp_path / "m.bundle", **more})
    with pytest.raises(UnknownNameError, match="unknown target"):
        torchport.package("m.onnx", tmp_path, target="bundel")


def test_a_target_that_fails_leaves_nothing(exported, tmp_path):
    class Failing(BundleTarget):
        name = "failing"

        def __init__(self, error):
            self.error = error

        def _write(self, parts, stage, order):
            (stage / "half").write_text("half")
            raise self.error

    targets.add("failing", Failing(RuntimeError("halfway")))
    try:
        with pytest.raises(PackageError, match="the failing could not be made: RuntimeError: halfway"):
            torchport.package(exported, tmp_path / "m", target="failing")
        with pytest.raises(UnusablePathError, match="could not be written"):
            Failing(OSError(28, "No space left on device")).package([part_of_file(exported.path)], Order(tmp_path / "m"))
    finally:
        targets.remove("failing")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_does_not_hold_where_it_was_made_is_not_handed_over(exported, tmp_path):
    class Careless(BundleTarget):
        def _write(self, parts, stage, order):
            notes = super()._write(parts, stage, order)
            make.append(stage)
            return notes

    with pytest.raises(PackageError, match="not handed over"):
        Careless().package([part_of_file(exported.path)], Order(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_every_dtype_come_back(tmp_path):
    import ml_dtypes

    arrays = {
        "half": np.ones(3, np.float16),
        "brain": np.arange(4).astype(ml_dtypes.bfloat16),
        "file": np.zeros((0, 2), np.int64),
        "a/b.npy": np.array(True),
    }
    dtypes = {"half": "float16", "brain": "bfloat16", "file": "int64", "a/b.npy": "bool"}
    write_arrays(tmp_path / "x.npz", arrays)
    found = read_arrays(tmp_path / "x.npz", dtypes)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    with pytest.raises(ValueError, match="not float32"):
        read_arrays(tmp_path / "x.npz", {**dtypes, "half": "float32"})
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(100_000))
    with pytest.raises(ValueError, match="no plain array"):
        read_arrays(tmp_path / "bomb.npz", {})
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="no plain array"):
        read_arrays(tmp_path / "pickle.npz", {})


class Ranged(torch.nn.Module):
    """Pads by reflection: the shortest row has three steps."""

    input_types = {"x": ("2 4 time", "float32")}
    output_types = {"y": ("2 4 time", "float32")}

    def forward(self, x):
        return torch.nn.functional.pad(x, (2, 2), mode="reflect")[:, :, 2:-2] * 2


def test_the_readme_tells_limits_and_what_the_proof_would_notice(tmp_path):
    torchport.export(Ranged(), tmp_path / "m.onnx", power=4).package(tmp_path / "m.bundle")
    readme = (tmp_path / "m.bundle" / "README.md").read_text()
    assert "| `time` | 3 or more |" in readme
    assert "- `time`: the model itself answers 3 or more only." in readme
    assert "What the proof would have noticed: " in readme
    assert manifest_of(tmp_path / "m.bundle")["artifacts"][0]["proof"]["power"]


class Fixed(torch.nn.Module):
    input_types = {"x": ("2 4", "float32")}
    output_types = {"y": ("2 4", "float32")}

    def forward(self, x):
        return x * 2


def test_the_readme_of_fixed_sizes_says_so(tmp_path):
    torchport.export(Fixed(), tmp_path / "m.onnx", verify=False).package(tmp_path / "m.bundle", overwrite=True)
    torchport.package(tmp_path / "m.onnx", tmp_path / "bare.bundle")
    assert "- the golden outputs are" in (tmp_path / "bare.bundle" / "README.md").read_text()
    torchport.export(Fixed(), tmp_path / "n.onnx").package(tmp_path / "n.bundle")
    assert "Every axis has the one size" in (tmp_path / "n.bundle" / "README.md").read_text()


def test_a_file_alone_that_refuses_whatever_can_be_made_for_it(exported):
    from torchport.errors import RuntimeFailure
    from torchport.packaging import _stated

    class Refusing:
        input_names = ("left", "right", "lens")
        answered = 0

        def run(self, inputs):
            self.answered += 1
            if self.answered > self.least:
                raise RuntimeFailure("ONNX Runtime failed while running", found="index out of range")
            return {"low": inputs["left"], "high": inputs["left"]}

    session = Refusing()
    signature = exported.signature
    session.least = 2
    assert [golden.name for golden in _stated._goldens(exported.path, signature, session)] == ["ragged"]
    session.least = 0
    with pytest.raises(PackageError, match="no inputs can be made for the file") as caught:
        _stated._goldens(exported.path, signature, session)
    assert "--bundle DIR" in caught.value.hint


class Wide(torch.nn.Module):
    input_types = {"x": ("batch 64", "float32")}
    output_types = {"y": ("batch 64", "float32")}

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(64, 64)

    def forward(self, x):
        return self.linear(x)


def test_weights_beside_the_file_go_along(tmp_path):
    from torchport.emit import formats
    from torchport.emit.onnx import Onnx

    usual = formats["onnx"]
    formats.remove("onnx")
    formats.add("onnx", Onnx(external_from=0))
    try:
        result = torchport.export(Wide(), tmp_path / "wide.onnx")
    finally:
        formats.remove("onnx")
        formats.add("onnx", usual)
    assert len(result.parts[0].artifact.paths) == 2
    for what, name in ((result, "m.bundle"), (result.path, "bare.bundle")):
        place = tmp_path / name
        torchport.package(what, place)
        assert check(place).ok
        assert json.loads((place / "manifest.json").read_text())["artifacts"][0]["files"] == ["wide.onnx", "wide.onnx.data"]
        data = bytearray((place / "wide.onnx.data").read_bytes())
        data[3] ^= 8
        (place / "wide.onnx.data").write_bytes(data)
        report = check(place)
        assert report.exit_code == 10
        assert (report.problems[0].where, "in the weights" in report.problems[0].message) == ("wide.onnx.data", True)
        (place / "wide.onnx.data").unlink()
        assert check(place).exit_code == 15
