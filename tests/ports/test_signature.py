from __future__ import annotations

import doctest
import importlib
import json
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from port_strategies import neural_types, ports, signatures

from torchport.errors import PortError, PortTypeError, PortValueError
from torchport.ports import Axis, AxisKind, AxisType, NeuralType, Port, Signature, as_port, is_port_like, make_inputs
from torchport.types import AudioSignal, LengthsType, LogprobsType, MaskType, SpectrogramType, TokenIndex


@pytest.fixture
def speech() -> Signature:
    return Signature.of(
        inputs={
            "audio_signal": NeuralType(("B", "D", "T"), SpectrogramType()),
            "length": NeuralType(tuple("B"), LengthsType()),
            "tokens": NeuralType(("B", "T"), TokenIndex(30), optional=True),
        },
        outputs={"logprobs": NeuralType(("B", "T", "D"), LogprobsType())},
    )


def test_plain_kinds_get_a_symbol_for_each_port_and_one_for_the_batch(speech: Signature) -> None:
    assert speech.dynamic_axes() == {
        "audio_signal": {0: "batch", 2: "audio_signal_time"},
        "length": {0: "batch"},
        "tokens": {0: "batch", 1: "tokens_time"},
        "logprobs": {0: "batch", 1: "logprobs_time"},
    }
    assert list(speech.symbols) == ["batch", "audio_signal_time", "tokens_time", "logprobs_time"]
    assert speech.dynamic_axes("outputs") == {"logprobs": {0: "batch", 1: "logprobs_time"}}
    assert speech.symbols_of("outputs") == ("batch", "logprobs_time")
    assert (speech.symbol("audio_signal", 2), speech.symbol("audio_signal", 1)) == ("audio_signal_time", None)


def test_two_plain_axes_of_one_kind_in_a_port_are_two_symbols() -> None:
    signature = Signature.of(inputs={"img": NeuralType(("B", "C", "H", "W")), "align": NeuralType(("B", "T", "T"))})
    assert signature.dynamic_axes() == {
        "img": {0: "batch", 2: "img_height", 3: "img_width"},
        "align": {0: "batch", 1: "align_time", 2: "align_time_1"},
    }


def test_an_input_and_an_output_of_one_name_do_not_share_a_plain_axis() -> None:
    signature = Signature.of(inputs={"x": NeuralType(("B", "T"))}, outputs={"x": NeuralType(("B", "T"))})
    assert list(signature.symbols) == ["batch", "x_time", "x_out_time"]


def test_named_axes_keep_their_name_and_are_one_symbol() -> None:
    signature = Signature.of(
        inputs={"x": "batch 80 time{max=100}", "y": ("batch time{min=4}", torch.int32)}, outputs={"z": NeuralType(("B", Axis("time")))}
    )
    assert signature.symbols["time"] == Axis("time", min=4, max=100)
    assert signature.inputs["y"].dtype == "int32"


def test_odd_port_names_still_give_symbols_that_are_identifiers() -> None:
    signature = Signature.of(inputs={"0.x y": NeuralType(("B", "T")), "z": Port([Axis(dynamic=True)])})
    assert list(signature.symbols) == ["batch", "_0_x_y_time", "z_dim0"]


def test_ports_of_one_symbol_that_contradict_each_other_are_named() -> None:
    with pytest.raises(PortError) as caught:
        Signature.of(inputs={"x": "time{min=10}", "y": "time{max=9}"})
    assert caught.value.where == "x and y"
    assert "10 or more; 1 to 9" in str(caught.value)


def test_constraints_of_one_symbol_are_merged() -> None:
    signature = Signature.of(inputs={"x": "t{multiple_of=4,max=50}", "y": "t{multiple_of=6,max=60}"})
    assert signature.symbols["t"] == Axis("t", max=50, multiple_of=12, kind=AxisKind.Time)


@pytest.mark.parametrize("wrong", [3, object(), ["batch"], {"a": "b"}, torch.float32, int])
def test_what_is_no_type_is_refused_under_its_port(wrong: object) -> None:
    with pytest.raises(PortError) as caught:
        Signature.of(inputs={"x": wrong})
    assert caught.value.where == "x"


