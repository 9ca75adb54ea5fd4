"""The names and defaults of the contract are what inspect shows, for the function and the mix-in alike."""

import dataclasses
import inspect

import torchport
from torchport._options import ExportOptions

CONTRACT = {
    "input_example": None,
    "output_example": None,
    "verbose": False,
    "export_params": True,
    "do_constant_folding": True,
    "keep_initializers_as_inputs": False,
    "onnx_opset_version": None,
    "try_script": False,
    "set_eval": True,
    "check_trace": False,
    "use_dynamic_axes": True,
    "dynamic_axes": None,
    "check_tolerance": 0.01,
    "verify": True,
    "overwrite": False,
}


def test_the_function_shows_every_argument_with_its_default():
    parameters = inspect.signature(torchport.export).parameters
    shown = {name: one.default for name, one in parameters.items()}
    assert {name: shown[name] for name in CONTRACT} == CONTRACT
    assert list(parameters)[:2] == ["module", "output"]
    assert {field.name for field in dataclasses.fields(ExportOptions)} - {"prepare_kwargs"} <= set(parameters)
    assert parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD
    assert parameters["check_tolerance"].annotation is float


def test_the_mix_in_has_the_same_in_the_contracts_order():
    parameters = inspect.signature(torchport.Exportable.export).parameters
    assert list(parameters) == ["self", "output", *CONTRACT, "kwargs"]
    assert {name: parameters[name].default for name in CONTRACT} == CONTRACT
