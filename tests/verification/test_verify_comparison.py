"""Comparing arrays by numbers alone."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from torchport.verification import compare, tolerance_of
from torchport.verification.comparison import is_exact, scale_of
from torchport.verification.tolerance import floor_of, noise_between

FLOATS = npst.arrays(np.float32, npst.array_shapes(min_dims=0, max_dims=3, max_side=4), elements=st.floats(width=32, allow_nan=True))


@given(FLOATS)
def test_an_array_agrees_with_itself(array):
    assert compare(array, array.copy()).kind is None


@given(FLOATS.filter(lambda array: array.size > 0), st.data())
def test_one_element_moved_by_its_scale_is_found_where_it_is(array, data):
    array = np.where(np.isfinite(array), np.clip(array, -1e6, 1e6), 0).astype(np.float32)
    index = tuple(data.draw(st.integers(0, side - 1)) for side in array.shape)
    wrong = array.copy()
    wrong[index] += np.float32(2 * max(1.0, float(np.abs(array).max())))
    difference = compare(array, wrong, 1e-3)
    assert difference.kind == "value"
    assert difference.index == index


def test_shapes_that_would_broadcast_are_a_difference():
    difference = compare(np.zeros((3, 1), np.float32), np.zeros((3, 4), np.float32))
    assert (difference.kind, difference.expected, difference.got) == ("shape", "[3, 1]", "[3, 4]")


def test_another_dtype_is_a_difference_even_when_the_values_agree():
    difference = compare(np.ones(2, np.float32), np.ones(2, np.float64), 1.0)
    assert (difference.kind, difference.expected, difference.got) == ("dtype", "float32", "float64")


@pytest.mark.parametrize(
    ("expected", "got"), [(np.nan, 0.0), (0.0, np.nan), (np.inf, -np.inf), (np.inf, 1e38), (1.0, np.inf), (np.nan, np.inf)]
)
def test_a_different_nan_or_inf_pattern_is_a_difference_at_any_tolerance(expected, got):
    a, b = np.array([1, expected, 2], np.float32), np.array([1, got, 2], np.float32)
    difference = compare(a, b, 1e9)
    assert difference.kind == "pattern"
    assert difference.index == (1,)


def test_the_same_nan_and_inf_pattern_agrees():
    array = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    assert compare(array, array.copy()).kind is None


def test_only_nans_agree():
    array = np.full(3, np.nan, np.float32)
    assert compare(array, array.copy()).kind is None


def test_integers_and_booleans_must_be_equal_at_any_tolerance():
    difference = compare(np.array([5, 6, 7]), np.array([5, 9, 7]), 1e9)
    assert (difference.kind, difference.index, difference.expected, difference.got, difference.count) == ("value", (1,), "6", "9", 1)
    assert compare(np.array([True]), np.array([False]), 1e9).kind == "value"


def test_the_tolerance_is_relative_to_the_largest_magnitude():
    a = np.array([1000.0, 1.0], np.float32)
    b = a + np.array([0, 0.005], np.float32)
    assert compare(a, b, 1e-5).kind is None
    assert compare(a, b, 1e-6).kind == "value"


def test_a_mask_value_does_not_hide_errors_in_the_others():
    a = np.array([0.5, 0.7, -1e9, 0.9, 1.0], np.float32)
    b = a + np.array([0.1, 0, 0, 0, 0], np.float32)
    assert scale_of(a) == 1.0
    difference = compare(a, b, 1e-3)
    assert (difference.kind, difference.index) == ("value", (0,))


def test_an_output_of_zeros_is_held_to_absolute_zero():
    assert compare(np.zeros(3, np.float32), np.full(3, 1e-3, np.float32), 1e-5).kind == "value"


def test_empty_arrays_of_one_shape_agree():
    assert compare(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)).kind is None


def test_complex_and_bfloat16_values_compare():
    a = np.array([1 + 1j, 2], np.complex64)
    assert compare(a, a * np.complex64(1.1), 1e-3).kind == "value"
    b = np.array([1, 2], ml_dtypes.bfloat16)
    assert compare(b, b.copy()).kind is None
    assert compare(b, (b * 2).astype(ml_dtypes.bfloat16), 1e-2).kind == "value"


def test_only_rounding_dtypes_have_a_tolerance():
    assert is_exact(np.array([1]))
    assert is_exact(np.array([True]))
    assert tolerance_of("int64", 0.5) == 0.0
    assert tolerance_of("float32", 0.0) == floor_of("float32") == pytest.approx(16 * 2**-23)


@given(st.floats(0, 1))
def test_the_tolerance_is_sixteen_times_the_noise_and_never_below_the_floor(noise):
    assert tolerance_of("float32", noise) == max(16 * 2**-23, 16 * noise)


def test_half_precision_has_a_wider_floor_than_single():
    assert floor_of("bfloat16") > floor_of("float16") > floor_of("float32") > floor_of("float64") > 0


def test_noise_is_taken_relative_to_the_scale_and_integers_have_none():
    noise = noise_between(
        {"y": np.array([100.0, 1.0], np.float32), "n": np.array([3])}, {"y": np.array([100.0, 1.001]), "n": np.array([4])}
    )
    assert noise["y"] == pytest.approx(1e-5, rel=1e-3)
    assert noise["n"] == 0.0


def test_a_mask_value_that_fills_most_of_an_output_is_not_its_scale():
    expected = np.full((1, 20), -1e9, np.float32)
    expected[0, :5] = [20.0, 19.0, 18.5, 0.0, 1e-6]
    assert scale_of(expected) == 20.0
    wrong = expected.copy()
    wrong[0, 0] = 7.0
    assert compare(expected, wrong, 1e-5).kind == "value"
    off = expected.copy()
    off[0, 19] = -1e9 * (1 + 1e-6)  # a mask value is held to its own size
    assert compare(expected, off, 1e-5).kind is None


def test_probabilities_that_are_nearly_all_one_keep_one_as_their_scale():
    assert scale_of(np.array([1.0, 1.0, 1.0, 1e-9])) == 1.0
    assert scale_of(np.array([1e6, 1e6, 1e6, 5e5])) == 1e6
    assert scale_of(np.array([-1e9, -1e9])) == 1e9


@pytest.mark.parametrize("masks", [(-1e9,), (-1e9, -1.5e9), (-1e9, -2e9, -3.4028235e38), (-1e9, -1e9 - 64, -1e9 + 128)])
def test_several_mask_values_in_most_of_an_output_are_not_its_scale(masks):
    values = np.concatenate([np.repeat(np.asarray(masks, np.float64), 50), [0.5, -2.0, 1.25]])
    assert scale_of(values) == 2.0
