"""A model repository: complete configurations, versions that appear at once, and nothing of anybody else's touched."""

import json
import shutil

import bundle_makers as make
import numpy as np
import onnx
import pytest
import torch
from test_packaging_place import content, killed_at

import torchport
from torchport.errors import ArtifactExistsError, OptionError, PackageError, UnusablePathError
from torchport.packaging import TritonTarget, targets
from torchport.packaging._pbtxt import Word, format_message

CONFIG = """\
# Written by torchport, which adds versions of this model beside the others.
name: "twins"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: 0
input {
  name: "left"
  data_type: TYPE_FP32
  dims: [-1, 3, -1]
}
input {
  name: "right"
  data_type: TYPE_FP32
  dims: [-1, 3, -1]
}
input {
  name: "lens"
  data_type: TYPE_INT64
  dims: [-1]
}
output {
  name: "low"
  data_type: TYPE_FP32
  dims: [-1, 5]
}
output {
  name: "high"
  data_type: TYPE_FP32
  dims: [-1, 5]
}
parameters {
  key: "torchport.model"
  value {
    string_value: "bundle_makers.Twins"
  }
}
model_warmup {
  name: "traced"
  batch_size: 1
  inputs {
    key: "left"
    value {
      data_type: TYPE_FP32
      dims: [3, 3, 37]
      input_data_file: "traced.left"
    }
  }
  inputs {
    key: "right"
    value {
      data_type: TYPE_FP32
      dims: [3, 3, 37]
      input_data_file: "traced.right"
    }
  }
  inputs {
    key: "lens"
    value {
      data_type: TYPE_INT64
      dims: [3]
      input_data_file: "traced.lens"
    }
  }
}
"""


def versions(home):
    return sorted(path.name for path in home.iterdir() if path.name.isdecimal())


def test_a_model_comes_with_a_complete_configuration(exported, tmp_path):
    packaged = exported.package(tmp_path / "repo", target="triton", metadata={"license": "Apache-2.0"})
    home = tmp_path / "repo" / "twins"
    assert packaged.directory == home
    cases = [f"1/goldens/{name}.{kind}.npz" for name in ("ragged", "smallest", "traced", "zeros") for kind in ("inputs", "outputs")]
    warmup = [f"warmup/traced.{name}" for name in ("left", "lens", "right")]
    assert packaged.files == (*cases, "1/model.onnx", "1/torchport.json", "config.pbtxt", *warmup)
    words = 'parameters {\n  key: "license"\n  value {\n    string_value: "Apache-2.0"\n  }\n}\n'
    assert (home / "config.pbtxt").read_text() == CONFIG + words
    assert (home / "1" / "model.onnx").read_bytes() == exported.path.read_bytes()
    record = json.loads((home / "1" / "torchport.json").read_text())
    assert record["files"] == {"model.onnx": exported.parts[0].artifact.digests["twins.onnx"]}
    assert record["metadata"] == {"license": "Apache-2.0"}
    assert record["goldens_from"] == "model"
    traced = exported.parts[0].goldens[0]
    assert record["goldens"][0] == {"name": "traced", "sizes": dict(traced.sizes), "tolerances": dict(traced.tolerances)}
    np.testing.assert_array_equal(np.load(home / "1" / "goldens" / "traced.outputs.npz")["low"], traced.outputs["low"])
    assert (home / "warmup" / "traced.left").read_bytes() == traced.inputs["left"].tobytes()
    assert record["proved"]["cases"] == len(exported.proof.cases)
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


def test_a_batch_of_the_servers_is_the_first_axis_of_every_port(exported, tmp_path):
    exported.package(tmp_path / "repo", target="triton", options={"max_batch_size": 8, "dynamic_batching": "true", "name": "b"})
    text = (tmp_path / "repo" / "b" / "config.pbtxt").read_text()
    assert "max_batch_size: 8\n" in text
    assert 'name: "left"\n  data_type: TYPE_FP32\n  dims: [3, -1]\n' in text
    assert 'name: "lens"\n  data_type: TYPE_INT64\n  dims: [1]\n  reshape {\n    shape: []\n  }\n' in text
    assert "dynamic_batching {\n}\n" in text


