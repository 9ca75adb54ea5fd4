from __future__ import annotations

from collections import namedtuple

import pytest
import torch

from torchport.prepare._compare import MismatchError, cloned, worst_difference

Pair = namedtuple("Pair", "one two")


def never(change):
    raise AssertionError("the floor should have settled it")


def test_equal_answers_differ_by_nothing_whatever_their_structure():
    answer = {"a": (torch.ones(2), [torch.zeros(1), None, 3]), "b": Pair(torch.tensor(True), torch.tensor([1 + 2j]))}
    assert worst_difference(answer, cloned(answer), never) == 0.0
    assert worst_difference(None, None, never) == 0.0


def test_nan_and_infinity_in_the_same_places_are_equal():
    x = torch.tensor([1.0, float("nan"), float("inf"), -float("inf")])
    assert worst_difference(x, x.clone(), never) == 0.0
    assert worst_difference(torch.full((2,), float("nan")), torch.full((2,), float("nan")), never) == 0.0


@pytest.mark.parametrize(
    ("got", "expected", "kind"),
    [
        (torch.ones(2), None, "structure"),
        (None, torch.ones(2), "structure"),
        ([torch.ones(2)], (torch.ones(2),), "structure"),
        ((torch.ones(2),), (torch.ones(2), None), "structure"),
        ({"a": torch.ones(2)}, {"b": torch.ones(2)}, "structure"),
        (3, 4, "structure"),
        (torch.ones(2).half(), torch.ones(2), "dtype"),
        (torch.ones(1), torch.ones(2), "shape"),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "value"),
        (torch.tensor([True]), torch.tensor([False]), "value"),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 2.0]), "NaN/Inf pattern"),
        (torch.tensor([float("inf")]), torch.tensor([-float("inf")]), "NaN/Inf pattern"),
        (torch.tensor([1.0]), torch.tensor([0.0]), "value"),
        (torch.tensor([1 + 2j]), torch.tensor([1 + 3j]), "value"),
    ],
)
def test_every_kind_of_difference_is_named(got, expected, kind):
    with pytest.raises(MismatchError) as caught:
        worst_difference(got, expected, lambda change: change(expected))
    assert caught.value.kind == kind


def test_what_rounding_alone_makes_is_allowed():
    x = torch.rand(50)
    assert 0 < worst_difference(x * (1 + 4e-7), x, never) < 1e-6


def test_a_module_that_amplifies_rounding_gets_that_much_and_no_more():
    x = torch.rand(50) + 1000

    def amplify(x):
        return (x - 1000) * 1.0

    noisy = amplify(x * (1 + 2e-7))
    assert worst_difference(noisy, amplify(x), lambda change: amplify(change(x))) > 1e-5
    with pytest.raises(MismatchError):
        worst_difference(amplify(x) + 0.1, amplify(x), lambda change: amplify(change(x)))


def test_noise_is_measured_with_integers_left_alone():
    x, index = torch.rand(50) + 1000, torch.arange(50)

    def amplify(x, index):
        return (x - 1000)[index]

    again = lambda change: amplify(*change((x, index)))  # noqa: E731
    assert worst_difference(amplify(x * (1 + 2e-7), index), amplify(x, index), again) > 1e-5


def test_clones_share_nothing_and_keep_their_type():
    pair = Pair(torch.ones(2), [torch.ones(1), "text"])
    copy = cloned(pair)
    copy.one.zero_()
    assert isinstance(copy, Pair)
    assert pair.one.all()
    assert copy.two[1] == "text"
