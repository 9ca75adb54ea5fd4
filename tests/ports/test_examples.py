from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from port_strategies import signatures

from torchport.errors import PortError
from torchport.ports import AxisKind, AxisType, ElementType, NeuralType, Port, Signature, make_inputs, typecheck
from torchport.types import (
    AudioSignal,
    ImageValue,
    Index,
    LabelsType,
    LengthsType,
    LogprobsType,
    MaskType,
    OffsetsType,
    ProbsType,
    RegressionValuesType,
    SequenceToSequenceAlignmentType,
    SpectrogramType,
    StringType,
    TokenDurationType,
    TokenIndex,
    TokenLogDurationType,
)

MEL = (AxisType(AxisKind.Batch), AxisType(AxisKind.Dimension, 8), AxisType(AxisKind.Time))


@pytest.fixture
def speech() -> Signature:
    return Signature.of(
        inputs={
            "mel": NeuralType(MEL, SpectrogramType()),
            "mel_len": NeuralType(("B",), LengthsType()),
            "mel_mask": Port("batch mel_time", element=MaskType()),
            "tokens": NeuralType(("B", "T"), TokenIndex(30)),
        }
    )


SIZES = {"batch": 4, "mel_time": 20, "tokens_time": 7}


def test_lengths_are_ragged_valid_and_the_first_is_full(speech: Signature) -> None:
    lengths = make_inputs(speech, SIZES)["mel_len"]
    assert lengths.dtype == torch.int64
    assert int(lengths[0]) == 20
    assert int(lengths.min()) >= 1
    assert len(lengths.unique()) > 1
    assert make_inputs(speech, SIZES, ragged=False)["mel_len"].tolist() == [20] * 4


def test_lengths_keep_to_the_smallest_size_of_their_axis() -> None:
    signature = Signature.of(inputs={"x": "batch time{min=9}", "x_len": Port("batch", element=LengthsType())})
    assert int(make_inputs(signature, {"batch": 50, "time": 11})["x_len"].min()) >= 9
    assert make_inputs(signature, {"batch": 3, "time": 9})["x_len"].tolist() == [9, 9, 9]


def test_masks_agree_with_lengths(speech: Signature) -> None:
    made = make_inputs(speech, SIZES, seed=3)
    assert made["mel_mask"].dtype == torch.bool
    assert made["mel_mask"].sum(1).tolist() == made["mel_len"].tolist()
    assert bool(made["mel_mask"][:, 0].all())


def test_a_mask_without_lengths_is_ragged_too() -> None:
    signature = Signature.of(inputs={"x": "batch time", "mask": Port("batch 1 time", element=MaskType(), dtype="float32")})
    mask = make_inputs(signature, {"batch": 5, "time": 9})["mask"]
    assert mask.shape == (5, 1, 9)
    assert len(mask.sum((1, 2)).unique()) > 1
    assert mask.unique().tolist() == [0, 1]


def test_indices_stay_below_the_number_of_classes(speech: Signature) -> None:
    tokens = make_inputs(speech, {"batch": 40, "mel_time": 3, "tokens_time": 50})["tokens"]
    assert (int(tokens.min()), int(tokens.max())) == (0, 29)


def test_indices_without_a_number_of_classes_take_the_range_of_the_example() -> None:
    signature = Signature.of(inputs={"t": NeuralType(("B", "T"), TokenIndex()), "s": NeuralType(("B",), Index())})
    example = {"t": torch.tensor([[5, 9, 7]]), "s": torch.tensor([3])}
    made = make_inputs(signature, {"batch": 20, "t_time": 20}, example=example)
    assert (int(made["t"].min()), int(made["t"].max()), made["s"].unique().tolist()) == (5, 9, [3])
    blind = make_inputs(signature, {"batch": 20, "t_time": 20})
    assert (int(blind["t"].max()), int(blind["s"].max())) == (9, 1)


def test_probabilities_sum_to_one_along_the_classes() -> None:
    axes = (AxisType(AxisKind.Batch), AxisType(AxisKind.Dimension, 5), AxisType(AxisKind.Time))
    signature = Signature.of(
        inputs={
            "p": NeuralType(axes, ProbsType()),
            "l": NeuralType(axes, LogprobsType()),
            "a": NeuralType(("B", "T", "T"), SequenceToSequenceAlignmentType()),
            "one": NeuralType(("B",), ProbsType()),
            "log": NeuralType(("B",), LogprobsType()),
            "hard": NeuralType(("B",), ProbsType(), dtype="int64"),
        }
    )
    made = make_inputs(signature, dict.fromkeys(signature.symbols, 3))
    assert torch.allclose(made["p"].sum(1), torch.ones(3, 3))
    assert torch.allclose(made["l"].exp().sum(1), torch.ones(3, 3))
    assert torch.allclose(made["a"].sum(2), torch.ones(3, 3))
    assert bool(((made["one"] > 0) & (made["one"] < 1)).all())
    assert bool((made["log"] < 0).all())
    assert set(made["hard"].tolist()) <= {0, 1}