def test_versions_are_added_while_the_configuration_stays(exported, tmp_path):
    for _ in range(3):
        exported.package(tmp_path / "repo", target="triton")
    home = tmp_path / "repo" / "twins"
    assert versions(home) == ["1", "2", "3"]
    assert (home / "config.pbtxt").read_text() == CONFIG
    shutil.rmtree(home / "1")
    torchport.package(exported.path, tmp_path / "repo", target="triton")
    assert versions(home) == ["2", "3", "4"]
    exported.package(tmp_path / "repo", target="triton", overwrite=True, options={"max_batch_size": 4})
    assert versions(home) == ["1"]
    assert "max_batch_size: 4" in (home / "config.pbtxt").read_text()


def test_a_version_that_needs_another_configuration_is_refused(exported, tmp_path):
    exported.package(tmp_path / "repo", target="triton")
    before = content(tmp_path / "repo")
    with pytest.raises(PackageError, match="all versions share one") as caught:
        exported.package(tmp_path / "repo", target="triton", options={"max_batch_size": 8})
    assert (caught.value.found, caught.value.expected) == ("max_batch_size: 8", "max_batch_size: 0")
    with (tmp_path / "repo" / "twins" / "config.pbtxt").open("a") as file:
        file.write("instance_group { kind: KIND_CPU }\n")
    with pytest.raises(PackageError, match="all versions share one") as caught:
        exported.package(tmp_path / "repo", target="triton")
    assert (caught.value.found, caught.value.expected) == ("(the end)", "instance_group { kind: KIND_CPU }")
    assert set(content(tmp_path / "repo")) == set(before)


def test_a_model_of_somebody_else_is_never_touched(exported, tmp_path):
    for name in ("twins", "linked"):
        (tmp_path / "repo" / name / "1").mkdir(parents=True)
        (tmp_path / "repo" / name / "config.pbtxt").write_text(f'name: "{name}"\n')
    (tmp_path / "repo" / "link").symlink_to(tmp_path / "repo" / "linked")
    (tmp_path / "repo" / "empty").mkdir()
    before = content(tmp_path)
    for overwrite in (False, True):
        for name in ("twins", "link", "empty"):
            with pytest.raises(ArtifactExistsError, match="never touched"):
                exported.package(tmp_path / "repo", target="triton", overwrite=overwrite, options={"name": name})
    assert content(tmp_path) == before
    exported.package(tmp_path / "repo", target="triton", options={"name": "other"})
    assert {name: text for name, text in content(tmp_path).items() if not name.startswith("repo/other/")} == before


def test_killed_at_any_step_the_repository_is_the_old_one_or_the_new_one(exported, tmp_path):
    repository = tmp_path / "repo"
    exported.package(repository, target="triton")
    old = content(repository)
    outcomes = []
    new = {name.replace("/1/", "/2/") for name in old if name.startswith("twins/1/")}
    for step in range(1, 60):
        died = killed_at(step, lambda: exported.package(repository, target="triton"))
        found = content(repository)
        added = set(found) - set(old)
        assert {name: found[name] for name in old} == old
        assert added in (set(), new), f"step {step}"
        outcomes.append(bool(added))
        shutil.rmtree(repository / "twins" / "2", ignore_errors=True)
        for rest in tmp_path.glob(".repo.*.partial"):
            shutil.rmtree(rest)
        if not died:
            break
    assert not died
    assert outcomes[-1]
    assert not outcomes[0]
    assert step > 5


def test_what_came_at_the_last_moment_is_not_replaced(exported, tmp_path):
    class Late(TritonTarget):
        def _check_home(self, home):
            """Sees nothing, as a moment before somebody else comes."""

        def is_ours(self, directory):
            return False

    for overwrite in (False, True):
        home = tmp_path / "repo" / "twins"
        shutil.rmtree(tmp_path / "repo", ignore_errors=True)
        late = Late()

        def come(stage, order, home=home):
            (home / "1").mkdir(parents=True)
            (home / "1" / "thesis.tex").write_text("years of work")

        late._check = come
        targets.add("late", late)
        try:
            with pytest.raises(ArtifactExistsError, match="meanwhile"):
                exported.package(tmp_path / "repo", target="late", overwrite=overwrite)
        finally:
            targets.remove("late")
        assert set(content(tmp_path / "repo")) == {"twins/1/thesis.tex"}


