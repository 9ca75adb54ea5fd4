"""Beyond one model with its ports: ensembles, kept states, labels, measured batches."""

import json
import re
import shutil

import bundle_makers as make
import numpy as np
import pytest
import torch
from test_packaging_triton import Few, Fixed, Rows

import torchport
from torchport.errors import OptionError, PackageError
from torchport.packaging import TritonTarget, targets
from torchport.packaging._pbtxt import Word
from torchport.packaging._triton_batch import choose_batch, measure_batches
from torchport.packaging._triton_ensemble import Step, ensemble_config
from torchport.repository import check_repository


class Front(torch.nn.Module):
    input_types = {"audio": ("batch samples", "float32"), "gain": ("batch", "float32")}
    output_types = {"mel": ("batch 4 time", "float32")}

    def forward(self, audio, gain):
        return (audio * gain[:, None])[:, None] * torch.arange(1.0, 5.0)[:, None]


class Back(torch.nn.Module):
    input_types = {"mel": ("batch 4 frames", "float32"), "gain": ("batch", "float32")}
    output_types = {"scores": ("batch 4", "float32")}

    def forward(self, mel, gain):
        return mel.mean(2) / gain[:, None]

    def export_metadata(self):
        return {"labels": ["a", "b", "c", "d"], "versions": {"made": "today"}}


class Joined(torch.nn.Module, torchport.Exportable):
    def __init__(self):
        super().__init__()
        self.front, self.back = Front(), Back()

    def list_export_subnets(self):
        return ["front", "back"]


class Streaming(torch.nn.Module):
    input_types = {"x": ("batch 3 time", "float32"), "total": ("batch 3", "float32")}
    output_types = {"y": ("batch 3 time", "float32"), "next_total": ("batch 3", "float32")}

    def forward(self, x, total):
        seen = x.cumsum(2) + total[:, :, None]
        return seen, seen[:, :, -1]

    fill = 0

    def export_metadata(self):
        state = {"input": "total", "output": "next_total", "shape": ["batch", 3], "dtype": "float32", "fill": self.fill}
        return {"states": [state]}


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return Joined().export(tmp_path_factory.mktemp("joined") / "m.onnx")


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    return torchport.export(Streaming(), tmp_path_factory.mktemp("streaming") / "s.onnx")


def fields(text, name):
    return re.findall(rf"^{name}: (.*)$", text, re.MULTILINE)


ENSEMBLE = """\
# Written by torchport, which adds versions of this model beside the others.
name: "m"
platform: "ensemble"
max_batch_size: 8
input {
  name: "audio"
  data_type: TYPE_FP32
  dims: [-1]
}
input {
  name: "gain"
  data_type: TYPE_FP32
  dims: [1]
}
output {
  name: "scores"
  data_type: TYPE_FP32
  dims: [4]
}
ensemble_scheduling {
  step {
    model_name: "front-m"
    model_version: -1
    input_map {
      key: "audio"
      value: "audio"
    }
    input_map {
      key: "gain"
      value: "gain"
    }
    output_map {
      key: "mel"
      value: "mel"
    }
  }
  step {
    model_name: "back-m"
    model_version: -1
    input_map {
      key: "mel"
      value: "mel"
    }
    input_map {
      key: "gain"
      value: "gain"
    }
    output_map {
      key: "scores"
      value: "scores"
    }
  }
}
"""


def test_subnets_become_models_and_an_ensemble(joined, tmp_path):
    packaged = joined.package(tmp_path / "repo", target="triton", options={"max_batch_size": 8, "warmup": False, "goldens": False})
    assert packaged.directory == tmp_path / "repo"
    assert packaged.files == (
        "back-m/1/model.onnx",
        "back-m/1/torchport.json",
        "back-m/config.pbtxt",
        "back-m/labels.txt",
        "front-m/1/model.onnx",
        "front-m/1/torchport.json",
        "front-m/config.pbtxt",
        "m/1/torchport.json",
        "m/config.pbtxt",
    )
    assert (tmp_path / "repo" / "m" / "config.pbtxt").read_text() == ENSEMBLE
    assert json.loads((tmp_path / "repo" / "m" / "1" / "torchport.json").read_text())["ensemble"] == ["front-m", "back-m"]
    joined.package(tmp_path / "repo", target="triton", options={"max_batch_size": 8, "warmup": False, "goldens": False})
    assert (tmp_path / "repo" / "m" / "2" / "torchport.json").is_file()
    assert (tmp_path / "repo" / "front-m" / "2" / "model.onnx").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


