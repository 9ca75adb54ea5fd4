"""torch.export: declared axes stay symbolic, or the reason is said."""

from __future__ import annotations

import pytest
import torch
from prepared_by_hand import branches, options, prepare, recurrent, tiny

from torchport.capture import Captured, Failure, strategies

EXPORT = strategies["torch_export"]


class Halves(torch.nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], x.shape[1] // 2, 2).sum(-1)


class Baked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(5, 3))

    def forward(self, x):
        return x + self.table


def test_declared_axes_are_symbolic_in_the_program():
    program = EXPORT.capture(tiny(), "exported", options("m.pt2")).payload
    sizes = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder"}
    assert all(isinstance(size, torch.SymInt) for size in sizes["x"][:2])
    assert sizes["x"][0].node.expr == sizes["scale"][0].node.expr


def test_the_onnx_graph_has_the_modules_own_weights():
    prepared = tiny()
    captured = EXPORT.capture(prepared, "onnx", options(do_constant_folding=False))
    held = captured.payload.graph.initializers["proj.weight"].const_value.raw
    assert held.data_ptr() == prepared.module.proj.weight.data_ptr()


def test_an_axis_that_the_model_fixes_is_a_failure_with_the_size():
    prepared = prepare(Baked(), {"x": torch.rand(2, 5, 3)}, {"x": "batch time 3"}, {"y": "batch time 3"})
    result = EXPORT.capture(prepared, "exported", options("m.pt2"))
    assert isinstance(result, Failure)
    assert "time" in result.reason
    assert "5" in result.reason


def test_an_example_of_size_one_is_refused_before_it_is_baked():
    prepared = prepare(Halves(), {"x": torch.rand(1, 6)}, {"x": "batch time"}, {"y": "batch half"})
    result = EXPORT.capture(prepared, "exported", options("m.pt2"))
    assert isinstance(result, Failure)
    assert "'batch'" in result.reason
    assert "2 or more" in result.reason


def test_a_relation_between_sizes_is_left_to_torch():
    prepared = prepare(Halves(), {"x": torch.rand(3, 6)}, {"x": "batch time"}, {"y": "batch half"})
    result = EXPORT.capture(prepared, "exported", options("m.pt2"))
    assert isinstance(result, Captured), result
    program = result.payload.module()
    assert program(torch.ones(4, 10)).shape == (4, 5)


def test_a_branch_on_a_value_is_a_failure_that_names_the_line():
    result = EXPORT.capture(branches("value"), "exported", options("m.pt2"))
    assert isinstance(result, Failure)
    assert "prepared_by_hand.py:" in result.reason
    assert len(result.reason) < 700


def test_a_static_model_needs_no_dims():
    prepared = prepare(Baked(), {"x": torch.rand(2, 5, 3)}, {"x": "2 5 3"}, {"y": "2 5 3"})
    assert isinstance(EXPORT.capture(prepared, "exported", options("m.pt2")), Captured)


def test_a_fixed_output_of_its_own_symbol_is_evidence():
    class Pooled(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.adaptive_avg_pool1d(x, 4)

    prepared = prepare(Pooled(), {"x": torch.rand(2, 3, 9)}, {"x": "batch 3 time"}, {"y": "batch 3 pooled"})
    result = EXPORT.capture(prepared, "exported", options("m.pt2"))
    if isinstance(result, Captured):
        assert [one.message for one in result.evidence] == ["torch.export fixed pooled at 4 in the output 'y' (axis 2)"]
    else:
        assert "time" in result.reason


def test_a_recurrent_layer_is_captured_right_or_refused():
    result = EXPORT.capture(recurrent("LSTM", True, False), "exported", options("m.pt2"))
    if isinstance(result, Failure):
        assert "time" in result.reason


@pytest.mark.parametrize("form", ["exported", "onnx"])
def test_nothing_is_printed(form, capfd):
    EXPORT.capture(tiny(), form, options())
    assert capfd.readouterr() == ("", "")