def test_of_two_packagers_one_wins_and_the_other_says_so(exported, tmp_path):
    class Late(TritonTarget):
        def _check(self, stage, order):
            exported.package(order.directory, target="triton")  # somebody else, in between

    repository = tmp_path / "repo"
    targets.add("late", Late())
    try:
        exported.package(repository, target="triton")
        with pytest.raises(ArtifactExistsError, match="somebody else added to this model meanwhile"):
            exported.package(repository, target="late")
        assert versions(repository / "twins") == ["1", "2"]
    finally:
        targets.remove("late")


def test_weights_beside_the_file_go_along(tmp_path):
    from test_packaging_bundle import Wide

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
    result.package(tmp_path / "repo", target="triton")
    folder = tmp_path / "repo" / "wide" / "1"
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "wide.onnx.data", "torchport.json", "goldens"}
    assert onnx.load(folder / "model.onnx").graph.initializer[0].raw_data
    assert set(json.loads((folder / "torchport.json").read_text())["files"]) == {"model.onnx", "wide.onnx.data"}


class Rows(torch.nn.Module):
    """Every row is measured against the mean of all."""

    input_types = {"x": ("batch 4", "float32")}
    output_types = {"y": ("batch 4", "float32")}

    def forward(self, x):
        return x - x.mean(0, keepdim=True)


class Few(torch.nn.Module):
    input_types = {"x": ("batch{max=6} 4", "float32")}
    output_types = {"y": ("batch 4", "float32")}

    def forward(self, x):
        return x * 2


class Sum(torch.nn.Module):
    input_types = {"x": ("batch time", "float32")}
    output_types = {"y": ("time batch", "float32"), "total": ("", "float32")}

    def forward(self, x):
        return x.T * 2, x.sum()


class Fixed(torch.nn.Module):
    input_types = {"x": ("3 4", "float32")}
    output_types = {"y": ("3 4", "float32")}

    def forward(self, x):
        return x * 2


@pytest.mark.parametrize(
    ("model", "options", "said", "where"),
    [
        (Rows, {"max_batch_size": 4, "dynamic_batching": "true"}, "rows of a batch change each other", "y"),
        (Few, {"max_batch_size": 7}, "does not take every batch", "batch"),
        (Sum, {}, "Triton has no scalars", "total"),
        (Sum, {"max_batch_size": 4}, "a batch as the first axis of every port", "total"),
        (Fixed, {"max_batch_size": 4}, "a batch as the first axis of every port", "x"),
        (Fixed, {"dynamic_batching": "true"}, "a max_batch_size above 0", "dynamic_batching"),
        (Fixed, {"max_batch_size": "many"}, "is a number", "max_batch_size"),
        (Fixed, {"dynamic_batching": "maybe"}, "is a switch", "dynamic_batching"),
        (Fixed, {"name": "../up"}, "the name of a model", "options['name']"),
        (Fixed, {"max_batch": 4}, "has no such option", None),
    ],
)
def test_what_cannot_be_served_so_is_refused_with_its_reason(tmp_path, model, options, said, where):
    result = torchport.export(model(), tmp_path / "m.onnx")
    with pytest.raises((PackageError, OptionError), match=said) as caught:
        result.package(tmp_path / "repo", target="triton", options=options)
    assert caught.value.where == where
    assert not (tmp_path / "repo").exists()


def test_two_batches_and_an_unproved_file_are_refused(exported, tmp_path):
    class Two(torch.nn.Module):
        input_types = {"x": ("one 4", "float32"), "y": ("two 4", "float32")}
        output_types = {"a": ("one 4", "float32"), "b": ("two 4", "float32")}

        def forward(self, x, y):
            return x * 2, y * 3

    result = torchport.export(Two(), tmp_path / "m.onnx")
    with pytest.raises(PackageError, match="one batch for all ports"):
        result.package(tmp_path / "repo", target="triton", options={"max_batch_size": 4})
    with pytest.raises(PackageError, match="nothing says whether rows"):
        torchport.package(exported.path, tmp_path / "repo", target="triton", options={"max_batch_size": 4, "dynamic_batching": "true"})


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_other_formats_several_artifacts_and_signers_are_refused(exported, tmp_path):
    from torchport.check import HmacSigner

    program = torchport.export(Fixed(), tmp_path / "m.pt2", verify=False)
    with pytest.raises(PackageError, match="the server does not take such a file") as caught:
        program.package(tmp_path / "repo", target="triton")
    assert (caught.value.found, caught.value.expected) == ("exported_program", "onnx, torchscript")
    assert "AOTInductor" in caught.value.hint
    lifted = torchport.export(make.Part(), tmp_path / "lifted.onnx", export_params=False)
    with pytest.raises(PackageError, match="weights as inputs"):
        lifted.package(tmp_path / "repo", target="triton")
    with pytest.raises(OptionError, match="holds no signature"):
        exported.package(tmp_path / "repo", target="triton", signer=HmacSigner(bytes(16)))
    with pytest.raises(UnusablePathError, match="does not exist"):
        exported.package(tmp_path / "no" / "repo", target="triton")
    assert not (tmp_path / "repo").exists()