def test_files_become_an_ensemble_under_a_name(joined, tmp_path):
    paths = [part.artifact.path for part in joined.parts]
    torchport.package(paths, tmp_path / "repo", target="triton", options={"name": "whole"})
    assert sorted(path.name for path in (tmp_path / "repo").iterdir()) == ["back-m-whole", "front-m-whole", "whole"]
    renamed = [shutil.copy(path, tmp_path / f"{name}.onnx") for name, path in zip(("pre", "post"), paths, strict=True)]
    with pytest.raises(OptionError, match="need a name for what they make together") as caught:
        torchport.package(renamed, tmp_path / "other", target="triton")
    assert caught.value.found == "pre, post"
    with pytest.raises(PackageError, match="two of the artifacts have one name"):
        torchport.package([renamed[0], renamed[0]], tmp_path / "other", target="triton", options={"name": "x"})


def test_models_that_nothing_joins_stay_models(tmp_path):
    packaged = make.Coder().export(tmp_path / "m.onnx").package(tmp_path / "repo", target="triton")
    assert sorted(path.name for path in packaged.directory.iterdir()) == ["decoder-m", "encoder-m"]
    assert any("models of their own, without an ensemble" in note for note in packaged.notes)


def port(name, dims, dtype="TYPE_FP32"):
    return {"name": name, "data_type": Word(dtype), "dims": dims}


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (([port("x", [1])], [port("y", [4])], [port("y", [5])], [port("z", [1])]), "does not fit the input of its name"),
        (([port("x", [1])], [port("y", [4])], [port("y", [4], "TYPE_INT64")], [port("z", [1])]), "does not fit"),
        (([port("x", [1])], [port("y", [4])], [port("y", [4, 1])], [port("z", [1])]), "does not fit"),
        (([port("x", [1])], [port("y", [4])], [port("y", [4]), port("x", [2])], [port("z", [1])]), "does not fit"),
        (([port("x", [1])], [port("y", [4])], [port("y", [4])], [port("y", [1])]), "one name for different things"),
        (([port("x", [1])], [port("y", [4])], [port("y", [4])], [port("x", [1])]), "one name for different things"),
    ],
)
def test_what_cannot_be_joined_is_refused(steps, said):
    first, second = Step("a", *steps[:2]), Step("b", *steps[2:])
    with pytest.raises(PackageError, match=said):
        ensemble_config("whole", [first, second], 0)


def test_an_input_of_two_models_takes_what_both_take():
    first = Step("a", [port("x", [-1, 4])], [port("y", [4])])
    config = ensemble_config("whole", [first, Step("b", [port("y", [-1]), port("x", [3, -1])], [port("z", [1])])], 0)
    assert config["input"] == [port("x", [3, 4])]


STATE = """\
sequence_batching {
  oldest {
    max_candidate_sequences: 16
  }
  state {
    input_name: "total"
    output_name: "next_total"
    data_type: TYPE_FP32
    dims: [%s3]
    initial_state {
      name: "zeros"
      data_type: TYPE_FP32
      dims: [%s3]
      zero_data: true
    }
  }
}
"""


@pytest.mark.parametrize(("most", "dims", "begins"), [(0, "-1, ", "1, "), (4, "", "")])
def test_states_that_the_server_keeps_begin_with_zeros(streaming, tmp_path, most, dims, begins):
    streaming.package(tmp_path / "repo", target="triton", options={"sequences": 16, "max_batch_size": most})
    text = (tmp_path / "repo" / "s" / "config.pbtxt").read_text()
    assert STATE % (dims, begins) in text
    assert re.findall(r"^(?:in|out)put \{\n  name: (.*)$", text, re.MULTILINE) == ['"x"', '"y"']
    assert "model_warmup" not in text


def test_states_are_usual_ports_unless_the_server_shall_keep_them(streaming, tmp_path):
    streaming.package(tmp_path / "repo", target="triton")
    text = (tmp_path / "repo" / "s" / "config.pbtxt").read_text()
    assert re.findall(r"^(?:in|out)put \{\n  name: (.*)$", text, re.MULTILINE) == ['"x"', '"total"', '"y"', '"next_total"']


