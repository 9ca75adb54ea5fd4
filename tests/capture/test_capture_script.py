"""Scripting compiles the model's own method, or says why it cannot."""

from __future__ import annotations

import dataclasses

import torch
from prepared_by_hand import Renamed, options, prepare, tiny

from torchport.capture import Captured, Failure, strategies

SCRIPT = strategies["script"]


def renamed(forward):
    model = Renamed().eval()
    return prepare(model, {"x": torch.rand(2, 3)}, {"x": "batch 3"}, {"y": "batch 3"}, forward=getattr(model, forward))


def test_the_models_own_forward_is_compiled():
    prepared = tiny()
    script = SCRIPT.capture(prepared, "script", options("m.ts")).payload
    assert [one.name for one in script.forward.schema.arguments[1:]] == ["x", "scale"]
    assert script(torch.ones(1, 2, 4), torch.ones(1))[0].shape == (1, 2, 6)


def test_forward_for_export_is_compiled_with_its_branches():
    prepared = renamed("forward_for_export")
    script = SCRIPT.capture(prepared, "script", options("m.ts")).payload
    for x in (torch.full((2, 3), 0.1), torch.full((2, 3), 5.0)):
        assert torch.equal(script(x), Renamed().forward_for_export(x))


def test_two_methods_of_one_class_do_not_compile_as_each_other():
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

        def forward_for_export(self, x: torch.Tensor) -> torch.Tensor:
            return x + 2

    answers = []
    for name in ("forward", "forward_for_export", "forward"):
        model = Two()
        prepared = prepare(model, {"x": torch.zeros(2, 3)}, {"x": "batch 3"}, {"y": "batch 3"}, forward=getattr(model, name))
        answers.append(SCRIPT.capture(prepared, "script", options("m.ts")).payload(torch.zeros(1, 1)).item())
    assert answers == [1, 2, 1]


def test_the_module_keeps_its_class_and_flat_forward():
    prepared = renamed("forward_for_export")
    flat = prepared.module.__dict__["forward"]
    SCRIPT.capture(prepared, "script", options("m.ts"))
    assert type(prepared.module) is Renamed
    assert prepared.module.__dict__["forward"] is flat


def test_source_that_cannot_be_compiled_is_a_failure_with_the_line():
    class Python(torch.nn.Module):
        def forward(self, x):
            return x + len(dict.fromkeys(globals(), 1))

    model = Python()
    result = SCRIPT.capture(prepare(model, {"x": torch.ones(2, 3)}, {"x": "batch 3"}, {"y": "batch 3"}), "script", options("m.ts"))
    assert isinstance(result, Failure)
    assert "test_capture_script.py:" in result.reason
    assert model.__dict__["forward"] is not None


def test_an_input_that_only_the_flat_call_has_is_a_failure():
    prepared = renamed("forward_for_export")
    native = prepared.module.forward_for_export
    nested = dataclasses.replace(
        prepared, signature=prepared.signature.replace_ports(inputs={"x_0": prepared.signature.inputs["x"]}), native_forward=native
    )
    result = SCRIPT.capture(nested, "script", options("m.ts"))
    assert isinstance(result, Failure)
    assert "nested inputs need tracing" in result.reason


def test_a_forward_that_is_no_method_is_a_failure():
    prepared = renamed("forward_for_export")
    result = SCRIPT.capture(dataclasses.replace(prepared, native_forward=lambda x: x), "script", options("m.ts"))
    assert isinstance(result, Failure)
    assert "method of the model" in result.reason


def test_another_number_of_outputs_is_a_failure():
    class Pair(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x + 1

    model = Pair()
    prepared = prepare(model, {"x": torch.ones(2, 3)}, {"x": "batch 3"}, {"a": "batch 3", "b": "batch 3"})
    fewer = dataclasses.replace(prepared, signature=prepared.signature.without(["b"]))
    result = SCRIPT.capture(fewer, "script", options("m.ts"))
    assert isinstance(result, Failure)
    assert "2 tensors, declared are 1" in result.reason


def test_a_dict_answer_keeps_its_order():
    class Named(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"b": x, "a": x + 1}

    model = Named()
    flat_model = prepare(model, {"x": torch.ones(2, 3)}, {"x": "batch 3"}, {"b": "batch 3", "a": "batch 3"}, forward=lambda x: (x, x + 1))
    result = SCRIPT.capture(dataclasses.replace(flat_model, native_forward=type(model).forward.__get__(model)), "script", options("m.ts"))
    assert isinstance(result, Captured), result
    assert list(result.payload(torch.ones(1, 1))) == ["b", "a"]


def test_inputs_in_another_order_than_declared_are_a_failure():
    prepared = tiny()
    swapped = dataclasses.replace(prepared, signature=prepared.signature.select(inputs=["scale", "x"]))
    result = SCRIPT.capture(swapped, "script", options("m.ts"))
    assert isinstance(result, Failure)
    assert "declared is scale, x" in result.reason


def test_an_argument_that_is_no_input_and_has_no_default_is_a_failure():
    prepared = tiny()
    result = SCRIPT.capture(dataclasses.replace(prepared, signature=prepared.signature.without(["scale"])), "script", options("m.ts"))
    assert isinstance(result, Failure)
    assert "needs scale too" in result.reason