@pytest.mark.parametrize(
    "spelling", ["batch", ("batch", "float32"), ("batch", torch.int8), ("batch", None), Port(), NeuralType(), Float[torch.Tensor, "batch"]]
)
def test_every_spelling_of_a_port_is_known_as_one(spelling: object) -> None:
    assert is_port_like(spelling)
    assert as_port(spelling)


@pytest.mark.parametrize("nested", [("batch 2", "batch 3"), ["batch"], {"k": "batch"}, None, 3])
def test_nested_declarations_are_no_port(nested: object) -> None:
    assert not is_port_like(nested)


def test_an_unknown_dtype_of_a_port_lists_the_known_ones() -> None:
    with pytest.raises(PortError, match="dtypes are float32"):
        Signature.of(inputs={"x": ("batch", "flot32")})


def test_nothing_declared_is_any_rank() -> None:
    assert Signature.of(inputs={"x": None}).inputs["x"] == Port()


def test_an_unknown_port_names_the_nearest(speech: Signature) -> None:
    with pytest.raises(PortError, match="did you mean 'audio_signal'"):
        speech.port("audio_signl")
    with pytest.raises(PortError, match="no such port"):
        Signature().port("x")


def test_resolving_fills_in_sizes_dtypes_and_ranks(speech: Signature) -> None:
    assert not speech.is_resolved
    seen = {"audio_signal": torch.zeros(2, 80, 37), "length": torch.zeros(2, dtype=torch.int32), "tokens": torch.zeros(2, 5).long()}
    resolved = speech.resolved(seen, {"logprobs": torch.zeros(2, 10, 29)})
    assert resolved.is_resolved
    assert resolved.inputs["audio_signal"].shape == ("batch", 80, "audio_signal_time")
    assert resolved.inputs["length"].dtype == "int32"
    assert resolved.outputs["logprobs"].shape == ("batch", "logprobs_time", 29)
    assert resolved.resolved(seen) == resolved
    assert Signature.of(inputs={"x": None}).resolved({"x": torch.zeros(2, 3)}).inputs["x"] == Port("2 3", dtype="float32")


@pytest.mark.parametrize(
    ("text", "tensor", "kind", "words"),
    [
        ("batch 80", torch.zeros(2, 64), PortValueError, "axis 1"),
        ("batch 80", torch.zeros(2), PortValueError, "another rank"),
        ("batch time{min=4}", torch.zeros(2, 3), PortValueError, "4 or more"),
        ("time time", torch.zeros(2, 3), PortValueError, "different sizes"),
        (("batch", "float32"), torch.zeros(2).long(), PortTypeError, "int64"),
    ],
)
def test_a_tensor_that_is_not_as_declared_is_refused_under_its_port(text: object, tensor: torch.Tensor, kind: type, words: str) -> None:
    with pytest.raises(kind) as caught:
        Signature.of(inputs={"x": text}).resolved({"x": tensor})
    assert words in str(caught.value)
    assert caught.value.where.startswith("x")


def test_dims_are_one_for_each_symbol_and_export() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.reshape(x.shape[0], 4, -1).sum(1).sum(1, keepdim=True) + y

    signature = Signature.of(inputs={"x": "batch{max=8} time{multiple_of=4,min=5,max=50}", "y": "batch 3"})
    dims = signature.dims()
    assert dims["x"][0] is dims["y"][0]
    assert (dims["x"][0].min, dims["x"][0].max) == (1, 8)
    program = torch.export.export(Net(), (torch.zeros(3, 20), torch.zeros(3, 3)), dynamic_shapes=(dims["x"], dims["y"]))
    assert program.module()(torch.ones(2, 8), torch.ones(2, 3)).shape == (2, 3)


