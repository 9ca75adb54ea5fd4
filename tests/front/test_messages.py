"""What a user declared wrongly is told where it stands, what was found, and what to write instead."""

import re

import pytest
import torch
from torch import nn

import torchport
from torchport import Axis, Exportable, NeuralType, Port, Signature
from torchport.errors import HookError, OptionError, PortError, PortTypeError, PortValueError, ReferenceRunError, TorchportError
from torchport.types import AudioSignal, SpectrogramType, TokenIndex


class Scaled(nn.Module):
    """One needed input, and one that a second port would fill by mistake."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 4))

    def forward(self, x, scale=None):
        return self.encoder(x)


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 4, 3, padding=1)

    def forward(self, mel):
        return self.conv(mel)


class Masked(nn.Module):
    def forward(self, tokens, lengths):
        return tokens * lengths[:, None]


def refused(module, folder, kind=TorchportError, name="m.onnx", **arguments):
    with pytest.raises(kind) as caught:
        torchport.export(module, folder / name, **arguments)
    assert not list(folder.iterdir())
    return caught.value


@pytest.mark.parametrize("example", [None, torch.randn(3, 8)], ids=["made", "given"])
@pytest.mark.parametrize("argument", ["input_types", "output_types"])
@pytest.mark.parametrize(("word", "near"), [("float33", "'float32'"), ("flaot32", "'float32'"), ("int46", "'int64'"), ("i64", "'int64'")])
def test_a_misspelt_dtype_is_no_second_port(tmp_path, example, argument, word, near):
    types = {"input_types": {"x": "batch 8"}, argument: {"x" if argument == "input_types" else "y": ("batch 8", word)}}
    error = refused(Scaled(), tmp_path, PortTypeError, input_example=example, **types)
    assert error.message == f"unknown element type {word!r}"
    assert error.where == ("x" if argument == "input_types" else "y")
    assert near in error.hint


def test_types_of_two_tensors_stay_types_of_two_tensors(tmp_path):
    class Summed(nn.Module):
        def forward(self, cache):
            return cache[0] + cache[1]

    result = torchport.export(
        Summed(), tmp_path / "m.onnx", input_types={"cache": ("batch 4", "batch 4")}, input_example=(((torch.randn(3, 4),) * 2),)
    )
    assert list(result.signature.inputs) == ["cache_0", "cache_1"]


@pytest.mark.parametrize(
    ("element", "hint"), [(AudioSignal(), "AudioSignal()"), (AudioSignal, "AudioSignal()"), ("SpectrogramType", "SpectrogramType()")]
)
def test_an_element_type_in_place_of_a_dtype_is_shown_its_place(tmp_path, element, hint):
    error = refused(Scaled(), tmp_path, PortTypeError, input_types={"x": ("batch 8", element)})
    assert error.where == "x"
    assert f'Port("batch 8", element=torchport.types.{hint})' in error.hint


@pytest.mark.parametrize(
    ("word", "written"),
    [("float32", "float32"), ("FP32", "float32"), ("float33", "float33"), ("bool", "bool"), ("float8_e4m3fn", "float8_e4m3fn")],
)
def test_a_dtype_among_the_axes_is_a_forgotten_comma(tmp_path, word, written):
    error = refused(Scaled(), tmp_path, PortValueError, input_types={"x": f"batch 8 {word}"})
    assert "among the axes" in error.message
    assert error.where == "x"
    assert error.found == f"'{word}' in 'batch 8 {word}'"
    assert f'("batch 8", "{written}")' in error.hint
    assert f'x="batch 8,{written}" on the command line' in error.hint


def test_an_element_type_among_the_axes_is_no_axis(tmp_path):
    error = refused(Scaled(), tmp_path, PortValueError, input_types={"x": "batch 8 AudioSignal"})
    assert "element=torchport.types.AudioSignal()" in error.hint


@pytest.mark.parametrize(
    "axis", ["char", "object", "points", "float_frames", "Length", "half", "f0", "int_part", "fp1_time", "float_0_axis1"]
)
def test_an_axis_may_be_called_almost_as_a_dtype(axis):
    assert Port(f"batch {axis}").shape == ("batch", axis)


@pytest.mark.parametrize("example", [None, torch.randn(3, 8)], ids=["made", "given"])
@pytest.mark.parametrize(("name", "near"), [("X", "'x'"), ("scael", "'scale'"), ("features", None)])
def test_a_declared_input_that_forward_does_not_have_is_refused(tmp_path, example, name, near):
    error = refused(Scaled(), tmp_path, PortError, input_types={name: "batch 8"}, input_example=example)
    assert "Scaled.forward does not have" in error.message
    assert error.where == f"input_types[{name!r}]"
    assert error.expected == "parameters of Scaled.forward(x, scale)"
    assert near is None or f"did you mean {near}?" in error.hint
    assert "forward_for_export" in error.hint


def test_a_slip_in_one_of_two_names_is_told_with_the_parameter_that_is_left(tmp_path):
    error = refused(Masked(), tmp_path, PortError, input_types={"tokens": "batch 4", "lenghts": ("batch", "int64")})
    assert "did you mean 'lengths'?" in error.hint


def test_a_models_own_types_are_held_to_its_parameters_too(tmp_path):
    class Slipped(Scaled, Exportable):
        input_types = {"xs": "batch 8"}

    error = refused(Slipped(), tmp_path, PortError)
    assert "did you mean 'x'?" in error.hint


def test_names_that_were_made_for_something_else_are_matched_by_place(tmp_path):
    class Any(nn.Module):
        def forward(self, *parts):
            return parts[0] + parts[1]

    class ForExport(Scaled):
        def forward_for_export(self, features):
            return self(features)

    result = torchport.export(Any(), tmp_path / "any.onnx", input_types={"left": "batch 4", "right": "batch 4"})
    assert list(result.signature.inputs) == ["left", "right"]
    result = torchport.export(ForExport(), tmp_path / "export.onnx", input_types={"audio": "batch 8"})
    assert list(result.signature.inputs) == ["audio"]
    assert "inputs are named as input_types says, in their order: features as audio" in result.notes
    result = torchport.export(nn.Sequential(nn.Linear(8, 4)), tmp_path / "torch.onnx", input_types={"mel": "batch 8"})
    assert list(result.signature.inputs) == ["mel"]


@pytest.mark.parametrize("types", [("batch", "channel"), ["batch", "8"], {"0": "batch", "1": "8"}])
@pytest.mark.parametrize("argument", ["input_types", "output_types"])
def test_axes_in_a_tuple_are_not_several_tensors(tmp_path, types, argument):
    name = "x" if argument == "input_types" else "y"
    error = refused(Scaled(), tmp_path, PortTypeError, input_example=torch.randn(3, 8), **{argument: {name: types}})
    assert error.message == f"{argument} declares 2 tensors where there is one"
    assert error.where == f"{argument}[{name!r}]"
    assert re.search('"batch (channel|8)"', error.hint)


def test_a_wrong_channel_count_names_the_port_and_the_module(tmp_path):
    error = refused(Convolved(), tmp_path, ReferenceRunError, input_types={"mel": "batch 80 time"})
    assert "to have 8 channels, but got 80" in error.message
    assert error.where.startswith("conv = Conv1d(8, 4, kernel_size=(3,)")
    assert "which was given (3, 80, 37), at " in error.where
    assert error.where.endswith(f"test_messages.py:{Convolved.forward.__code__.co_firstlineno + 1}")
    assert error.found == "mel (3, 80, 37) torch.float32, declared 'batch 80 time'"
    assert error.hint.startswith("mel declares 80 on axis 1; ")


def test_a_size_that_the_model_fixes_and_the_port_does_not_is_told(tmp_path):
    error = refused(Scaled(), tmp_path, ReferenceRunError, input_types={"x": NeuralType(("B", "T"), SpectrogramType())})
    assert error.where.startswith("encoder.0 = Linear(in_features=8")
    assert error.hint.startswith("x declares axis 1 (`x_time`) to vary, and 37 was tried: a size that never varies is a number")


def test_a_wrong_rank_shows_what_was_declared(tmp_path):
    error = refused(Convolved(), tmp_path, ReferenceRunError, input_types={"mel": "batch 1 8 time"})
    assert "declared 'batch 1 8 time'" in error.found
    assert "declare what the model takes" in error.hint


def test_an_example_that_is_not_what_was_declared_is_told_before_what_the_model_says(tmp_path):
    error = refused(Convolved(), tmp_path, PortValueError, input_types={"mel": "batch 8 time"}, input_example=torch.randn(2, 9, 5))
    assert error.where == "mel, axis 1"
    assert (error.found, error.expected) == (9, "8")


def test_dynamic_axes_of_no_port_say_how_ports_are_called(tmp_path):
    error = refused(Scaled(), tmp_path, OptionError, input_example=torch.randn(2, 8), dynamic_axes={"scores": {0: "batch"}})
    assert error.where == "scores"
    assert "output_types" in error.hint


def test_a_type_that_says_nothing_asks_for_axes_or_an_example(tmp_path):
    error = refused(Scaled(), tmp_path, PortError, input_types={"x": None})
    assert "says nothing of its axes" in error.message
    assert "input_example" in error.hint


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        ((3, 8), 'axes are one text, with a name for each that varies: "batch 8"'),
        ([None, 8, -1], 'axes are one text, with a name for each that varies: "batch 8 axis2"'),
        (("rows", 8), 'axes are one text, with a name for each that varies: "rows 8"'),
        (torch.Size([3, 8]), 'axes are one text, with a name for each that varies: "batch 8"'),
        ({"shape": "batch 8", "dtype": "float32"}, 'Port("batch 8", dtype="float32")'),
        (NeuralType, "an instance of it: NeuralType(…)"),
        (torch.zeros(3, 8), "a tensor is an example: pass it as input_example"),
        (8, None),
    ],
)
@pytest.mark.parametrize("example", [None, torch.randn(3, 8)], ids=["made", "given"])
def test_what_is_no_type_is_told_as_what_was_meant(tmp_path, found, hint, example):
    error = refused(Scaled(), tmp_path, PortError, input_types={"x": found}, input_example=example)
    assert error.message == "a declared type cannot be read"
    assert (error.where, error.hint) == ("x", hint)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("batch, 8", "axes are parted by spaces and by nothing else: batch"),
        ("[batch 8]", "axes are parted by spaces and by nothing else: batch"),
        ("-1 8", "an axis that varies is a name"),
        ("None 8", "an axis that varies is a name"),
        ("batch{min=1, max=4} 8", "no spaces within braces: batch{min=1,max=9}"),
        ("batch-size 8", "a name has letters, digits and underscores: batch_size"),
        ("batch 2*n", "a size that follows from another one has a name of its own"),
        ("batch §", "a name, a number, name=number"),
    ],
)
def test_a_word_that_is_no_axis_is_told_as_what_was_meant(tmp_path, text, hint):
    error = refused(Scaled(), tmp_path, PortValueError, input_types={"x": text})
    assert error.message == "an axis cannot be read"
    assert error.where == "x"
    assert error.hint.startswith(hint)


def test_limits_that_contradict_each_other_name_the_port(tmp_path):
    error = refused(Scaled(), tmp_path, PortError, input_types={"x": "batch{min=9,max=4} 8"})
    assert error.where == "x, axis batch"


@pytest.mark.parametrize(
    ("types", "found", "expected"),
    [
        ("batch 5", 4, "5"),
        ("batch time 4", "2 axes: [3, 4]", "3 axes: batch time 4"),
        (("batch 4", "int64"), "float32", "int64"),
    ],
)
def test_an_output_that_forward_does_not_return_so_is_told_with_its_port(tmp_path, types, found, expected):
    error = refused(Scaled(), tmp_path, PortError, input_types={"x": "batch 8"}, output_types={"y": types})
    assert (error.found, error.expected) == (found, expected)
    assert error.hint.startswith("the output y is declared as Port(")
    assert error.hint.endswith("declare what forward returns")


def test_another_number_of_outputs_says_what_to_declare(tmp_path):
    types = {"input_types": {"x": "batch 8"}, "output_types": {"y": "batch 4", "z": "batch 4"}}
    assert refused(Scaled(), tmp_path, HookError, **types).hint.startswith("declare no more than it returns")

    class Two(Scaled):
        def forward(self, x):
            return x, x, x

    assert refused(Two(), tmp_path, HookError, **types).hint.startswith("declare every output, in order")


def test_a_dtype_that_the_model_does_not_take_is_told(tmp_path):
    error = refused(Scaled(), tmp_path, ReferenceRunError, input_types={"x": ("batch 8", "float64")})
    assert error.hint.startswith("the model takes another dtype, and x is float64; declare what the model takes")


@pytest.mark.parametrize("example", [(3, 8), [1.0, 2.0], "x"])
def test_an_example_of_sizes_is_told_to_be_values(tmp_path, example):
    assert "values, not sizes" in refused(Scaled(), tmp_path, PortTypeError, input_example=example).hint


@pytest.mark.parametrize(
    ("axes", "where", "expected"),
    [
        ({"x": {"0": "batch"}}, "dynamic_axes['x']", "{0: 'batch'}"),
        ({"x": {"rows": "batch"}}, "dynamic_axes['x']", "{0: 'batch'}"),
        ({"x": {0: 3}}, "dynamic_axes['x'][0]", "a text, like 'batch'"),
    ],
)
def test_dynamic_axes_go_from_number_to_name(tmp_path, axes, where, expected):
    error = refused(Scaled(), tmp_path, OptionError, input_example=torch.randn(2, 8), dynamic_axes=axes)
    assert (error.where, error.expected) == (where, expected)


@pytest.mark.parametrize("types", [None, {"x": "batch 8"}])
def test_a_symbol_that_is_no_name_is_told_with_its_axis(tmp_path, types):
    asked = {"dynamic_axes": {"x": {0: "batch size"}}, "input_types": types}
    error = refused(Scaled(), tmp_path, PortError, input_example=torch.randn(2, 8), **asked)
    assert (error.where, error.found, error.hint) == ("x, axis 0", "'batch size'", "batch_size")


@pytest.mark.parametrize("argument", ["overwrite", "verify", "verbose", "check_trace", "power"])
def test_a_text_is_no_switch(tmp_path, argument):
    error = refused(Scaled(), tmp_path, OptionError, input_types={"x": "batch 8"}, **{argument: "no"})
    assert error.where == argument


@pytest.mark.parametrize(
    ("keyword", "ours"),
    [("input_names", "input_types"), ("output_names", "output_types"), ("dynamic_shapes", "dynamic_axes"), ("overwite", "overwrite")],
)
def test_a_keyword_of_another_exporter_is_told_as_ours(tmp_path, keyword, ours):
    assert refused(Scaled(), tmp_path, OptionError, input_types={"x": "batch 8"}, **{keyword: None}).hint == f"did you mean {ours!r}?"


def test_an_extension_that_is_nearly_one_is_told(tmp_path):
    assert refused(Scaled(), tmp_path, OptionError, name="m.onx", input_types={"x": "batch 8"}).hint == "did you mean '.onnx'?"


def test_a_module_without_forward_is_told_so(tmp_path):
    class Empty(nn.Module):
        pass

    error = refused(Empty(), tmp_path, HookError, input_types={"x": "batch 8"})
    assert error.message == "Empty has no forward"
    assert "list_export_subnets" in error.hint


def test_no_output_is_told_as_that(tmp_path):
    class Silent(nn.Module):
        def forward(self, x):
            return None

    error = refused(Silent(), tmp_path, HookError, input_types={"x": "batch 8"})
    assert error.found == "None"
    assert error.expected.startswith("a torch.Tensor")


def test_a_fault_of_the_models_code_is_not_blamed_on_the_declaration(tmp_path):
    class Faulty(nn.Module):
        def forward(self, x):
            return self.missing(x)

    error = refused(Faulty(), tmp_path, ReferenceRunError, input_types={"x": "batch 8"})
    assert "error of the model's own code" in error.hint
    assert error.where.endswith(f"test_messages.py:{Faulty.forward.__code__.co_firstlineno + 1}")


def test_a_file_of_another_model_is_told_so(tmp_path):
    path = tmp_path / "m.onnx"
    torchport.export(Scaled(), path, input_types={"x": "batch 8"}, strategy="trace")
    with pytest.raises(ReferenceRunError) as caught:
        torchport.verify(path, nn.Linear(7, 4))
    assert caught.value.message.startswith("the model itself fails on an example made from the ports of the file")
    assert "hold the file against the model that it was made from" in caught.value.hint


class Named(nn.Module):
    def forward(self, x):
        return {"a": x, "b": x + 1}


@pytest.mark.parametrize(
    ("declared", "hint"), [(("b", "c"), "declare it"), (("b", "aa"), "did you mean it by 'aa'?"), (("a",), "declare it")]
)
def test_outputs_with_names_of_their_own_go_by_them(tmp_path, declared, hint):
    types = {"input_types": {"x": "batch 4"}, "output_types": dict.fromkeys(declared, "batch 4")}
    error = refused(Named(), tmp_path, HookError, **types)
    assert "returned an output that output_types does not name" in error.message
    assert error.where == ("b" if declared == ("a",) else "a")
    assert error.found == "a, b"
    assert error.hint.startswith(hint)


def test_outputs_may_be_given_other_names_altogether(tmp_path):
    result = torchport.export(
        Named(), tmp_path / "m.onnx", input_types={"x": "batch 4"}, output_types={"p": "batch 4", "q": "batch 4"}, strategy="trace"
    )
    assert list(result.signature.outputs) == ["p", "q"]


def test_an_input_that_is_not_declared_is_asked_for(tmp_path):
    error = refused(Masked(), tmp_path, PortError, input_types={"tokens": "batch 4"})
    assert error.message == "input_types does not declare an input that Masked.forward needs"
    assert (error.where, error.found, error.expected) == ("lengths", "tokens", "tokens, lengths")
    assert '--input-type "lengths=batch 80 time"' in error.hint


def test_what_is_disabled_altogether_is_told(tmp_path):
    class NoInput(Scaled, Exportable):
        input_types = {"x": "batch 8"}
        disabled_deployment_input_names = {"x"}

    class NoOutput(Scaled, Exportable):
        input_types = {"x": "batch 8"}
        output_types = {"y": "batch 4"}
        disabled_deployment_output_names = {"y"}

    error = refused(NoInput(), tmp_path, HookError)
    assert "every declared input is optional or disabled" in error.message
    error = refused(NoOutput(), tmp_path, HookError)
    assert (error.message, error.found) == ("every output is disabled", "y")


def test_a_slip_in_the_name_of_an_examples_input_is_told(tmp_path):
    error = refused(Scaled(), tmp_path, PortTypeError, input_example={"x": torch.randn(3, 8), "scael": 2.0})
    assert error.hint == "did you mean 'scale' by 'scael'?"


def test_an_index_that_is_too_large_is_suspected(tmp_path):
    types = {"input": NeuralType(("B", "T"), TokenIndex(num_classes=100))}
    error = refused(nn.Sequential(nn.Embedding(10, 4)), tmp_path, ReferenceRunError, input_types=types)
    assert re.search(r"torch.int64 from \d to 9\d, declared", error.found)
    assert error.hint.startswith("an index may be too large in input: TokenIndex(num_classes=…) says how many there are")


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    path = tmp_path_factory.mktemp("proved") / "m.onnx"
    model = Scaled()
    torchport.export(model, path, input_types={"x": "batch 8"}, strategy="trace")
    return path, model


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"timeout": "a"}, "timeout"),
        ({"check_tolerance": "a"}, "check_tolerance"),
        ({"input_types": ["x"]}, "input_types"),
        ({"output_types": "y"}, "output_types"),
        ({"dynamic_axes": {"x": "batch"}}, "dynamic_axes"),
        ({"dynamic_axes": {"z": [0]}}, "z"),
    ],
)
def test_verify_refuses_what_export_refuses(proved, arguments, where):
    with pytest.raises(OptionError) as caught:
        torchport.verify(*proved, **arguments)
    assert caught.value.where == where


def test_what_is_in_the_wrong_place_is_told(proved):
    path, model = proved
    with pytest.raises(OptionError, match="an artifact has a path"):
        torchport.verify(model, path)
    with pytest.raises(OptionError, match="only modules are replaced"):
        torchport.replace_for_export("x")
    with pytest.raises(PortError, match="ports go by name"):
        Signature.of(inputs=["x"])


def test_an_axis_that_no_text_could_name_is_refused(tmp_path):
    with pytest.raises(PortError, match="name of a dtype"):
        Axis("float32")
    with pytest.raises(PortError, match="min of an axis is a whole number"):
        Axis("time", min=1.5)
    error = refused(Scaled(), tmp_path, PortError, input_example=torch.randn(3, 8), dynamic_axes={"x": {0: "float32"}})
    assert "name of a dtype" in error.message


class Counting(torch.nn.Module):
    """Counts its runs in two ways, and keeps the longest time; from some run on it may be another function."""

    def __init__(self, turns):
        super().__init__()
        self.calls, self.longest, self.turns = 0, 0, turns
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x):
        self.calls += 1
        self.steps += 1
        self.longest = max(self.longest, x.shape[1])
        count = self.steps if self.turns == "steps" else self.calls
        return torch.where(count > 700, x * 3, x * 2) if self.turns == "steps" else x * 3 if self.turns and count > 700 else x * 2


@pytest.mark.parametrize("turns", ["calls", "steps"])
def test_a_model_that_counts_its_runs_and_turns_later_is_refused(tmp_path, turns):
    model = Counting(turns)
    with pytest.raises(ReferenceRunError, match="at a count of 1000") as caught:
        torchport.export(model, tmp_path / "m.onnx", input_types={"x": "batch time"})
    assert turns in caught.value.found
    assert (model.calls, model.longest, int(model.steps)) == (0, 0, 0)


class Odd(torch.nn.Module):
    """Numbers that no comparison orders, that hold little, that check what they are set to."""

    def __init__(self):
        super().__init__()
        self.fill, self.limit = float("nan"), 0
        self.register_buffer("small", torch.zeros(1, dtype=torch.uint8), persistent=False)
        self.register_buffer("unknown", torch.tensor(float("nan")), persistent=False)

    def __setattr__(self, name, value):
        if name == "limit" and value > 50_000:
            raise ValueError("too large")
        super().__setattr__(name, value)

    def forward(self, x):
        self.limit += 1
        self.small += 1
        return x * 2


def test_numbers_that_cannot_be_counted_on_refuse_nothing(tmp_path):
    assert torchport.export(Odd(), tmp_path / "m.ts", input_types={"x": "batch time"}).proof.ok


def test_a_count_that_no_answer_reads_is_no_matter(tmp_path):
    model = Counting(None)
    result = torchport.export(model, tmp_path / "m.onnx", input_types={"x": "batch time"})
    assert result.proof.ok
    assert not any("calls" in note or "steps" in note for note in result.notes if "max(" not in note)
    assert (model.calls, model.longest, int(model.steps)) == (0, 0, 0)