class Full(Streaming):
    fill = 1


class Turned(Streaming):
    output_types = {"y": ("batch 3 time", "float32"), "next_total": ("batch 3 1", "float32")}

    def forward(self, x, total):
        seen = x.cumsum(2) + total[:, :, None]
        return seen, seen[:, :, -1:]


class Only(torch.nn.Module):
    input_types = {"total": ("batch 3", "float32")}
    output_types = {"next_total": ("batch 3", "float32")}

    def forward(self, total):
        return total + 1

    export_metadata = Streaming.export_metadata
    fill = 0


class Labels(torch.nn.Module):
    input_types = {"x": ("batch 4", "float32")}
    output_types = {"low": ("batch 2", "float32"), "high": ("batch 2", "float32"), "wide": ("batch 4", "float32")}
    stated: dict = {}

    def forward(self, x):
        return x[:, :2] * 2, x[:, 2:] * 3, x * 4

    def export_metadata(self):
        return self.stated


class Ambiguous(Labels):
    stated = {"labels": ["on", "off"]}


class Elsewhere(Labels):
    stated = {"labels": ["on", "off"], "ports": {"scores": "wide"}}


class Broken(Labels):
    stated = {"labels": ["on\noff", "b"], "ports": {"scores": "low"}}


@pytest.mark.parametrize(
    ("model", "options", "said", "where"),
    [
        (Fixed, {"sequences": 4}, "does not say what goes from one call to the next", "sequences"),
        (Full, {"sequences": 4}, "begins every sequence with zeros", "total"),
        (Turned, {"sequences": 4}, "comes back as another array", "next_total"),
        (Only, {"sequences": 4}, "nothing but its state", "m.onnx"),
        (Streaming, {"sequences": 4, "dynamic_batching": True, "max_batch_size": 2}, "by their own scheduler", "dynamic_batching"),
        (Ambiguous, {}, "do not say which output they name", "export_metadata"),
        (Elsewhere, {}, "do not say which output they name", "export_metadata"),
        (Broken, {}, "a label is a line", "export_metadata"),
        (Fixed, {"queue_delay": 100}, "under dynamic batching only", "queue_delay"),
        (Fixed, {"versions": "some"}, "versions is a number", "versions"),
        (Fixed, {"versions": 0}, "versions is a number", "versions"),
        (Fixed, {"kind": "tpu"}, "kind is one of a few", "kind"),
        (Fixed, {"max_batch_size": "auto"}, "where every input begins with one batch", "max_batch_size"),
        (Rows, {"sequences": 2, "max_batch_size": 2}, "rows of a batch change each other", "y"),
    ],
)
def test_what_cannot_be_served_so_is_refused(tmp_path, model, options, said, where):
    result = torchport.export(model(), tmp_path / "m.onnx")
    with pytest.raises((PackageError, OptionError), match=said) as caught:
        result.package(tmp_path / "repo", target="triton", options=options)
    assert caught.value.where == where
    assert not (tmp_path / "repo").exists()


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_the_pytorch_backend_finds_states_by_index(tmp_path):
    result = torchport.export(Streaming(), tmp_path / "s.ts")
    with pytest.raises(PackageError, match="by their index only"):
        result.package(tmp_path / "repo", target="triton", options={"sequences": 4})
    result.package(tmp_path / "repo", target="triton", options={"sequences": 4, "names": "index"})
    text = (tmp_path / "repo" / "s" / "config.pbtxt").read_text()
    assert 'input_name: "total__1"\n    output_name: "next_total__1"' in text


def test_labels_and_what_the_model_states_go_along(joined, tmp_path):
    joined.package(tmp_path / "repo", target="triton")
    home = tmp_path / "repo" / "back-m"
    assert (home / "labels.txt").read_text() == "a\nb\nc\nd\n"
    text = (home / "config.pbtxt").read_text()
    assert '  name: "scores"\n  data_type: TYPE_FP32\n  dims: [-1, 4]\n  label_filename: "labels.txt"\n' in text
    assert 'key: "torchport.metadata"' in text
    assert "today" not in text  # what it was built with may differ between versions