def test_symbols_are_renamed_merged_narrowed_and_fixed(speech: Signature) -> None:
    merged = speech.renamed_symbols({"tokens_time": "time", "audio_signal_time": "time"})
    assert merged.dynamic_axes("inputs")["tokens"] == {0: "batch", 1: "time"}
    assert merged.inputs["tokens"].axes[1].kind is AxisKind.Time  # type: ignore[index]
    narrow = speech.restricted({"batch": (None, 8), "tokens_time": (3, None)})
    assert (narrow.symbols["batch"].max, narrow.symbols["tokens_time"].min) == (8, 3)
    assert narrow.restricted({"batch": (2, 100)}).symbols["batch"].sizes_in_words() == "2 to 8"
    assert speech.fixed({"tokens_time": 7}).inputs["tokens"].shape == ("batch", 7)
    with pytest.raises(PortError, match="no such symbol"):
        speech.restricted({"time": (1, 2)})
    with pytest.raises(PortError):
        narrow.restricted({"batch": (9, None)})


def test_ports_are_dropped_chosen_and_replaced(speech: Signature) -> None:
    assert list(speech.without({"tokens", "logprobs"}).inputs) == ["audio_signal", "length"]
    assert list(speech.select(inputs=["length", "audio_signal"]).inputs) == ["length", "audio_signal"]
    assert speech.select(outputs=[]).outputs == {}
    assert speech.replace_ports(outputs={"more": Port("batch")}).outputs["more"].shape == ("batch",)
    with pytest.raises(PortError):
        speech.select(inputs=["nothing"])


def test_explicit_dynamic_axes_replace_the_declared_ones(speech: Signature) -> None:
    changed = speech.with_dynamic_axes({"audio_signal": {0: "n", -1: "frames"}, "length": [0]})
    assert changed.dynamic_axes() == {"audio_signal": {0: "n", 2: "frames"}, "length": {0: "batch"}}
    static = speech.with_dynamic_axes({})
    assert static.dynamic_axes() == {}
    seen = {"audio_signal": torch.zeros(2, 80, 37), "length": torch.zeros(2).long(), "tokens": torch.zeros(2, 5).long()}
    resolved = static.resolved(seen)
    assert resolved.inputs["audio_signal"].shape == (2, 80, 37)
    again = resolved.with_dynamic_axes({"audio_signal": [0, 2]})
    assert again.inputs["audio_signal"].shape == ("batch", 80, "audio_signal_time")
    assert again.inputs["audio_signal"].axes[2].kind is AxisKind.Time  # type: ignore[index]


def test_explicit_dynamic_axes_of_an_undeclared_port_are_named_after_it() -> None:
    signature = Signature.of(inputs={"x": None}).resolved({"x": torch.zeros(2, 3)})
    assert signature.with_dynamic_axes({"x": [1]}).inputs["x"].shape == (2, "x_axis1")


@pytest.mark.parametrize(
    ("axes", "words"), [({"x": [2]}, "one of 0 to 1"), ({"z": [0]}, "no such port"), ({"y": [0]}, "unknown rank"), ({"x": ["a"]}, "axis")]
)
def test_explicit_dynamic_axes_that_do_not_exist_are_refused(axes: dict[str, list[int]], words: str) -> None:
    with pytest.raises(PortError, match=words):
        Signature.of(inputs={"x": "batch 3", "y": None}).with_dynamic_axes(axes)


@pytest.mark.parametrize(
    ("inputs", "name", "measured"),
    [
        (
            {"audio_signal": ("B", "D", "T"), "tokens": ("B", "T"), "audio_signal_length": "L", "tokens_len": "L"},
            "audio_signal_length",
            ("audio_signal", 2),
        ),
        (
            {"audio_signal": ("B", "D", "T"), "tokens": ("B", "T"), "audio_signal_length": "L", "tokens_len": "L"},
            "tokens_len",
            ("tokens", 1),
        ),
        ({"x": ("B", "T"), "y": ("B", "T"), "x_lengths": "L"}, "x_lengths", ("x", 1)),
        ({"x": ("B", "T"), "y": ("B", "T"), "length": "L"}, "length", ("y", 1)),
        ({"lens": "L", "y": ("B", "T")}, "lens", ("y", 1)),
        ({"text": ("B", "T"), "mel": ("B", "D", "T"), "text_mask": "M"}, "text_mask", ("text", 1)),
        ({"text": ("B", "T"), "mel": ("B", "D", "T"), "num_texts": "L"}, "num_texts", ("text", 1)),
        ({"input_ids": ("B", "T"), "mel": ("B", "D", "T"), "input_lengths": "L"}, "input_lengths", ("input_ids", 1)),
        ({"speaker": ("B",), "lens": "L"}, "lens", None),
    ],
)
def test_lengths_and_masks_know_what_they_measure(inputs: dict[str, object], name: str, measured: object) -> None:
    made = {"L": NeuralType(("B",), LengthsType()), "M": NeuralType(("B", "T"), MaskType())}
    signature = Signature.of(inputs={one: made[axes] if isinstance(axes, str) else NeuralType(axes) for one, axes in inputs.items()})
    assert signature.length_of(name) == measured


