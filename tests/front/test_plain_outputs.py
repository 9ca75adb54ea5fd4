"""What a model returns beside tensors: refused by name where it is declared, whatever the format."""

import pytest
import torch
from torch import nn

import torchport
from torchport.errors import PortTypeError, TorchportError


class Returning(nn.Module):
    """Returns what ``answer`` makes of the input and a tensor."""

    def __init__(self, answer, **hooks):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.answer = answer
        for name, value in hooks.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.answer(x, self.linear(x))


def exported(model, path, **arguments):
    return torchport.export(model, path, input_types={"x": ("batch 3", "float32")}, **arguments)


@pytest.mark.parametrize(
    ("answer", "name", "kind"),
    [
        (lambda x, y: (y, x.shape[0]), "output_1", "int"),
        (lambda x, y: (y, x.shape), "output_1_0", "int"),
        (lambda x, y: x.shape[0], "output", "int"),
        (lambda x, y: {"y": y, "rows": x.shape[0]}, "rows", "int"),
        (lambda x, y: (y, {"deep": [y, 3]}), "output_1_deep_1", "int"),
        (lambda x, y: (y, 1.5), "output_1", "float"),
        (lambda x, y: (y, True), "output_1", "bool"),
        (lambda x, y: (y, "text"), "output_1", "str"),
    ],
)
@pytest.mark.parametrize("suffix", ["onnx", "ts", "pt2"])
def test_a_plain_output_is_refused_by_name(tmp_path, suffix, answer, name, kind):
    with pytest.raises(PortTypeError, match=f"the output '{name}' is a Python {kind}") as caught:
        exported(Returning(answer), tmp_path / f"m.{suffix}")
    assert caught.value.stage == "declare"
    assert caught.value.where == name
    assert ("torch.tensor" in caught.value.hint) == (kind != "str")
    assert "disabled_deployment_output_names" in caught.value.hint


def test_what_is_no_value_of_a_graph_at_all_is_refused_as_an_output():
    with pytest.raises(PortTypeError, match="forward returned something") as caught:
        exported(Returning(lambda x, y: (y, object())), "m.onnx")
    assert caught.value.where == "output_1"


@pytest.mark.parametrize("suffix", ["onnx", "ts", "pt2"])
def test_a_size_may_be_returned_as_a_tensor(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    exported(Returning(lambda x, y: (y, torch.tensor(x.shape[0]))), path)
    with torchport.load(path) as loaded:
        assert loaded(x=torch.randn(5, 3))["output_1"] == 5


@pytest.mark.parametrize(("suffix", "how"), [("onnx", "undeclared"), ("ts", "disabled"), ("pt2", "undeclared")])
def test_a_size_that_is_left_out_by_name_stays_out(tmp_path, suffix, how):
    names = ["y"] if how == "undeclared" else ["y", "rows"]
    disabled = set() if how == "undeclared" else {"rows"}
    model = Returning(lambda x, y: (y, x.shape[0]), disabled_deployment_output_names=disabled)
    result = exported(model, tmp_path / f"m.{suffix}", output_types=dict.fromkeys(names, ("...", "float32")))
    assert list(result.signature.outputs) == ["y"]
    assert (how == "undeclared") == any("output_1 is no tensor" in note for note in result.notes)


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_an_output_that_is_none_is_left_out_and_told(tmp_path, suffix):
    result = exported(Returning(lambda x, y: (y, None, y + 1)), tmp_path / f"m.{suffix}")
    assert list(result.signature.outputs) == ["output_0", "output_2"]
    assert "output output_1 is None in the example: left out" in result.notes


def answering(answer):
    class Answering(torch.nn.Module):
        def forward(self, x):
            return answer(x)

    return Answering()


@pytest.mark.parametrize(
    "answer",
    [lambda x: {"logits": x * 2, "n": x.shape[0]}, lambda x: {"logits": x * 2, "n": "hi"}],
    ids=["a number by key", "a text by key"],
)
def test_declared_outputs_hide_no_number_and_no_text(tmp_path, answer):
    with pytest.raises(TorchportError):
        torchport.export(answering(answer), tmp_path / "m.onnx", input_types={"x": "batch 4"}, output_types={"logit": "batch 4"})


@pytest.mark.parametrize("name", ["logits", "logit"])
def test_a_key_whose_value_is_none_is_left_out_and_told(tmp_path, name):
    result = torchport.export(
        answering(lambda x: {"logits": x * 2, "aux": None}),
        tmp_path / "m.onnx",
        input_types={"x": "batch 4"},
        output_types={name: "batch 4"},
    )
    assert list(result.signature.outputs) == [name]
    assert any("aux is None" in note for note in result.notes)


def test_outputs_that_are_named_by_place_are_told(tmp_path):
    result = torchport.export(
        answering(lambda x: {"hidden": x * 2, "pooled": x.mean(1)}),
        tmp_path / "m.onnx",
        input_types={"x": "batch 4"},
        output_types={"hid": "batch 4", "pool": "batch"},
    )
    assert "outputs are named as output_types says, in their order: hidden as hid, pooled as pool" in result.notes
