"""Tracing: lifted weights, and warnings judged by what they depend on."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch
from prepared_by_hand import Branches, branches, options, prepare, recurrent, tied, tiny

from torchport.capture import Captured, Failure, strategies
from torchport.capture._evidence import is_only_a_check

TRACE = strategies["trace"]


def captured(prepared, form="onnx", **further):
    result = TRACE.capture(prepared, form, options(**further))
    assert isinstance(result, Captured), result
    return result


def test_weights_share_memory_with_the_module():
    prepared = tiny()
    graph = captured(prepared).payload.graph
    held = graph.initializers["proj.weight"].const_value.raw
    assert held.data_ptr() == prepared.module.proj.weight.data_ptr()


def test_a_tied_weight_is_one_initializer():
    graph = captured(tied()).payload.graph
    assert [name for name in graph.initializers if name in ("embed.weight", "head.weight")] == ["embed.weight"]


def test_weights_that_are_merely_equal_stay_apart():
    names = set(captured(tied()).payload.graph.initializers)
    assert {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"} <= names


@pytest.mark.parametrize("form", ["onnx", "script"])
@pytest.mark.parametrize(
    ("what", "decisive"), [("value", True), ("item", True), ("size", False), ("int of a size", False), ("assert", False), ("raise", False)]
)
def test_a_branch_is_decisive_only_when_it_depends_on_a_value(form, what, decisive):
    evidence = captured(branches(what), form).evidence
    assert [one.decisive for one in evidence] == [decisive]
    assert evidence[0].file.endswith("prepared_by_hand.py")


@pytest.mark.parametrize("form", ["onnx", "script"])
@pytest.mark.parametrize("what", ["weight", "nothing"])
def test_a_branch_on_a_weight_is_no_evidence(form, what):
    assert captured(branches(what), form).evidence == ()


def test_a_tensor_made_from_a_shape_alone_is_no_value():
    assert not any(one.decisive for one in captured(branches("new tensor")).evidence)


def test_evidence_names_the_line_of_the_model():
    (evidence,) = captured(branches("value")).evidence
    assert 'if self.what == "value" and x.sum() > 0:' in evidence.message
    assert "values of the inputs" in evidence.message
    assert evidence.line == Branches.forward.__code__.co_firstlineno + 1


def test_checks_inside_torch_are_no_evidence():
    assert captured(recurrent("LSTM", True, True)).evidence == ()


def test_one_output_comes_out_bare_from_a_traced_script():
    script = captured(branches("nothing"), "script").payload
    assert isinstance(script(torch.ones(1, 2)), torch.Tensor)


def test_several_outputs_come_out_as_a_tuple():
    script = captured(tiny(), "script").payload
    assert isinstance(script(torch.ones(1, 2, 4), torch.ones(1)), tuple)


def test_a_traced_script_takes_its_inputs_by_their_declared_names():
    script = captured(tiny(), "script").payload
    assert [one.name for one in script.forward.schema.arguments[1:]] == ["x", "scale"]


def test_the_module_keeps_its_flat_forward():
    prepared = branches("nothing")
    flat = prepared.module.forward
    captured(prepared, "script")
    assert prepared.module.forward is flat


def test_a_failure_is_a_value_with_its_reason_and_line():
    class Fails(torch.nn.Module):
        def forward(self, x):
            if torch.jit.is_tracing():
                raise KeyError("no such thing")
            return x

    result = TRACE.capture(prepare(Fails(), {"x": torch.ones(2, 3)}, {"x": "batch 3"}, {"y": "batch 3"}), "onnx", options())
    assert isinstance(result, Failure)
    assert result.reason.startswith("KeyError: 'no such thing', at test_capture_trace.py:")


def test_an_operator_that_onnx_lacks_is_a_failure_and_prints_nothing(capfd):
    class Complex(torch.nn.Module):
        def forward(self, x):
            return torch.view_as_real(torch.polar(x, x))

    result = TRACE.capture(prepare(Complex(), {"x": torch.ones(2, 3)}, {"x": "batch 3"}, {"y": "batch 3 2"}), "onnx", options())
    assert isinstance(result, Failure)
    assert "polar" in result.reason
    assert len(result.reason) < 600
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_passes_through():
    class Interrupted(torch.nn.Module):
        def forward(self, x):
            if torch.jit.is_tracing():
                raise KeyboardInterrupt
            return x

    prepared = prepare(Interrupted(), {"x": torch.ones(2, 3)}, {"x": "batch 3"}, {"y": "batch 3"})
    with pytest.raises(KeyboardInterrupt):
        TRACE.capture(prepared, "onnx", options())


def test_nothing_is_printed(capfd):
    captured(tiny())
    captured(tiny(), "script")
    assert capfd.readouterr() == ("", "")


def test_verbose_lets_the_warnings_through():
    with warnings.catch_warnings(record=True) as heard:
        captured(branches("size"), verbose=True)
    assert any("Converting a tensor to a Python boolean" in str(one.message) for one in heard)
    assert not [one for one in heard if issubclass(one.category, DeprecationWarning)]


def test_flags_and_filters_are_what_they_were():
    before = (warnings.showwarning, list(warnings.filters), torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled())
    captured(tiny())
    assert before == (warnings.showwarning, list(warnings.filters), torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled())


def test_the_fused_encoder_layer_is_traced_in_parts():
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    layer.forward = layer.forward
    prepared = prepare(layer, {"src": torch.rand(2, 5, 8)}, {"src": "batch time 8"}, {"y": "batch time 8"})
    assert isinstance(TRACE.capture(prepared, "onnx", options()), Captured)


def test_two_threads_capture_two_instances():
    results = []

    def work(seed):
        results.append(TRACE.capture(tiny(seed), "onnx", options()))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(one, Captured) for one in results)


def test_a_form_that_the_strategy_lacks_is_an_error():
    with pytest.raises(ValueError, match="does not give this form"):
        TRACE.capture(tiny(), "exported", options())


def test_an_opset_out_of_range_is_a_failure_that_says_the_range():
    result = TRACE.capture(tiny(), "onnx", options(onnx_opset_version=12))
    assert isinstance(result, Failure)
    assert "13 to 25" in str(result.error)


def test_source_that_cannot_be_read_is_no_check():
    assert not is_only_a_check("<string>", 1)


def test_a_tensor_that_no_trace_knows_counts_as_a_value():
    from torchport.capture._evidence import Origin, Witness

    assert Witness(inputs=1)._origin() is Origin.VALUE
