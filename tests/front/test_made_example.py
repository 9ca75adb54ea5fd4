"""Examples made from the types alone: axes of a name of their own are made equal where the model asks for it, and only there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torchport
from torchport import AxisKind, AxisType, NeuralType
from torchport.errors import ReferenceRunError
from torchport.types import EncodedRepresentation, MaskType, TokenIndex

TEXT = ("B", "T")


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(10, 8)

    def forward(self, tokens, mask):
        return self.embedding(tokens) * mask.unsqueeze(-1)


class Listener(nn.Module):
    """Two texts of one length, and a sound of another."""

    def forward(self, text, sound, mask):
        return (text @ sound.transpose(1, 2)).softmax(-1) @ sound * mask.unsqueeze(-1)


def frames(size):
    return NeuralType(("B", "T", AxisType(AxisKind.Dimension, size)), EncodedRepresentation())


def test_a_mask_has_the_length_of_its_tokens_though_each_port_names_its_own_axis(tmp_path):
    types = {"tokens": NeuralType(TEXT, TokenIndex()), "mask": NeuralType(TEXT, MaskType())}
    result = torchport.export(Tagger(), tmp_path / "m.onnx", input_types=types)
    assert result.signature.symbols_of("inputs") == ("batch", "tokens_time")
    assert any("`mask_time` always equals `tokens_time`" in note for note in result.notes)


def test_an_axis_that_is_free_keeps_a_size_of_its_own(tmp_path):
    types = {"text": frames(8), "sound": frames(8), "mask": NeuralType(TEXT, MaskType())}
    result = torchport.export(Listener(), tmp_path / "m.onnx", input_types=types)
    assert result.signature.symbols_of("inputs") == ("batch", "text_time", "sound_time")
    (example,) = [case for case in result.proof.cases if case.label == "example"]
    assert example.sizes["text_time"] != example.sizes["sound_time"]


def test_named_axes_of_one_length_are_found_too(tmp_path):
    types = {"tokens": torchport.Port("batch words", dtype="int64"), "mask": torchport.Port("batch flags", dtype="float32")}
    result = torchport.export(Tagger(), tmp_path / "m.onnx", input_types=types)
    assert result.signature.symbols_of("inputs") == ("batch", "words")


@pytest.mark.parametrize("limits", ["{max=20}", "{min=50}", "{multiple_of=4}"])
def test_the_common_size_is_one_that_every_axis_takes(tmp_path, limits):
    types = {"tokens": torchport.Port("batch words", dtype="int64"), "mask": torchport.Port(f"batch flags{limits}", dtype="float32")}
    assert torchport.export(Tagger(), tmp_path / "m.onnx", input_types=types).signature.symbols_of("inputs") == ("batch", "words")


def test_a_model_that_fails_at_any_sizes_says_what_it_said_first(tmp_path):
    class Failing(nn.Module):
        def forward(self, tokens, mask):
            raise ValueError(f"lengths {tokens.shape[1] == mask.shape[1]}")

    types = {"tokens": NeuralType(TEXT, TokenIndex()), "mask": NeuralType(TEXT, MaskType())}
    with pytest.raises(ReferenceRunError, match="lengths False"):
        torchport.export(Failing(), tmp_path / "m.onnx", input_types=types)


class Halving(nn.Module):
    """Pools twice and joins what comes back with what went in: sizes must be multiples of 4."""

    def __init__(self, depth=2):
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(depth))
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, image):
        skips = []
        for layer in self.down:
            skips.append(image)
            image = nn.functional.max_pool2d(layer(image).relu(), 2)
        for skip in reversed(skips):
            image = self.up(image) + skip
        return image


@pytest.mark.parametrize(("depth", "factor"), [(1, 2), (2, 4), (4, 16)])
def test_a_model_that_takes_multiples_only_gets_an_example_of_them(tmp_path, depth, factor):
    result = torchport.export(Halving(depth), tmp_path / "m.onnx", input_types={"image": "batch 3 height width"})
    found = result.signature.symbols
    assert {name: found[name].multiple_of for name in ("batch", "height", "width")} == {"batch": 1, "height": factor, "width": factor}
    (example,) = [case for case in result.proof.cases if case.label == "example"]
    assert example.sizes["height"] != example.sizes["width"]


def test_one_axis_of_multiples_is_found_by_itself(tmp_path):
    class Frames(nn.Module):
        def forward(self, x):
            return nn.functional.max_pool1d(x, 8).repeat_interleave(8, dim=2) - x

    result = torchport.export(Frames(), tmp_path / "m.onnx", input_types={"x": "batch 4 time"})
    assert result.signature.symbols["time"].multiple_of == 8


def test_two_ports_of_one_length_that_is_a_multiple(tmp_path):
    class Pair(nn.Module):
        def forward(self, x, mask):
            return nn.functional.max_pool1d(x, 4).repeat_interleave(4, dim=2) + x * mask.unsqueeze(1)

    types = {"x": torchport.Port("batch 4 words"), "mask": torchport.Port("batch flags", dtype="float32")}
    result = torchport.export(Pair(), tmp_path / "m.onnx", input_types=types)
    assert result.signature.symbols_of("inputs") == ("batch", "words")
    assert result.signature.symbols["words"].multiple_of == 4


def test_an_axis_that_needs_no_multiple_keeps_an_odd_size(tmp_path):
    class Mixed(nn.Module):
        def forward(self, x):
            return nn.functional.max_pool2d(x, (4, 1)).repeat_interleave(4, dim=2) - x

    result = torchport.export(Mixed(), tmp_path / "m.onnx", input_types={"x": "batch 3 height width"})
    assert (result.signature.symbols["height"].multiple_of, result.signature.symbols["width"].multiple_of) == (4, 1)
    (example,) = [case for case in result.proof.cases if case.label == "example"]
    assert example.sizes["width"] % 2 == 1
