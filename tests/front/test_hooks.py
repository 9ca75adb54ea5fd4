"""Every hook a model may define."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import torchport
from torchport import Exportable, NeuralType
from torchport.errors import HookError, OptionError
from torchport.types import EncodedRepresentation, LogitsType, SpectrogramType

SPEC = NeuralType(("B", "D", "T"), SpectrogramType())


def names(path):
    graph = onnx.load(path).graph
    return [one.name for one in graph.input], [one.name for one in graph.output]


class Encoder(nn.Module, Exportable):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 3, padding=1)

    @property
    def input_types(self):
        return {"audio": NeuralType(("B", "D", "T"), SpectrogramType())}

    @property
    def output_types(self):
        return {"encoded": NeuralType(("B", "D", "T"), EncodedRepresentation())}

    def input_example(self, max_batch=2, max_dim=9):
        return (torch.randn(max_batch, 4, max_dim),)

    def forward(self, audio):
        return self.conv(audio).relu()


class Decoder(nn.Module, Exportable):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 3)

    def input_types(self):
        return {"encoded": NeuralType(("B", "D", "T"), EncodedRepresentation())}

    def output_types(self):
        return {"logits": NeuralType(("B", "T", "D"), LogitsType())}

    def input_example(self):
        return (torch.randn(2, 6, 9),)

    def forward(self, encoded):
        return self.out(encoded.transpose(1, 2))


class Recognizer(nn.Module, Exportable):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    @property
    def input_module(self):
        return self.encoder

    @property
    def output_module(self):
        return self.decoder

    def forward(self, audio):
        return self.decoder(self.encoder(audio)), "text"

    def forward_for_export(self, audio):
        return self.decoder(self.encoder(audio))


class Both(Recognizer):
    def list_export_subnets(self):
        return ["encoder", "decoder"]


def test_input_and_output_module_name_the_graph(tmp_path):
    Recognizer().export(tmp_path / "m.onnx")
    assert names(tmp_path / "m.onnx") == (["audio"], ["logits"])


def test_subnets_become_one_artifact_each(tmp_path):
    paths, _ = Both().export(tmp_path / "m.onnx", dynamic_axes={"audio": {0: "batch", 2: "frames"}, "logits": {0: "batch", 1: "frames"}})
    assert [path.rsplit("/", 1)[1] for path in paths] == ["encoder-m.onnx", "decoder-m.onnx"]
    assert names(tmp_path / "encoder-m.onnx") == (["audio"], ["encoded"])
    assert names(tmp_path / "decoder-m.onnx") == (["encoded"], ["logits"])


def test_all_subnets_are_written_or_none(tmp_path):
    class Half(Both):
        def get_export_subnet(self, subnet=None):
            return self.encoder if subnet == "encoder" else Broken()

    class Broken(nn.Module):
        input_types = {"x": "batch 4"}

        def forward(self, x):
            raise RuntimeError("no")

    with pytest.raises(torchport.TorchportError):
        Half().export(tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_subnet_is_a_hook_error(tmp_path):
    class Unknown(Recognizer):
        def list_export_subnets(self):
            return ["encodr"]

    with pytest.raises(HookError, match="encodr"):
        Unknown().export(tmp_path / "m.onnx")


@pytest.mark.parametrize("spelling", [{"y"}, ["y"], ("y",)])
@pytest.mark.parametrize("kind", ["property", "method"])
def test_disabled_names_in_every_spelling(tmp_path, spelling, kind):
    class Model(nn.Module, Exportable):
        input_types = {"x": "batch 4", "y": "batch 4"}
        output_types = {"a": "batch 4", "y": "batch 4"}

        def forward(self, x, y=None):
            return x * 2, x * 3

    for hook in ("disabled_deployment_input_names", "disabled_deployment_output_names"):
        setattr(Model, hook, property(lambda self: spelling) if kind == "property" else lambda self: spelling)
    Model().export(tmp_path / "m.onnx")
    assert names(tmp_path / "m.onnx") == (["x"], ["a"])


@pytest.mark.parametrize(
    "example", [lambda: torch.ones(2, 4), lambda: (torch.ones(2, 4),), lambda: {"x": torch.ones(2, 4)}, lambda: ({"x": torch.ones(2, 4)},)]
)
def test_input_example_in_every_spelling(tmp_path, example):
    class Model(nn.Module, Exportable):
        input_types = {"x": "batch 4"}

        def input_example(self):
            return example()

        def forward(self, x):
            return x * 2

    Model().export(tmp_path / "m.onnx")
    assert names(tmp_path / "m.onnx") == (["x"], ["output"])


def test_input_example_may_need_its_sizes(tmp_path):
    class Model(nn.Module, Exportable):
        input_types = {"x": "batch time"}

        def input_example(self, max_batch, max_dim):
            return torch.ones(max_batch, max_dim)

        def forward(self, x):
            return x * 2

    assert Model().export(tmp_path / "m.onnx").proof.ok


def test_prepare_is_called_once_per_module_parents_first_and_undone(tmp_path):
    calls = []

    class Child(nn.Module, Exportable):
        def __init__(self):
            super().__init__()
            self.exporting = False

        def forward(self, x):
            return x * (2 if self.exporting else 2.0)

        def _prepare_for_export(self, **kwargs):
            calls.append("child")
            self.exporting = True

        def _export_teardown(self):
            calls.append("child teardown")

    class Parent(nn.Module, Exportable):
        input_types = {"x": "batch 4"}

        def __init__(self):
            super().__init__()
            self.child = Child()

        def forward(self, x):
            return self.child(x)

        def _prepare_for_export(self, *, flavour="plain", **kwargs):
            calls.append(("parent", flavour))

        def _export_teardown(self):
            calls.append("parent teardown")

    parent = Parent()
    parent.export(tmp_path / "m.onnx", flavour="sweet")
    assert calls[:2] == [("parent", "sweet"), "child"]
    assert calls.count("child") == 1
    assert "parent teardown" in calls
    assert parent.child.exporting is False


def test_a_hook_that_changes_the_meaning_is_found(tmp_path):
    class Model(nn.Module, Exportable):
        input_types = {"x": "batch 4"}

        def __init__(self):
            super().__init__()
            self.scale = 2.0

        def forward(self, x):
            return x * self.scale

        def _prepare_for_export(self, **kwargs):
            self.scale = 3.0

    with pytest.raises(torchport.ProofError):
        Model().export(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("hook", "port"), [("disabled_deployment_input_names", "state"), ("disabled_deployment_output_names", "new_state")]
)
def test_a_mistyped_disabled_name_is_refused_and_an_unlike_one_is_told(tmp_path, hook, port):
    class Model(nn.Module, Exportable):
        input_types = {"x": "batch 4"}
        output_types = {"y": "batch 4", "new_state": "batch 4"}

        def forward(self, x, state=None):
            return x * 2, x * 3

    setattr(Model, hook, {port + "s"})
    with pytest.raises(HookError, match=f"{hook} names what the model does not have") as caught:
        Model().export(tmp_path / "m.onnx")
    assert caught.value.hint == f"did you mean {port!r}?"
    setattr(Model, hook, {"volume"})
    result = Model().export(tmp_path / "m.onnx")
    assert f"{hook} names volume, which the model does not have" in result.parts[0].notes


@pytest.mark.parametrize(
    ("hook", "value"),
    [
        ("input_types", 3),
        ("output_types", ["y"]),
        ("disabled_deployment_input_names", "x"),
        ("list_export_subnets", "self"),
        ("input_example", lambda self: 3),
        ("dynamic_shapes_for_export", lambda self: 3),
    ],
)
def test_a_hook_that_returns_the_wrong_thing_is_named(tmp_path, hook, value):
    class Model(nn.Module, Exportable):
        input_types = {"x": "batch 4"}

        def forward(self, x):
            return x * 2

    setattr(Model, hook, value)
    with pytest.raises(HookError, match=hook) as caught:
        Model().export(tmp_path / "m.onnx")
    assert "Model" in str(caught.value)


@pytest.mark.parametrize(
    "hook", ["input_types", "output_types", "input_example", "_prepare_for_export", "list_export_subnets", "_export_teardown"]
)
def test_a_hook_that_raises_is_named(tmp_path, hook):
    class Model(nn.Module, Exportable):
        input_types = {"x": "batch 4"}

        def forward(self, x):
            return x * 2

    def broken(self, *args, **kwargs):
        raise KeyError("vocab")

    setattr(Model, hook, property(broken) if hook.endswith("types") else broken)
    with pytest.raises(HookError, match=hook) as caught:
        Model().export(tmp_path / "m.onnx")
    assert "KeyError" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_property_that_lacks_an_attribute_is_not_taken_for_absent(tmp_path):
    class Model(nn.Module, Exportable):
        @property
        def input_types(self):
            return self.vocabulary

        def forward(self, x):
            return x

    with pytest.raises(HookError, match="input_types"):
        Model().export(tmp_path / "m.onnx", input_example=torch.ones(2, 4))


def test_types_for_export_win_over_the_types(tmp_path):
    class Model(nn.Module, Exportable):
        input_types = {"x": "batch 4"}
        input_types_for_export = {"x": "rows 4"}
        output_types = {"y": "batch 4"}
        output_types_for_export = {"z": "rows 4"}

        def forward(self, x):
            return x * 2

    result = Model().export(tmp_path / "m.onnx")
    assert list(result.signature.symbols) == ["rows"]
    assert list(result.signature.outputs) == ["z"]


def test_dynamic_shapes_for_export_are_taken(tmp_path):
    class Model(nn.Module, Exportable):
        def dynamic_shapes_for_export(self):
            return {"x": {0: torch.export.Dim("rows", min=1, max=64)}, "output": {0: "rows"}}

        def input_example(self):
            return torch.ones(2, 4)

        def forward(self, x):
            return x * 2

    result = Model().export(tmp_path / "m.onnx")
    assert list(result.signature.symbols) == ["rows"]


def test_export_config_has_defaults_and_refuses_the_unknown():
    class Model(nn.Module, Exportable):
        export_config = {"cache_support": False}

    model = Model()
    model.set_export_config({"cache_support": True})
    assert model.get_export_config() == {"cache_support": True}
    assert Model().get_export_config() == {"cache_support": False}
    with pytest.raises(OptionError, match="cache_suport"):
        model.set_export_config({"cache_suport": True})


def test_nested_inputs_and_outputs_get_flat_names(tmp_path):
    class Model(nn.Module, Exportable):
        def forward(self, x, cache, flags=None):
            return {"y": x + cache["k"][0], "cache": (cache["k"][1] * 2, x)}

        def input_example(self):
            return torch.ones(2, 4), {"cache": {"k": (torch.ones(2, 4), torch.ones(2, 3))}}

    axes = {"x": {0: "batch"}, "cache": {"k": ({0: "batch"}, {0: "batch"})}}
    Model().export(tmp_path / "m.onnx", dynamic_axes=axes)
    assert names(tmp_path / "m.onnx") == (["x", "cache_k_0", "cache_k_1"], ["y", "cache_0", "cache_1"])
    with torchport.load(tmp_path / "m.onnx") as run:
        ones = np.ones((5, 4), "float32")
        assert run({"x": ones, "cache_k_0": ones, "cache_k_1": np.ones((5, 3), "float32")})["cache_0"].shape == (5, 3)