SCRIPT = """\
# Written by torchport, which adds versions of this model beside the others.
name: "m"
platform: "pytorch_libtorch"
backend: "pytorch"
default_model_filename: "model.pt"
max_batch_size: 8
input {
  name: "x%s"
  data_type: TYPE_FP32
  dims: [4]
}
output {
  name: "y%s"
  data_type: TYPE_FP32
  dims: [4]
}
parameters {
  key: "torchport.model"
  value {
    string_value: "bundle_makers.Part"
  }
}
"""


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_torchscript_keeps_its_names_or_counts_its_ports(tmp_path):
    result = torchport.export(make.Part(), tmp_path / "m.ts")
    result.package(tmp_path / "repo", target="triton", options={"max_batch_size": 8, "warmup": False})
    assert (tmp_path / "repo" / "m" / "config.pbtxt").read_text() == SCRIPT % ("", "")
    assert (tmp_path / "repo" / "m" / "1" / "model.pt").read_bytes() == result.path.read_bytes()
    result.package(tmp_path / "repo", target="triton", options={"max_batch_size": 8, "names": "index", "warmup": False}, overwrite=True)
    assert (tmp_path / "repo" / "m" / "config.pbtxt").read_text() == SCRIPT % ("__0", "__0")


class Turned(torch.nn.Module):
    input_types = {"x": ("batch 4", "float32")}
    output_types = {"y__1": ("batch 4", "float32"), "y__0": ("batch 4", "float32")}

    def forward(self, x):
        return x * 2, x * 3


class Echo(torch.nn.Module):
    input_types = {"x": ("batch 4", "float32")}
    output_types = {"x": ("batch 4", "float32")}

    def forward(self, x):
        return x * 2


class Bits(torch.nn.Module):
    input_types = {"x": ("batch 4", "bfloat16")}
    output_types = {"y": ("batch 4", "bfloat16")}

    def forward(self, x):
        return x * 2


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("model", "options", "said", "where"),
    [
        (Turned, {}, "would read these names of outputs as places", "y__1, y__0"),
        (Bits, {}, "pytorch backend has no such dtype", "x"),
        (Fixed, {"names": "upper"}, "names is one of a few", "names"),
    ],
)
def test_torchscript_that_the_backend_would_misread_is_refused(tmp_path, model, options, said, where):
    result = torchport.export(model(), tmp_path / "m.ts", verify=False)
    with pytest.raises((PackageError, OptionError), match=said) as caught:
        result.package(tmp_path / "repo", target="triton", options=options)
    assert caught.value.where == where
    assert not (tmp_path / "repo").exists()


def test_an_onnx_file_names_its_ports_itself(exported, tmp_path):
    with pytest.raises(PackageError, match="names its ports itself"):
        exported.package(tmp_path / "repo", target="triton", options={"names": "index"})


def test_a_dtype_that_the_server_does_not_have_is_refused():
    from torchport.packaging._triton_config import _port

    for port, said in (({"dtype": "complex64", "axes": [1]}, "no such dtype"), ({"dtype": "float32", "axes": None}, "how many axes")):
        with pytest.raises(PackageError, match=said):
            _port({"name": "x", **port}, "x", batched=False)
    with pytest.raises(PackageError, match="no axis of size 0"):
        _port({"name": "x", "dtype": "float32", "axes": [0]}, "x", batched=False)


def test_text_is_written_so_that_protobuf_reads_it_back():
    text = format_message({"a": 'say "é"\n\\', "b": True, "c": [Word("X"), Word("Y")], "d": [{"e": 1}, {"e": -2}], "f": {}, "g": []})
    assert text == ('a: "say \\"\\303\\251\\"\\012\\\\"\nb: true\nc: [X, Y]\nd {\n  e: 1\n}\nd {\n  e: -2\n}\nf {\n}\ng: []\n')