def test_signals_images_and_durations_stay_in_their_ranges() -> None:
    signature = Signature.of(
        inputs={
            "wave": NeuralType(("B", "T"), AudioSignal(16000)),
            "pcm": NeuralType(("B", "T"), AudioSignal(16000), dtype="int16"),
            "img": Port("batch 3 h w", element=ImageValue()),
            "raw": Port("batch 3 h w", element=ImageValue(), dtype="uint8"),
            "dur": Port("batch h", element=TokenDurationType()),
            "logdur": Port("batch h", element=TokenLogDurationType()),
            "whole": Port("batch h", element=TokenLogDurationType(), dtype="int64"),
            "pitch": Port("batch h", element=RegressionValuesType()),
            "quant": Port("batch h", element=SpectrogramType(), dtype="int8"),
        }
    )
    made = make_inputs(signature, dict.fromkeys(signature.symbols, 6))
    assert float(made["wave"].abs().max()) <= 1
    assert made["pcm"].dtype == torch.int16
    assert int(made["pcm"].abs().max()) > 100
    assert float(made["img"].min()) >= 0
    assert float(made["img"].max()) <= 1
    assert int(made["raw"].max()) > 100
    assert set(made["dur"].unique().tolist()) <= {1, 2, 3, 4}
    assert bool((made["logdur"] > 0).all())
    assert {name: str(one.dtype) for name, one in made.items() if name in ("pitch", "quant", "whole")} == {
        "pitch": "torch.float32",
        "quant": "torch.int8",
        "whole": "torch.int64",
    }


def test_rows_of_a_batch_differ(speech: Signature) -> None:
    made = make_inputs(speech, SIZES)
    assert not torch.equal(made["mel"][0], made["mel"][1])
    assert not torch.equal(made["tokens"][0], made["tokens"][1])


