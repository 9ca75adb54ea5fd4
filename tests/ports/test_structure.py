"""Nested values are taken apart under stable names and put together again."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchport.errors import PortTypeError, PortValueError
from torchport.ports.structure import Constant, flat_declarations, flatten, leaves, rebuild, renamed

Pair = namedtuple("Pair", "left right")


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: tuple


nested = st.recursive(
    st.one_of(st.builds(lambda n: torch.full((n,), float(n)), st.integers(1, 4)), st.none(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(["k", "v", "w"]), inner, max_size=3),
        st.tuples(inner, inner).map(lambda pair: Pair(*pair)),
    ),
    max_leaves=8,
)


def same(left, right):
    if isinstance(left, torch.Tensor):
        return left is right
    if isinstance(left, dict):
        return type(left) is type(right) and list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return left == right


@given(nested)
def test_rebuild_is_the_inverse_of_flatten(value):
    structure, tensors = flatten("x", value)
    assert same(rebuild(structure, tensors), value)
    assert list(leaves(structure)) == list(tensors)


def test_the_flat_names_follow_the_nesting():
    t = torch.zeros(1)
    _, tensors = flatten("cache", {"k": (t, t), "v": [t, None], "p": Pair(t, 2)})
    assert list(tensors) == ["cache_k_0", "cache_k_1", "cache_v_0", "cache_p_left"]


def test_dataclasses_and_ordered_dicts_keep_their_type():
    t = torch.zeros(1)
    for value in (Answer(t, (t,)), OrderedDict(a=t)):
        structure, tensors = flatten("", value)
        assert type(rebuild(structure, tensors)) is type(value)


def test_an_array_is_refused_with_what_to_try():
    with pytest.raises(PortTypeError, match=r"from_numpy"):
        flatten("x", np.zeros(2))


def test_two_tensors_of_one_name_are_refused():
    t = torch.zeros(1)
    with pytest.raises(PortValueError, match="same flat name"):
        flatten("x", {"a": {"b": t}, "a_b": t})


def test_renaming_leaves_constants_alone():
    structure, _ = flatten("x", [torch.zeros(1), 3])
    assert list(leaves(renamed(structure, {"x_0": "y"}))) == ["y"]
    assert renamed(Constant(1), {}) == Constant(1)


def test_declarations_take_the_same_nesting():
    flat = flat_declarations({"x": "batch", "cache": {"k": ["batch 4", "batch 5"]}, "n": None}, lambda one: isinstance(one, str))
    assert flat == {"x": "batch", "cache_k_0": "batch 4", "cache_k_1": "batch 5", "n": None}
