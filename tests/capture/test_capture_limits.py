"""What a model refuses in Python, a captured program refuses, too: by a compiled check, or by an assertion."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from prepared_by_hand import options, prepare

from torchport.capture import Captured, _limits, strategies
from torchport.ports.limits import AtMost, Limits, SizeLimit, SumAtMost

CASES = {
    "range": (Limits((SizeLimit("time", 5, 100),)), [5, 7, 100], [4, 101, 1], "time must be 5 to 100"),
    "least": (Limits((SizeLimit("time", 2),)), [2, 500], [1], "time must be 2 or more"),
    "most": (Limits((SizeLimit("time", most=20),)), [1, 20], [21], "time must be 20 or less"),
    "factor": (Limits((SizeLimit("time", multiple_of=8),)), [8, 64], [7, 12], "time must be a multiple of 8"),
    "relation": (Limits((), (AtMost("time", "frames"),)), [1, 30], [31, 90], "time must be at most frames"),
    "line": (Limits((), (AtMost("time", "frames", 2, -1),)), [1, 59], [60, 90], "time must be at most 2 times frames minus 1"),
    "share": (Limits((), (AtMost("time", "frames", 1, 2, 2),)), [1, 16], [17, 30], "time must be at most frames plus 2 over 2"),
    "sum": (Limits((), (), (SumAtMost("frames", "time", 50),)), [1, 20], [21, 90], r"frames \+ time must be at most 50"),
    "two": (Limits((SizeLimit("time", 3),), (AtMost("time", "frames"),)), [3, 30], [2, 31], "time must be"),
}
FRAMES = 30


class Sums(torch.nn.Module):
    def forward(self, x, y):
        return x.sum(1) + y.sum(1)


def captured(limits, strategy, form, ports="batch time 4"):
    example = {"x": torch.ones(3, 16, 4), "y": torch.ones(3, FRAMES, 4)}
    prepared = prepare(Sums(), example, {"x": ports, "y": "batch frames 4"}, {"z": "batch 4"})
    found = strategies[strategy].capture(dataclasses.replace(prepared, limits=limits), form, options())
    assert isinstance(found, Captured), found
    assert not prepared.module._forward_pre_hooks
    return found


def check(answers, good, bad, message):
    for size in good:
        torch.testing.assert_close(answers(torch.ones(2, size, 4), torch.ones(2, FRAMES, 4)), torch.full((2, 4), float(size + FRAMES)))
    for size in bad:
        with pytest.raises(Exception, match=message):
            answers(torch.ones(2, size, 4), torch.ones(2, FRAMES, 4))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("size", [4, 5, 8, 12, 40, 41])
def test_a_check_means_in_a_program_what_it_means_in_python(size):
    x, other = torch.ones(2, size), torch.ones(11)
    for function, arguments in ((_limits._within, (1, 5, 40, 4, "limit")), (_limits._at_most, (1, other, 0, 2, -1, 3, "limit"))):
        outcomes = []
        for one in (function, _limits._script(function)):
            try:
                outcomes.append(one(x, *arguments).shape)
            except Exception as error:
                outcomes.append("limit, not" in str(error))
        assert outcomes[0] == outcomes[1]


@pytest.mark.filterwarnings("ignore:.torch.jit.freeze. is deprecated")
@pytest.mark.parametrize("case", CASES)
def test_a_trace_checks_its_limits(case):
    limits, good, bad, message = CASES[case]
    found = captured(limits, "trace", "script")
    check(found.payload, good, bad, message)
    check(torch.jit.freeze(found.payload.eval()), good, bad, message)


@pytest.mark.parametrize("case", CASES)
def test_an_exported_program_checks_what_its_dims_do_not(tmp_path, case):
    limits, good, bad, message = CASES[case]
    declared = {"range": "{min=5,max=100}", "least": "{min=2}", "most": "{max=20}", "two": "{min=3}"}
    found = captured(limits, "torch_export", "exported", f"batch time{declared.get(case, '')} 4")
    program = found.payload
    program.example_inputs = None  # as in a file: torch checks its own guards by them alone
    torch.export.save(program, tmp_path / "m.pt2")
    check(torch.export.load(tmp_path / "m.pt2").module(), good, bad, f"{message}|Expected input at")


def test_an_onnx_program_is_captured_without_checks_and_carries_its_limits():
    limits = CASES["two"][0]
    found = captured(limits, "trace", "onnx")
    assert found.limits == limits
    assert {node.op_type for node in found.payload.graph} <= {"ReduceSum", "Add", "Constant"}


@pytest.mark.parametrize(("strategy", "form"), [("trace", "script"), ("torch_export", "exported")])
def test_a_program_without_limits_has_no_check(strategy, form):
    found = captured(Limits(), strategy, form)
    assert "must be" not in str(found.payload.graph)
    assert "_within" not in str(found.payload.graph)


class Paired(torch.nn.Module):
    def forward(self, x):
        return x.view(x.shape[0], x.shape[1] // 2, 8).sum(1)


def test_ranges_that_are_left_to_torch_are_asserted(tmp_path):
    prepared = prepare(Paired(), {"x": torch.ones(3, 16, 4)}, {"x": "batch time 4"}, {"z": "batch 8"})
    limits = Limits((SizeLimit("time", 4, 40, 2),))
    found = strategies["torch_export"].capture(dataclasses.replace(prepared, limits=limits), "exported", options())
    assert isinstance(found, Captured), found
    found.payload.example_inputs = None
    torch.export.save(found.payload, tmp_path / "m.pt2")
    answers = torch.export.load(tmp_path / "m.pt2").module()
    answers(torch.ones(2, 4, 4))
    for size in (2, 42):
        with pytest.raises(RuntimeError, match="time must be 4 to 40 and a multiple of 2"):
            answers(torch.ones(2, size, 4))