def test_the_same_seed_gives_the_same_inputs_and_leaves_the_global_state_alone(speech: Signature) -> None:
    before = torch.get_rng_state()
    one, two, other = (make_inputs(speech, SIZES, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["mel"], other["mel"])


def test_an_input_does_not_change_with_its_neighbours(speech: Signature) -> None:
    alone = make_inputs(speech.select(inputs=["tokens"]), {"batch": 4, "tokens_time": 7})
    assert torch.equal(alone["tokens"], make_inputs(speech, SIZES)["tokens"])


def test_fractions_serve_as_lengths_where_the_port_is_of_floats() -> None:
    signature = Signature.of(
        inputs={
            "x": "batch time",
            "lens": Port("batch", element=LengthsType(), dtype="float32"),
            "x_mask": Port("batch time", element=MaskType()),
        }
    )
    made = make_inputs(signature, {"batch": 6, "time": 10})
    assert float(made["lens"][0]) == 1
    assert bool((made["lens"] > 0).all())
    assert float(made["lens"].min()) < 1
    assert made["x_mask"].sum(1).tolist() == (made["lens"] * 10).round().tolist()


def test_lengths_in_another_unit_keep_the_ratio_of_the_example() -> None:
    signature = Signature.of(inputs={"x": "batch time", "x_len": Port("batch", element=LengthsType())})
    made = make_inputs(signature, {"batch": 3, "time": 100}, example={"x": torch.zeros(2, 50), "x_len": torch.tensor([25, 20])})
    assert int(made["x_len"][0]) == 50
    assert int(made["x_len"].max()) == 50


def test_lengths_that_measure_nothing_are_one() -> None:
    assert make_inputs(Signature.of(inputs={"lens": Port("batch", element=LengthsType())}), {"batch": 3})["lens"].tolist() == [1, 1, 1]


def test_lengths_that_the_example_shows_unordered_may_be_unordered() -> None:
    signature = Signature.of(inputs={"x": "batch time", "x_len": Port("batch", element=LengthsType())})
    example = {"x": torch.zeros(3, 50), "x_len": torch.tensor([30, 50, 20])}
    ordered = [make_inputs(signature, {"batch": 9, "time": 60}, seed=seed)["x_len"] for seed in range(4)]
    free = [make_inputs(signature, {"batch": 9, "time": 60}, seed=seed, example=example)["x_len"] for seed in range(4)]
    assert all(bool((one.diff() <= 0).all()) for one in ordered)
    assert any(bool((one.diff() > 0).any()) for one in free)


def test_an_element_type_may_make_its_own_values() -> None:
    class Phase(ElementType):
        dtype = "float32"

        def sample(self, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
            return (torch.rand(shape, generator=generator) * 2 * math.pi).to(dtype)

    made = make_inputs(Signature.of(inputs={"p": Port("batch", element=Phase())}), {"batch": 100})["p"]
    assert 1 < float(made.max()) <= 2 * math.pi


def test_an_element_type_with_values_that_nobody_knows_is_refused() -> None:
    class Odd(ElementType):
        values = "odd"

    with pytest.raises(PortError, match="unknown kind"):
        make_inputs(Signature.of(inputs={"p": Port("batch", element=Odd())}), {"batch": 2})


@pytest.mark.parametrize(
    ("declared", "sizes", "words"),
    [
        (NeuralType(("B", "D"), SpectrogramType()), {"batch": 2}, "dimension axis is not known"),
        (NeuralType(("B", "T"), SpectrogramType()), {"batch": 2}, "needs a size for each symbol"),
        (Port("time{max=5}"), {"time": 6}, "does not take"),
        (NeuralType(None, SpectrogramType()), {}, "unknown rank"),
        (NeuralType(("B",), StringType()), {"batch": 2}, "strings"),
    ],
)
def test_what_cannot_be_made_is_refused_under_its_port(declared: object, sizes: dict[str, int], words: str) -> None:
    with pytest.raises(PortError, match=words) as caught:
        make_inputs(Signature.of(inputs={"x": declared}), sizes)
    assert "x" in str(caught.value.where)


def test_a_size_must_fit_every_port_of_its_symbol() -> None:
    with pytest.raises(PortError, match="does not take"):
        make_inputs(Signature.of(inputs={"x": "time", "y": "time{max=5}"}), {"time": 6})


def test_optional_inputs_that_the_example_lacks_are_left_out() -> None:
    signature = Signature.of(inputs={"x": "batch", "y": Port("batch", optional=True)})
    assert list(make_inputs(signature, {"batch": 2}, example={"x": torch.zeros(3)})) == ["x"]
    assert list(make_inputs(signature, {"batch": 2})) == ["x", "y"]


def test_unknown_sizes_are_those_of_the_example() -> None:
    signature = Signature.of(inputs={"x": NeuralType(("B", "D"), SpectrogramType()), "y": NeuralType(None, LabelsType(3))})
    made = make_inputs(signature, {"batch": 2}, example={"x": torch.zeros(3, 8, dtype=torch.float64), "y": torch.zeros(4).long()})
    assert (made["x"].shape, made["x"].dtype, made["y"].shape) == ((2, 8), torch.float64, (4,))


@given(signatures(), st.integers(1, 4), st.integers(0, 100), st.booleans())
@settings(deadline=None, max_examples=100)
def test_examples_of_any_size_satisfy_their_own_signature(signature: Signature, factor: int, seed: int, ragged: bool) -> None:
    sizes = {name: axis.smallest * factor for name, axis in signature.symbols.items()}

    class Sink:
        input_types: ClassVar[dict[str, Port]] = dict(signature.inputs)

        @typecheck()
        def forward(self, **inputs: torch.Tensor) -> None:
            self.seen = inputs

    made = make_inputs(signature, sizes, seed=seed, ragged=ragged)
    sink = Sink()
    sink.forward(**made)
    assert list(sink.seen) == list(signature.inputs)
    for name, axis in ((name, signature.length_of(name)) for name in made):
        if axis is not None and signature.inputs[name].element.values == "length":
            assert int(made[name].max()) <= made[axis[0]].shape[axis[1]]
    again = make_inputs(signature, {name: axis.smallest for name, axis in signature.symbols.items()}, example=made, seed=seed)
    signature.resolved(again)


def test_a_port_without_a_dtype_is_made_in_the_default_dtype():
    signature = Signature.of(inputs={"x": "batch 3", "audio": NeuralType(("B", "T"), AudioSignal())}, outputs={})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        made = make_inputs(signature, {"batch": 2, "audio_time": 4})
    finally:
        torch.set_default_dtype(before)
    assert (made["x"].dtype, made["audio"].dtype) == (torch.float64, torch.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(2, 40), st.integers(0, 5))
def test_offsets_rise_from_nothing_to_the_whole_of_a_flat_axis(tokens: int, count: int, seed: int) -> None:
    signature = Signature.of(inputs={"text": "tokens", "ends": Port("offsets", element=OffsetsType(), dtype="int32")})
    sizes, example = {"tokens": tokens, "offsets": count}, {"text": torch.ones(4), "ends": torch.tensor([0, 3, 4])}
    if count > max(tokens, 2):
        with pytest.raises(PortError, match="no row is empty"):
            make_inputs(signature, sizes, seed=seed, example=example)
        return
    ends = make_inputs(signature, sizes, seed=seed, example=example)["ends"]
    assert ends.dtype == torch.int32
    assert ends.shape == (count,)
    assert (int(ends[0]), int(ends[-1])) == (0, tokens)
    assert bool((ends.diff() > 0).all()) or tokens < count - 1