def test_a_mask_measures_the_port_that_it_shares_an_axis_with() -> None:
    signature = Signature.of(inputs={"x": "batch 8 frames", "keep": Port("batch frames", element=MaskType()), "near": "batch other"})
    assert signature.length_of("keep") == ("x", 2)
    assert signature.length_of("x") is None


def test_lengths_of_outputs_measure_outputs() -> None:
    signature = Signature.of(
        inputs={"x": NeuralType(("B", "T"))},
        outputs={"encoded": NeuralType(("B", "D", "T")), "encoded_len": NeuralType(("B",), LengthsType())},
    )
    assert signature.length_of("encoded_len") == ("encoded", 2)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.one_of(ports(), neural_types())),
    st.dictionaries(st.sampled_from(["a", "z"]), ports()),
)
def test_a_signature_round_trips_through_json_and_pickle(inputs: dict[str, object], outputs: dict[str, Port]) -> None:
    try:
        signature = Signature.of(inputs, outputs)
    except PortError:
        return
    again = Signature.from_dict(json.loads(json.dumps(signature.to_dict())))
    assert again == signature == pickle.loads(pickle.dumps(signature))
    assert hash(again) == hash(signature)
    assert str(again) == str(signature)


@given(signatures(), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_resolving_keeps_every_symbol_and_is_undone_by_explicit_axes(signature: Signature, seed: int) -> None:
    sizes = {name: axis.smallest * (seed + 1) for name, axis in signature.symbols.items()}
    seen = make_inputs(signature, sizes, seed=seed)
    resolved = signature.resolved(seen)
    assert resolved.select(outputs=[]).is_resolved
    assert resolved.dynamic_axes("inputs") == signature.dynamic_axes("inputs")
    assert resolved.resolved(seen) == resolved
    explicit = resolved.with_dynamic_axes(resolved.dynamic_axes())
    assert explicit == resolved
    assert explicit.with_dynamic_axes({}).resolved(seen).dynamic_axes("inputs") == {}


def test_order_of_ports_is_part_of_a_signature() -> None:
    one, two = Signature.of(inputs={"x": "a", "y": "b"}), Signature.of(inputs={"y": "b", "x": "a"})
    assert one != two
    assert one != "x"


@pytest.mark.parametrize("wrong", [{}, {"inputs": [{"axes": "a"}], "outputs": []}, {"inputs": 3, "outputs": []}])
def test_a_stored_signature_that_is_broken_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(PortError, match="cannot be read"):
        Signature.from_dict(wrong)


def test_a_signature_is_written_as_one_line() -> None:
    signature = Signature.of(inputs={"x": ("batch 80", "float32")}, outputs={"y": NeuralType((AxisType(AxisKind.Batch),), AudioSignal())})
    assert str(signature) == "(x: float32[batch 80]) -> (y: ?[batch])"


@pytest.mark.parametrize(
    "module", ["axis", "text", "port", "signature", "element", "dtypes", "neural_type", "examples", "checking", "annotations"]
)
def test_examples_in_the_documentation_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"torchport.ports.{module}")).failed == 0


def test_declaring_ports_imports_no_torch() -> None:
    code = (
        "import sys; from torchport.ports import *; import torchport.types as t;"
        "s = Signature.of({'x': NeuralType(('B', 'T'), t.AudioSignal())}, {'y': 'batch 80 time'});"
        "Signature.from_dict(s.to_dict());"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'numpy', 'jaxtyping') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
