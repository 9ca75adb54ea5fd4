"""What is known not to work is said in its own words, with what does."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import torchport
from torchport.capture._advice import advice_on_decision
from torchport.capture._records import Evidence
from torchport.errors import CaptureError, ProofError


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x)


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + 1


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]


TYPES = {"x": ("batch 4", "float32")}
COMPILED = {
    "scripted": lambda: torch.jit.script(Linear()),
    "traced": lambda: torch.jit.trace(Linear(), torch.randn(3, 4)),
    "inside": lambda: Around(torch.jit.script(Linear())),
}


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_module_is_called_that_and_the_way_out_works(tmp_path, name, suffix):
    model = COMPILED[name]()
    with pytest.raises(CaptureError) as caught:
        torchport.export(model, tmp_path / f"m.{suffix}", input_types=TYPES)
    part = "`inner`, a part of the model," if name == "inside" else "the model"
    assert f"{part} is TorchScript already" in caught.value.message
    assert "TorchScript file (.ts)" in caught.value.hint
    if suffix == "onnx":
        assert torchport.export(model, tmp_path / "m.ts", input_types=TYPES).proof.ok


@pytest.mark.parametrize("inside", [True, False])
def test_what_torch_compile_made_is_named_with_the_way_back(tmp_path, inside):
    made = torch.compile(Linear(), backend="eager")
    with pytest.raises(CaptureError) as caught:
        torchport.export(Around(made) if inside else made, tmp_path / "m.ts", input_types=TYPES)
    whose = "inner: export what it was made from (inner._orig_mod)" if inside else "the model: export what it was made from"
    assert caught.value.hint.startswith(f"torch.compile made {whose}")
    assert caught.value.hint.endswith("or write .onnx or .pt2")


def test_a_recurrent_layer_that_torch_export_does_not_take_names_the_formats_that_do(tmp_path):
    with pytest.raises(CaptureError) as caught:
        torchport.export(
            Packed(), tmp_path / "m.pt2", input_example=(torch.randn(3, 5, 4), torch.tensor([5, 3, 2])), dynamic_axes={"x": {0: "batch"}}
        )
    assert "nn.LSTM `lstm`" in caught.value.hint
    assert caught.value.hint.endswith("write .onnx or .ts")


class Measured(nn.Module):
    def forward(self, x):
        return x * float(x.sum())


class Deciding(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x * 2
        return x - 1


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
@pytest.mark.parametrize("model", [Measured(), Deciding()], ids=["a number", "a decision"])
def test_what_python_decides_by_values_is_told_of_the_format_that_keeps_it(tmp_path, model, suffix):
    with pytest.raises(CaptureError) as caught:
        torchport.export(model, tmp_path / f"m.{suffix}", input_types=TYPES)
    assert "torch.where" in caught.value.hint
    assert "torch.cond" in caught.value.hint
    assert "write .ts: scripting keeps" in caught.value.hint
    assert torchport.export(model, tmp_path / "m.ts", input_types=TYPES).proof.ok


def test_the_format_that_was_asked_for_is_not_the_way_out(tmp_path):
    with pytest.raises(CaptureError) as caught:
        torchport.export(Deciding(), tmp_path / "m.ts", input_types=TYPES, strategy="trace")
    assert "torch.where" in caught.value.hint
    assert "write" not in caught.value.hint


def test_other_models_are_told_of_the_other_formats(tmp_path):
    class Keyed(nn.Module):
        def forward(self, x):
            return x * (x.data_ptr() > 0)

    with pytest.raises(CaptureError) as caught:
        torchport.export(Keyed(), tmp_path / "m.pt2", input_types=TYPES)
    assert caught.value.hint == "a file of another kind is captured in other ways: .onnx or .ts"


def test_a_dtype_without_kernels_is_named_with_its_operator(tmp_path):
    model = Linear().bfloat16()
    with pytest.raises(ProofError, match=r"cannot be opened by onnxruntime: ONNX Runtime has no CPU kernel for \w+ at bfloat16") as caught:
        torchport.export(model, tmp_path / "m.onnx", input_types={"x": ("batch 4", "bfloat16")}, strategy="trace")
    assert "model.float()" in caught.value.hint
    assert torchport.export(model, tmp_path / "m.ts", input_types={"x": ("batch 4", "bfloat16")}).proof.ok


class WithNumPy(Linear):
    def forward(self, x):
        array = self.linear(x).detach().numpy()
        return torch.from_numpy(np.tanh(np.fancy(array) if len(array.shape) > 2 else array)) + x[:, :3]


class WithTorch(Linear):
    def forward(self, x):
        return torch.tanh(self.linear(x).detach()) + x[:, :3]


@pytest.mark.parametrize("suffix", ["onnx", "ts", "pt2"])
def test_what_numpy_computes_is_to_be_computed_with_torch(tmp_path, suffix):
    with pytest.raises(CaptureError) as caught:
        torchport.export(WithNumPy(), tmp_path / f"m.{suffix}", input_types=TYPES)
    assert "no format holds what NumPy computes: compute it with torch" in caught.value.hint
    assert ".ts" not in caught.value.hint
    if suffix != "pt2":  # torch.export does not say where
        assert "(torch.tanh for np.tanh)" in caught.value.hint
        assert "array = self.linear(x).detach().numpy()" in caught.value.message
    assert torchport.export(WithTorch(), tmp_path / f"m.{suffix}", input_types=TYPES).proof.ok


def test_a_function_that_cannot_be_read_is_no_obstacle():
    evidence = Evidence("a tensor becomes a NumPy array, which depends on values", __file__, 1)
    assert "compute it with torch, and" in advice_on_decision("", evidence)
    assert "compute it with torch, and" in advice_on_decision("", dataclasses.replace(evidence, file=None, line=None))