def test_choices_stand_in_the_configuration(streaming, tmp_path):
    options = {"max_batch_size": 4, "dynamic_batching": True, "queue_delay": 200, "instances": 2, "kind": "gpu", "versions": 3}
    streaming.package(tmp_path / "repo", target="triton", options=options)
    text = (tmp_path / "repo" / "s" / "config.pbtxt").read_text()
    assert "dynamic_batching {\n  max_queue_delay_microseconds: 200\n}\n" in text
    assert "instance_group {\n  count: 2\n  kind: KIND_GPU\n}\n" in text
    assert "version_policy {\n  latest {\n    num_versions: 3\n  }\n}\n" in text
    streaming.package(tmp_path / "repo", target="triton", options={"name": "all", "versions": "all", "kind": "cpu"})
    text = (tmp_path / "repo" / "all" / "config.pbtxt").read_text()
    assert "version_policy {\n  all {\n  }\n}\n" in text
    assert "instance_group {\n  count: 1\n  kind: KIND_CPU\n}\n" in text


def test_words_of_a_version_do_not_keep_it_from_being_added(streaming, tmp_path):
    for run in ("one", "two"):
        streaming.package(tmp_path / "repo", target="triton", metadata={"run": run})
    home = tmp_path / "repo" / "s"
    shutil.rmtree(home / "1")
    streaming.package(tmp_path / "repo", target="triton", metadata={"run": "three"})
    told = {path.parent.name: json.loads(path.read_text())["metadata"] for path in home.glob("*/torchport.json")}
    assert told == {"2": {"run": "two"}, "3": {"run": "three"}}
    assert 'string_value: "one"' in (home / "config.pbtxt").read_text()
    (home / "3" / "torchport.json").write_text("{")
    (home / "2" / "torchport.json").write_text("[]")
    with pytest.raises(PackageError, match="all versions share one"):
        streaming.package(tmp_path / "repo", target="triton", metadata={"run": "four"})


def test_a_batch_grows_while_a_row_gets_cheaper():
    assert choose_batch({1: 1.0}) == 1
    assert choose_batch({1: 1.0, 2: 1.9, 4: 3.5, 8: 6.9}) == 4
    assert choose_batch({1: 1.0, 2: 2.0, 4: 2.1}) == 1


def test_a_measured_batch_is_written_down(tmp_path):
    result = torchport.export(make.Part(), tmp_path / "m.onnx")
    packaged = result.package(tmp_path / "repo", target="triton", options={"max_batch_size": "auto"})
    record = json.loads((packaged.directory / "1" / "torchport.json").read_text())
    taken = {int(size): seconds for size, seconds in record["seconds_by_batch"].items()}
    chosen = choose_batch(taken)
    assert fields((packaged.directory / "config.pbtxt").read_text(), "max_batch_size") == [str(chosen)]
    assert list(taken) == [2**power for power in range(len(taken))]
    assert f"max_batch_size {chosen}: above it, a row gets no cheaper here" in packaged.notes


def test_measuring_ends_where_the_batch_or_its_use_does(tmp_path):
    result = torchport.export(Few(), tmp_path / "m.onnx")
    part = torchport.packaging.part_of_file(result.path)
    ticks = iter(range(10**6))
    assert list(measure_batches(part, lambda: next(ticks))) == [1, 2, 4]  # at most 6 rows; each answer takes one tick, so rows get cheaper
    growing = iter(2.0**power for power in range(1000))
    assert list(measure_batches(part, lambda: next(growing))) == [1, 2]


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_the_checker_finds_nothing_in_what_is_written(joined, streaming, tmp_path):
    options = {"max_batch_size": 8, "dynamic_batching": True, "instances": 2}
    joined.package(tmp_path / "repo", target="triton", options=options)
    script = torchport.export(Streaming(), tmp_path / "t.ts")
    for number, (result, chosen) in enumerate(
        [
            (joined, {}),
            (streaming, {"versions": "all"}),
            (streaming, {"sequences": 4}),
            (streaming, {"sequences": 4, "max_batch_size": 4}),
            (script, {}),
            (script, {"names": "index", "sequences": 2}),
            (script, {"max_batch_size": 2, "warmup": False}),
        ]
    ):
        result.package(tmp_path / "repo", target="triton", options={"name": f"m{number}", **chosen})
    for auto_complete in (True, False):
        report = check_repository(tmp_path / "repo", auto_complete=auto_complete)
        assert [str(finding) for finding in report.findings] == []
        assert "refused" not in report.models.values()  # of TorchScript, files alone do not tell everything


