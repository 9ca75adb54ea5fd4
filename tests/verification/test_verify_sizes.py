"""The covering sizes."""

from __future__ import annotations

from itertools import combinations
from math import gcd

from hypothesis import given, settings
from hypothesis import strategies as st

from torchport.ports import Axis, AxisKind, Signature
from torchport.verification import cover
from torchport.verification.sizes import levels, traced_sizes


@st.composite
def axes(draw):
    step = draw(st.sampled_from([1, 1, 1, 2, 4, 16]))
    low = draw(st.integers(1, 20))
    high = draw(st.none() | st.integers(low + 6 * step, low + 400))
    axis = Axis("time", min=low, max=high, multiple_of=step, kind=draw(st.sampled_from([AxisKind.Time, AxisKind.Batch])))
    top = (high if high is not None else 200) // step
    traced = draw(st.integers(-(-low // step), max(-(-low // step), top))) * step
    return axis, traced


@given(axes())
def test_every_size_is_one_that_the_axis_allows(drawn):
    axis, traced = drawn
    assert all(axis.allows(size) for size in levels(axis, traced))


@given(axes())
def test_the_minimum_is_always_tried(drawn):
    axis, traced = drawn
    if axis.kind is not AxisKind.Batch:
        assert axis.smallest in levels(axis, traced)


@given(st.integers(4, 500))
def test_an_unbounded_axis_is_tried_below_above_and_at_three_times_its_traced_size(traced):
    sizes = levels(Axis("time"), traced)
    assert min(sizes) == 1
    assert any(1 < size < traced for size in sizes)
    assert any(traced < size < 2 * traced for size in sizes)
    assert max(sizes) >= 3 * traced


@given(st.integers(4, 500))
def test_at_least_two_tried_sizes_share_no_factor_with_the_traced_one(traced):
    assert sum(gcd(size, traced) == 1 and size not in (1, traced) for size in levels(Axis("time"), traced)) >= 2


def test_a_batch_is_tried_at_one_two_and_five():
    assert levels(Axis("batch"), 3) == [1, 2, 5]


def test_a_batch_that_starts_at_two_is_tried_at_other_sizes():
    sizes = levels(Axis("batch", min=2), 3)
    assert min(sizes) == 2
    assert len(sizes) >= 3


def test_an_axis_of_one_size_has_nothing_else_to_try():
    assert levels(Axis("time", min=7, max=7), 7) == [7]


@st.composite
def signatures(draw):
    names = draw(st.lists(st.sampled_from(["batch", "time", "width", "height", "frames"]), min_size=1, max_size=4, unique=True))
    traced = {name: draw(st.integers(1, 64)) for name in names}
    return Signature.of(inputs={"x": (" ".join(names), "float32")}, outputs={"y": ("batch", "float32")}), traced


@given(signatures())
@settings(max_examples=40)
def test_every_size_of_every_axis_is_in_some_case(drawn):
    signature, traced = drawn
    cases = cover(signature, traced)
    for name, size_now in traced.items():
        tried = {case[name] for case in cases} | {size_now}
        assert set(levels(signature.symbols[name], size_now)) <= tried


@given(signatures())
@settings(max_examples=40)
def test_cases_are_distinct_differ_from_the_traced_one_and_repeat_exactly(drawn):
    signature, traced = drawn
    cases = cover(signature, traced)
    assert traced not in cases
    assert all(a != b for a, b in combinations(cases, 2))
    assert cases == cover(signature, traced)


def test_two_axes_meet_in_combination():
    signature = Signature.of(inputs={"x": ("batch time", "float32")}, outputs={"y": ("batch", "float32")})
    cases = cover(signature, {"batch": 3, "time": 12})
    pairs = {(case["batch"], case["time"]) for case in cases}
    assert {(1, 1), (2, 1), (5, 1), (1, 5), (2, 5), (5, 5), (1, 17), (2, 17), (1, 37)} <= pairs
    assert 8 <= len(cases) <= 14


def test_few_cases_are_dear():
    signature = Signature.of(inputs={"x": ("batch height width", "float32")}, outputs={"y": ("batch", "float32")})
    cases = cover(signature, {"batch": 3, "height": 31, "width": 37})
    assert max(case["batch"] * case["height"] * case["width"] for case in cases) <= 4.0 * 31 * 37
    assert len(cases) <= 16


def test_batches_alone_get_their_three_sizes_and_other_axes_six():
    def cases(notation):
        signature = Signature.of(inputs={"x": (notation, "float32")}, outputs={"y": ("...", "float32")})
        return cover(signature, dict.fromkeys(signature.symbols, 7))

    assert [case["batch"] for case in cases("batch 3")] == [1, 2, 5]
    assert len(cases("time 3")) == 6
    assert len(cases("batch time")) >= 6


def test_more_cases_are_made_when_asked_for():
    signature = Signature.of(inputs={"x": ("batch 3", "float32")}, outputs={"y": ("batch", "float32")})
    assert len(cover(signature, {"batch": 3}, least=8)) == 8
    assert len(cover(Signature.of(inputs={"x": ("time", "float32")}, outputs={}), {"time": 40}, least=8)) == 8


def test_nothing_dynamic_means_no_cases():
    signature = Signature.of(inputs={"x": ("2 3", "float32")}, outputs={})
    assert cover(signature, {}) == []


def test_traced_sizes_are_read_off_the_shapes():
    signature = Signature.of(inputs={"x": ("batch 80 time", "float32"), "n": ("batch", "int64")}, outputs={})
    assert traced_sizes(signature, {"x": (3, 80, 37), "n": (3,)}) == {"batch": 3, "time": 37}
