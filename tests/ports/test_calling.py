"""Examples are bound as torch.onnx.export reads them, and answers get their names."""

import inspect

import pytest
import torch

from torchport.errors import HookError, PortTypeError, ReferenceRunError
from torchport.ports.calling import FlatCall, OutputNames, bind_example, split_example

X, Y = torch.ones(2, 3), torch.zeros(2)


def forward(x, y=None, *, scale=1.0, cache=None):
    return x * scale, y


@pytest.mark.parametrize(
    ("example", "names"),
    [
        (X, ["x"]),
        ((X, Y), ["x", "y"]),
        ([X, Y], ["x", "y"]),
        ({"y": Y, "x": X}, ["x", "y"]),
        ((X, {"y": Y}), ["x", "y"]),
        ((X, {"cache": (X, {"k": Y})}), ["x", "cache_0", "cache_1_k"]),
        (({"x": X},), ["x"]),
    ],
)
def test_an_example_is_read_as_torch_reads_it(example, names):
    arguments, tensors = bind_example(forward, example)
    assert list(tensors) == names
    assert sorted(arguments.names) == sorted(names)


def test_an_empty_last_dict_leaves_a_dict_positional():
    assert split_example(({"x": X}, {})) == (({"x": X},), {})


def test_a_misfit_names_the_signature():
    with pytest.raises(PortTypeError, match="scale=1.0"):
        bind_example(forward, (X, Y, Y))


def test_an_example_without_a_tensor_is_refused():
    with pytest.raises(PortTypeError, match="no tensor"):
        bind_example(forward, (None,))


def test_constants_are_reported_and_kept():
    arguments, _ = bind_example(forward, (X, {"scale": 2.0}))
    assert arguments.constants == (("scale", 2.0),)
    args, kwargs = arguments.build({"x": Y})
    assert forward(*args, **kwargs)[0].shape == (2,)


def test_disabled_inputs_are_dropped():
    _, tensors = bind_example(forward, {"x": X, "y": Y}, disabled=frozenset({"y"}))
    assert list(tensors) == ["x"]


def test_variadic_parameters_get_numbers_and_keys():
    _, tensors = bind_example(lambda *parts, **more: parts, (X, Y, {"extra": X}))
    assert list(tensors) == ["parts_0", "parts_1", "extra"]


@pytest.mark.parametrize(
    ("answer", "declared", "disabled", "names"),
    [
        (X, [], set(), ["output"]),
        (X, ["y"], set(), ["y"]),
        ((X, Y), [], set(), ["output_0", "output_1"]),
        ((X, None, Y), ["a", "b", "c"], set(), ["a", "c"]),
        ((X, Y), ["a", "b", "c"], {"b"}, ["a", "c"]),
        ((X, Y, X), ["a", "b", "c"], {"b"}, ["a", "c"]),
        ({"b": X, "a": Y}, ["a", "b"], set(), ["b", "a"]),
        ({"b": X, "a": Y}, [], {"a"}, ["b"]),
        ((X, (Y, {"k": X})), ["a", "b"], set(), ["a", "b_0", "b_1_k"]),
    ],
)
def test_outputs_are_named_as_declared(answer, declared, disabled, names):
    assert list(OutputNames.of(answer, declared=declared, disabled=frozenset(disabled)).names) == names


def test_another_number_of_outputs_is_a_hook_error():
    with pytest.raises(HookError, match="disabled_deployment_output_names"):
        OutputNames.of((X, Y), declared=["a", "b", "c"])


def test_an_answer_without_tensors_is_a_hook_error():
    with pytest.raises(HookError, match="no tensor"):
        OutputNames.of(None)


def test_an_answer_that_changes_its_structure_is_refused():
    names = OutputNames.of((X, Y))
    with pytest.raises(ReferenceRunError, match="changes its structure"):
        names.take((X,))


def test_the_positional_form_shows_its_names_and_lets_forward_for_export_call_the_module():
    class Model(torch.nn.Module):
        def forward(self, x, y):
            return x + y, x

        def forward_for_export(self, x, y):
            return self(x, y)[0]

    model = Model()
    arguments, tensors = bind_example(model.forward_for_export, (X, torch.ones(3)))
    call = FlatCall(model.forward_for_export, arguments, OutputNames.of(X))
    flat = call.positional(model.forward)
    model.forward = flat
    assert list(inspect.signature(flat).parameters) == ["x", "y"]
    out = model(*tensors.values())
    assert torch.equal(out, X + 1)
    again = model(*tensors.values())
    assert torch.equal(again, out)