def test_an_ensemble_has_a_golden_case_that_its_models_make_together(joined, tmp_path):
    joined.package(tmp_path / "repo", target="triton", options={"max_batch_size": 8})
    version = tmp_path / "repo" / "m" / "1"
    record = json.loads((version / "torchport.json").read_text())
    assert record["goldens_from"] == "artifact"
    [case] = record["goldens"]
    inputs, outputs = (np.load(version / "goldens" / f"chained.{side}.npz") for side in ("inputs", "outputs"))
    traced = joined.parts[0].goldens[0]
    assert inputs["gain"].shape == (*traced.inputs["gain"].shape, 1)  # as clients of the ensemble send it
    mel = Front()(torch.from_numpy(inputs["audio"]), torch.from_numpy(inputs["gain"][:, 0]))
    expected = Back()(mel, torch.from_numpy(inputs["gain"][:, 0]))
    np.testing.assert_allclose(outputs["scores"], expected, rtol=1e-4, atol=1e-5)
    assert case["name"] == "chained"
    assert 0 < case["tolerances"]["scores"] < 1e-3


class Other(torch.nn.Module):
    input_types = {"mel": ("batch 4 frames", "float32"), "weights": ("frames", "float32")}
    output_types = {"scores": ("batch 4", "float32")}

    def forward(self, mel, weights):
        return (mel * weights).mean(2)

    def input_example(self):
        return torch.randn(2, 4, 11), torch.rand(11)


class Apart(Joined):
    def __init__(self):
        super().__init__()
        self.back = Other()


def test_golden_inputs_that_do_not_go_together_make_no_case(tmp_path):
    packaged = Apart().export(tmp_path / "m.onnx").package(tmp_path / "repo", target="triton")
    assert json.loads((packaged.directory / "m" / "1" / "torchport.json").read_text())["goldens"] == []
    assert any("the ensemble has no case of its own" in note for note in packaged.notes)


class Careless(TritonTarget):
    """Writes what a server refuses."""

    def _write(self, parts, stage, order):
        notes = super()._write(parts, stage, order)
        for config in stage.rglob("config.pbtxt"):
            if "onnxruntime" in config.read_text():
                config.write_text(config.read_text().replace("TYPE_FP32", "TYPE_FP16", 1))
        return notes


def test_what_a_server_would_refuse_is_not_handed_over(joined, streaming, tmp_path):
    targets.add("careless", Careless())
    try:
        for result, where in ((streaming, "s/config.pbtxt:8:3"), (joined, "back-m/config.pbtxt:8:3")):
            with pytest.raises(PackageError, match="would not serve what was written") as caught:
                result.package(tmp_path / "repo", target="careless", options={"warmup": False})
            assert caught.value.where == where
            assert "io/dtype: " in caught.value.found
            assert caught.value.hint == "write the file's data_type"
            assert list(tmp_path.iterdir()) == []
    finally:
        targets.remove("careless")


def test_a_part_may_have_options_of_its_own(tmp_path):
    """A transducer's encoder batches; its step, whose states begin with their layers, cannot."""
    result = make.Coder().export(tmp_path / "m.onnx")
    result.package(tmp_path / "repo", target="triton", options={"encoder.max_batch_size": 8, "instances": 2, "decoder.instances": 1})
    texts = {name: (tmp_path / "repo" / f"{name}-m" / "config.pbtxt").read_text() for name in ("encoder", "decoder")}
    assert "max_batch_size: 8\n" in texts["encoder"]
    assert "max_batch_size: 0\n" in texts["decoder"]
    assert "count: 2\n" in texts["encoder"]
    assert "count: 1\n" in texts["decoder"]
    for option, where in (("joint.max_batch_size", "joint.max_batch_size"), ("encoder.name", "encoder.name")):
        with pytest.raises(OptionError, match="no part has such an option") as caught:
            result.package(tmp_path / "repo", target="triton", options={option: "1"})
        assert caught.value.where == where
    with pytest.raises(OptionError, match="has no such option") as caught:
        result.package(tmp_path / "repo", target="triton", options={"encoder.max_batch": "1"})
    assert caught.value.found == "encoder.max_batch"
