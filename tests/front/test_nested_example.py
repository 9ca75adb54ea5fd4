"""Nested inputs that only types declare: an example is made of them, as ``forward`` takes it."""

import numpy as np
import pytest
import torch
from torch import nn

import torchport
from torchport._nested_example import as_called


class Cached(nn.Module):
    """A step of a decoder: keys and values of each layer go in and come out longer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, cache):
        new = tuple((torch.cat([key, x], 1), torch.cat([value, self.linear(x)], 1)) for key, value in cache)
        return new[-1][1].sum(1), new


class States(nn.Module):
    """States under names, and nothing else."""

    def forward(self, states):
        return states["h"] + states["c"].sum(1, keepdim=True)


PAIR = ("batch past 4", "batch past 4")
CACHED = {
    "as it is nested": {"x": "batch time 4", "cache": [PAIR, PAIR]},
    "flat": {"x": "batch time 4", **{f"cache_{layer}_{part}": "batch past 4" for layer in range(2) for part in range(2)}},
}


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
@pytest.mark.parametrize("types", CACHED.values(), ids=list(CACHED))
def test_a_cache_needs_no_example(tmp_path, types, suffix):
    result = torchport.export(Cached(), tmp_path / f"m.{suffix}", input_types=types)
    assert result.proof.ok
    assert list(result.signature.inputs) == ["x", "cache_0_0", "cache_0_1", "cache_1_0", "cache_1_1"]
    assert {case.sizes["past"] for case in result.proof.cases} - {case.sizes["time"] for case in result.proof.cases}


@pytest.mark.parametrize("types", [{"states": {"h": "batch 4", "c": "batch 3"}}, {"states_h": "batch 4", "states_c": "batch 3"}])
def test_names_make_a_dict(tmp_path, types):
    path = torchport.export(States(), tmp_path / "m.onnx", input_types=types).path
    with torchport.load(path) as artifact:
        answer = artifact(states_h=np.ones((2, 4), np.float32), states_c=np.ones((2, 3), np.float32))
    assert (answer["output"] == 4).all()


def test_what_is_nested_by_name_keeps_its_order():
    def forward(x, cache, cache_mask=None, other=None):
        return x

    flat = {"x": 0, **{f"cache_{place}": place for place in range(11)}, "cache_mask": 1, "other_a": 2, "other_b_c": 3}
    wanted = {"x": 0, "cache": tuple(range(11)), "cache_mask": 1, "other": {"a": 2, "b_c": 3}}
    assert as_called(forward, dict.fromkeys(flat, "batch"), flat) == wanted
    assert as_called(forward, {}, {"mel": 1, "lengths": 2}) == (1, 2)
    deep = {"x": 0, "cache_0_0": 1, "cache_0_1": 2, "cache_1": 3}
    assert as_called(forward, {}, deep)["cache"] == ((1, 2), 3)


def test_a_name_that_begins_with_another_keeps_its_own_parts():
    def forward(x, x_cache):
        return x, x_cache

    import torch

    tensors = {name: torch.zeros(1) for name in ("x_0", "x_1", "x_cache_0")}
    made = as_called(forward, {}, tensors)
    assert {name: len(parts) for name, parts in made.items()} == {"x": 2, "x_cache": 1}
