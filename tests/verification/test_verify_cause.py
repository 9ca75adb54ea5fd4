"""The cause of a wrong answer: the right module, the right line, and nobody blamed for a coincidence."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import nn

import torchport

TIME = {"x": "batch time 4"}


class Inside(nn.Module):
    """Planted somewhere below the model: what is around it is right."""

    def __init__(self, part):
        super().__init__()
        self.front = nn.Linear(4, 4)
        self.encoder = nn.ModuleDict({"pos": part})
        self.back = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.front(x))
        # Numbers that are as large as the traced batch by coincidence, and to blame for nothing.
        best = (x * 3).topk(3, 2).values.sum(2, keepdim=True)
        return self.back(self.encoder["pos"](x) + best)


class Mean(nn.Module):
    def forward(self, x):
        centre = x.sum(1, keepdim=True) / int(x.shape[1])  # here
        return x - centre


class Ramp(nn.Module):
    def forward(self, x):
        x = x * 0.5
        return x + torch.arange(int(x.shape[1]))[:, None]  # here


class Folded(nn.Module):
    def forward(self, x):
        folded = x.transpose(1, 2).reshape(int(x.shape[0]), -1)  # here
        return folded.view(x.shape[0], 4, -1).transpose(1, 2).cumsum(1)


class Heads(nn.Module):
    def forward(self, x):
        batch = int(x.shape[0])
        heads = x.reshape(batch, -1, 2, 2).transpose(1, 2).reshape(2 * batch, -1, 2)  # here
        heads = heads.softmax(2)
        return heads.reshape(x.shape[0], 2, -1, 2).transpose(1, 2).reshape(x.shape)


class State(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        start = torch.zeros(1, int(x.shape[0]), 4)  # here
        return self.gru(x, start)[0]


class Half(nn.Module):
    def forward(self, x):
        half = int(x.shape[1]) // 2
        return x - x[:, :half].sum(1, keepdim=True)  # here


class Scale(nn.Module):
    def forward(self, x):
        scores = x @ x.transpose(1, 2)
        scores = scores / math.sqrt(int(x.shape[1]))  # here
        return scores.softmax(2) @ x


class Rolled(nn.Module):
    def forward(self, x):
        return torch.roll(x, int(x.shape[1]) // 3, 1)  # here


class Looped(nn.Module):
    def forward(self, x):
        state, states = torch.zeros_like(x[:, 0]), []
        for step in range(int(x.shape[1])):
            state = torch.tanh(state + x[:, step])
            states.append(state)
        return torch.stack(states, 1)  # here


class Written(nn.Module):
    def forward(self, x):
        x = x.clone()
        x[:, : int(x.shape[1]) // 3] = 0  # here
        return x


def line_of(kind):
    lines, start = inspect.getsourcelines(kind)
    return next(start + place for place, line in enumerate(lines) if line.rstrip().endswith("# here"))


def cause_of(model, path, **more):
    arguments = {"input_types": TIME, "output_types": {"y": "batch time 3"}, **more}
    with pytest.raises(torchport.ProofError) as caught:
        torchport.export(model, path, **arguments)
    causes = list(dict.fromkeys(finding.cause for finding in caught.value.proof.findings))
    assert len(causes) == 1
    assert causes[0] in str(caught.value)
    return causes[0]


PLANTED = {
    # model: (in ONNX, in TorchScript): what is claimed, and the operator that is named
    Mean: ("`time` was baked in at 37: node Div '/pos/Div'", "`time` was baked in at 37: node aten::div"),
    Ramp: ("`time` was baked in at 37: node Add '/pos/Add'", "`time` was baked in at 37: node aten::arange"),
    Folded: ("`batch` was baked in at 3: node Reshape '/pos/Reshape'", "`batch` was baked in at 3: node aten::reshape"),
    Heads: ("`batch` was baked in at 3", "`batch` was baked in at 3: node aten::reshape"),
    State: ("`batch` was baked in at 3: node Expand '/pos/gru/Expand'", "`batch` was baked in at 3: node aten::zeros"),
    Half: ("`time` was baked in at 37 (as 18): node Slice '/pos/Slice'", "`time` was baked in at 37 (as 18): node aten::slice"),
    Scale: ("`time` was baked in at 37 (as 6.08276): node Div '/pos/Div'", "`time` was baked in at 37 (as 6.08276): node aten::div"),
    Rolled: ("`time` was baked in at 37 (as -12): node Slice", "`time` was baked in at 37 (as 12): node aten::roll"),
    Looped: ("the first wrong value: node", "the first wrong value: node"),
    Written: ("", ""),
}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [(kind, suffix) for kind in PLANTED for suffix in ("onnx", "ts") if suffix == "onnx" or kind in (Mean, Folded, Rolled)],
)
def test_the_module_and_the_line_of_a_planted_fault_are_named(tmp_path, kind, suffix):
    cause = cause_of(Inside(kind()), tmp_path / f"m.{suffix}", strategy="trace")
    assert "module `encoder.pos`" in cause
    assert cause.endswith(f"{__file__.rpartition('/')[2]} line {line_of(kind)}")
    assert cause.startswith(PLANTED[kind][suffix == "ts"])


class Narrow(nn.Module):
    """Everything but the batch is right; a 3 stands where the size stands, and in many other places."""

    def forward(self, x):
        x = (x * 3 - 3) / 3
        best = x.topk(3, 2).values.sum(2, keepdim=True).expand(-1, -1, 4)
        return (x + best)[:, :, :3].reshape(int(x.shape[0]), -1, 3)  # here


def test_numbers_that_equal_a_traced_size_by_coincidence_are_not_blamed(tmp_path):
    cause = cause_of(Narrow(), tmp_path / "m.onnx", strategy="trace")
    assert cause == f"`batch` was baked in at 3: node Reshape '/Reshape', the model itself, test_verify_cause.py line {line_of(Narrow)}"


class Ramped(nn.Module):
    """Wrong where the time is 1: the file divides by one step less, and any other number in that place helps there."""

    def forward(self, x):
        steps = x.shape[1]
        return x * torch.arange(steps) / (steps - 1) if torch.jit.is_tracing() else x * torch.linspace(0, 1, steps)


def test_a_number_that_heals_by_chance_is_not_blamed_where_it_breaks_what_is_right(tmp_path):
    with pytest.raises(torchport.ProofError) as caught:
        torchport.export(Ramped(), tmp_path / "m.onnx", input_types={"x": "batch time"}, strategy="trace")
    assert {finding.sizes["time"] for finding in caught.value.proof.findings} == {1}
    assert "baked in" not in str(caught.value)


class Eager(nn.Module):
    """Wrong for another reason than any size, among numbers that are as large as the traced ones."""

    def forward(self, x):
        x = (x * 3).topk(3, 2).values / 37
        return x * (2 if torch.compiler.is_compiling() or torch.jit.is_tracing() else 1)  # here


@pytest.mark.parametrize(("suffix", "strategy"), [("onnx", "trace"), ("ts", "trace"), ("onnx", "torch_export"), ("pt2", "torch_export")])
def test_a_fault_that_has_to_do_with_no_size_is_placed_and_no_size_is_blamed(tmp_path, suffix, strategy):
    cause = cause_of(Eager(), tmp_path / f"m.{suffix}", strategy=strategy)
    assert cause.startswith("the first wrong value: node ")
    assert cause.endswith(f"the model itself, test_verify_cause.py line {line_of(Eager)}")


class Several(nn.Module):
    def forward(self, x):
        mask = torch.ones(int(x.shape[0]), int(x.shape[1]), 1)
        return torch.cat([x[:, :, :2], mask], 2)  # here


def test_several_baked_sizes_are_all_named(tmp_path):
    cause = cause_of(Several(), tmp_path / "m.onnx", strategy="trace")
    assert cause.startswith("`batch` was baked in at 3 and `time` was baked in at 37: ")


def test_a_file_that_computes_with_another_weight_is_wrong_where_the_weight_is(tmp_path):
    model = Inside(nn.Linear(4, 4))
    path = torchport.export(model, tmp_path / "m.onnx", input_types=TIME, output_types={"y": "batch time 3"}).path
    with torch.no_grad():
        model.encoder["pos"].weight[1, 2] += 0.01
    with pytest.raises(torchport.ProofError) as caught:
        torchport.verify(path, model)
    assert {finding.cause for finding in caught.value.proof.findings} == {
        "the first wrong value: node MatMul '/pos/MatMul', module `encoder.pos`, test_verify_cause.py line "
        + str(inspect.getsourcelines(Inside.forward)[1] + 4)
    }


class Hidden(Inside):
    """Its hook changes what it answers: what is captured is not what was promised."""

    def _prepare_for_export(self, **arguments):
        self.back.bias = nn.Parameter(self.back.bias + 1)


def test_a_hook_that_changes_the_model_is_told_from_a_fault_of_the_exporter(tmp_path):
    cause = cause_of(Hidden(nn.Identity()), tmp_path / "m.onnx", strategy="trace")
    assert cause == "the prepared model no longer answers as the untouched one: look at _prepare_for_export and the swapped modules"


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_the_end_of_a_slice_that_has_none_is_no_multiple_of_a_size(tmp_path, suffix):
    class Rolled(nn.Module):
        def forward(self, x):
            return x.roll(x.shape[1] // 2, 1)

    with pytest.raises(torchport.ProofError):  # 2**63 - 1, which says that a slice goes on to the end, is a multiple of 7
        torchport.export(Rolled(), tmp_path / f"m.{suffix}", input_example=torch.randn(2, 7, 4), input_types=TIME, strategy="trace")
