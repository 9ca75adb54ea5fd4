"""Sizes of zero, double precision, stages that see the model as it was found."""

import pytest
import torch
from torch import nn

import torchport
from torchport import Exportable
from torchport.errors import OptionError, PrepareError


class Cached(nn.Module):
    """Appends to a cache that may be empty."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x, past):
        longer = torch.cat([past, x], 1)
        return self.linear(longer), longer


AXES = {"x": {0: "batch", 1: "time"}, "past": {0: "batch", 1: "cached"}}


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_an_example_with_an_empty_cache_says_that_the_axis_starts_at_zero(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    model = Cached()
    result = torchport.export(model, path, input_example=(torch.randn(3, 2, 4), torch.randn(3, 0, 4)), dynamic_axes=AXES)
    assert result.signature.symbols["cached"].min == 0
    assert {0} < {case.sizes["cached"] for case in result.proof.cases}
    x = torch.randn(2, 5, 4)
    with torchport.load(path) as loaded:
        for steps in (0, 3):
            past = torch.randn(2, steps, 4)
            answer = list(loaded({"x": x, "past": past}).values())
            torch.testing.assert_close(torch.tensor(answer[0]), model(x, past)[0].detach())


def test_a_double_model_is_proved_though_onnx_keeps_epsilon_in_single_precision(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)).double()
    result = torchport.export(
        model, tmp_path / "m.onnx", input_example=torch.randn(3, 4, dtype=torch.float64), dynamic_axes={"input": {0: "batch"}}
    )
    assert result.proof.ok
    assert max(result.proof.tolerances.values()) < 1e-8  # a model that is computed in float32 is seen


class Remembering(nn.Module):
    """Grows its table as longer inputs come."""

    def __init__(self):
        super().__init__()
        self.table = torch.zeros(0, 4)

    def forward(self, x):
        if len(self.table) < x.shape[1]:
            self.table = torch.arange(float(x.shape[1]))[:, None].expand(-1, 4)
        return x + self.table[: x.shape[1]]


def test_what_the_reference_left_in_the_model_is_not_captured(tmp_path):
    with pytest.raises(torchport.TorchportError):
        torchport.export(Remembering(), tmp_path / "m.onnx", input_types={"x": "batch time 4"})
    assert not list(tmp_path.iterdir())


class Lazily(nn.Module):
    """Makes its table at the first call."""

    def __init__(self):
        super().__init__()
        self.table = None

    def forward(self, x):
        if self.table is None or self.table.shape[0] != x.shape[1]:
            self.table = torch.arange(x.shape[1])[:, None].to(x.dtype)
        return x + self.table


def test_a_table_made_at_the_first_call_is_made_in_the_capture_too(tmp_path):
    model = Lazily()
    assert torchport.export(model, tmp_path / "m.onnx", input_types={"x": "batch time 4"}).proof.ok
    assert model.table is None


class Half(nn.Module):
    def __init__(self, name, width):
        super().__init__()
        self.linear = nn.Linear(width, 8)
        self.input_types = {name: f"batch time {width}"}

    def forward(self, *inputs):
        return self.linear(inputs[0])


class Halves(nn.Module, Exportable):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Half("audio", 4), Half("encoded", 8)

    def list_export_subnets(self):
        return ["encoder", "decoder"]


def test_axes_of_one_subnet_leave_the_types_of_the_other(tmp_path):
    result = Halves().export(tmp_path / "m.onnx", dynamic_axes={"encoded": {0: "rows", 1: "steps"}})
    assert [list(part.artifact.signature.symbols_of("inputs")) for part in result.parts] == [["batch", "time"], ["rows", "steps"]]


class Switching(nn.Module):
    """Is another function past 100 steps."""

    def forward(self, x):
        if x.shape[1] > 100:
            return x * 2
        return x * 3


def test_a_decision_on_a_size_that_is_frozen_is_refused_with_its_line(tmp_path):
    with pytest.raises(
        torchport.ProofError, match=r"`if x.shape\[1\] > 100:`\) decides by a size, otherwise at batch [0-9]+, time 1[0-9][0-9]"
    ):
        torchport.export(Switching(), tmp_path / "m.onnx", input_example=torch.randn(3, 7, 4), input_types={"x": "batch time 4"})


class SetByItsFirstInput(nn.Module):
    """Scales by what it saw first."""

    scale = None

    def forward(self, x):
        if self.scale is None:
            self.scale = 1 / x.abs().mean().detach()
        return x * self.scale


@pytest.mark.parametrize("suffix", ["onnx", "ts", "pt2"])
def test_a_model_that_its_first_input_sets_is_refused_until_it_is_set(tmp_path, suffix):
    model, types = SetByItsFirstInput(), {"x": "batch time 4"}
    with pytest.raises(torchport.TorchportError, match="keeps something from its first run"):
        torchport.export(model, tmp_path / f"m.{suffix}", input_example=torch.randn(3, 7, 4), input_types=types)
    assert model.scale is None
    model(torch.randn(3, 7, 4))
    assert torchport.export(model, tmp_path / f"m.{suffix}", input_example=torch.randn(3, 7, 4), input_types=types).proof.ok


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1, enable_nested_tensor=False)

    def forward(self, x, mask):
        return self.encoder(x, src_key_padding_mask=mask)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("suffix", ["onnx", "ts"])
@pytest.mark.parametrize("kind", ["after", "before", "weight_norm"])
def test_hooks_of_the_model_itself_belong_to_its_answer(tmp_path, suffix, kind):
    model = nn.Linear(4, 4)
    if kind == "after":
        model.register_forward_hook(lambda module, inputs, output: output * 2)
    elif kind == "before":
        model.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    else:
        model = torch.nn.utils.weight_norm(model)
        model.weight_g.data *= 3
    path = tmp_path / f"m.{suffix}"
    torchport.export(model, path, input_types={"input": "batch 4"}, output_types={"y": "batch 4"})
    assert "forward" not in vars(model)
    x = torch.randn(2, 4)
    with torchport.load(path) as loaded:
        torch.testing.assert_close(torch.tensor(loaded({"input": x})["y"]), model(x).detach())


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.asked = None

    def forward(self, x):
        return self.linear(x)

    def _prepare_for_export(self, flavour=None, **kwargs):
        if flavour not in (None, "sweet"):
            raise ValueError(flavour)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, z):
        return self.linear(z)


class Pair(nn.Module, Exportable):
    def __init__(self):
        super().__init__()
        self.enc, self.dec = Encoder(), Decoder()

    def list_export_subnets(self):
        return ["enc", "dec"]


def test_subnets_take_the_types_and_keywords_that_are_theirs(tmp_path):
    types = {"x": "batch 4", "z": "frames 4"}
    result = torchport.export(Pair(), tmp_path / "m.onnx", input_types=types, flavour="sweet")
    assert [list(part.artifact.signature.inputs) for part in result.parts] == [["x"], ["z"]]
    assert set(result.parts[1].artifact.signature.symbols) == {"frames"}


def test_a_type_that_no_subnet_has_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"input_types names a port that Pair does not have") as caught:
        torchport.export(Pair(), tmp_path / "m.onnx", input_types={"x": "batch 4", "z": "frames 4", "q": "batch"})
    assert caught.value.where == "q"


@pytest.mark.parametrize("suffix", ["ts", "pt2"])
def test_weights_as_inputs_are_refused_where_the_format_always_holds_them(tmp_path, suffix):
    with pytest.raises(OptionError, match="export_params=False"):
        torchport.export(nn.Linear(4, 4), tmp_path / f"m.{suffix}", input_types={"input": "batch 4"}, export_params=False)


def test_weights_as_inputs_are_those_of_the_untouched_model(tmp_path):
    class Squared(nn.Module, Exportable):
        input_types = {"x": ("batch 4 time", "float32")}

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 3, padding=1)

        def forward(self, x):
            return self.conv(x)

    Squared().export(tmp_path / "m.onnx", export_params=False)
    with pytest.raises(
        torchport.ProofError, match="ONNX Runtime failed"
    ):  # its inputs would have four axes, the model's weights have three
        Squared().export(tmp_path / "twin.onnx", export_params=False, replace_1D_2D=True)
    assert not (tmp_path / "twin.onnx").exists()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("check_tolerance", "x"), ("check_tolerance", None), ("check_tolerance", float("nan")), ("check_trace", None), ("check_trace", 3),
        ("strategy", None), ("dynamic_axes", [0]), ("dynamic_axes", {"input": 0}), ("input_types", 3),
    ],
)  # fmt: skip
def test_an_argument_of_the_wrong_kind_is_named(tmp_path, argument, value):
    with pytest.raises(torchport.TorchportError) as caught:
        torchport.export(nn.Linear(4, 4), tmp_path / "m.onnx", **{"input_types": {"input": "batch 4"}, argument: value})
    assert argument in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("output", [None, 3])
def test_an_output_that_is_no_path_is_named(output):
    with pytest.raises(OptionError, match="output is a path"):
        torchport.export(nn.Linear(4, 4), output)


def test_a_model_that_cannot_be_put_back_gives_no_file(tmp_path):
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(300, 300)

        def forward(self, x):
            if torch.jit.is_tracing():
                self.linear.weight.data.mul_(1.0)
                self.linear.weight.detach().mul_(1.0)
            return self.linear(x)

    with pytest.raises(PrepareError, match="could not be put back"):
        torchport.export(Writes(), tmp_path / "m.onnx", input_types={"x": "batch 300"})
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # the eager call below is a user's own
@pytest.mark.parametrize("nested", [True, False])
def test_what_a_fast_path_of_torch_answers_otherwise_is_told(tmp_path, nested):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=nested)

        def forward(self, x, hidden):
            return self.encoder(x, src_key_padding_mask=hidden)

    model = Masked().eval()
    x, hidden = torch.randn(3, 10, 8), torch.arange(10)[None] >= torch.tensor([10, 7, 4])[:, None]
    types = {"x": "batch time 8", "hidden": ("batch time", "bool")}
    result = torchport.export(model, tmp_path / "m.onnx", input_example=(x, hidden), input_types=types)
    assert any("encoder: where a padding mask" in note for note in result.notes) == nested
    with torchport.load(result.path) as loaded:
        (answer,) = loaded({"x": x, "hidden": hidden}).values()
    with torch.no_grad():
        fast = model(x, hidden)
    torch.testing.assert_close(torch.tensor(answer), model(x, hidden).detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.tensor(answer)[~hidden], fast[~hidden], rtol=1e-5, atol=1e-5)
    assert bool((fast[hidden] == 0).all()) == nested


@pytest.mark.parametrize("hooked", [False, True])
def test_a_forward_that_is_written_in_c_is_exported(tmp_path, hooked):
    class Written(nn.Module):
        forward = staticmethod(nn.functional.gelu)

    model = Written()
    if hooked:
        model.register_forward_hook(lambda module, inputs, answer: answer * 2)
    x = torch.randn(3, 4)
    result = torchport.export(model, tmp_path / "m.onnx", input_example=x, dynamic_axes={"input_0": {0: "batch"}})
    with torchport.load(result.path) as loaded:
        torch.testing.assert_close(torch.tensor(loaded({"input_0": x})["output"]), model(x))
