"""Which conditions may hang on a size, in sources as long as they come."""

import ast
import math
import sys

import pytest
import torch

import torchport
from torchport.errors import ProofError
from torchport.verification.conditions import is_a_check, may_hang_on_a_size


def reassigned(x, factor):
    x = torch.cat((x[:, 0:1], x[:, 1:] - x[:, :-1], x), 1)
    x = torch.where(x > 0, x, x + x)
    x = x + x * x - x / (x + x + x)
    x = (x - x.mean() + x.std() + x) / (x * x + x)
    x = x.abs() + x.exp() + x.log() + x
    x = torch.maximum(torch.minimum(x, x + x), x - x)
    x = x.reshape(x.shape) + x.reshape(x.shape)
    decided = bool(factor)
    return sys._getframe(), decided


@pytest.mark.parametrize("condition", ["x.size(-1) % 2", "x.sum() > 0", "decided"])
def test_a_name_that_is_assigned_over_and_over_is_followed_once(condition):
    frame, _ = reassigned(torch.ones(2, 3), False)
    assert may_hang_on_a_size(ast.parse(condition, mode="eval").body, frame) in (True, False)


class Held(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.context = [-1, -1]

    def forward(self, context, sizes):
        return sys._getframe()


@pytest.mark.parametrize(("condition", "may"), [("context[0] >= 0", False), ("sizes[0] >= 0", True)])
def test_a_list_that_the_module_itself_holds_is_a_setting_where_it_is_passed_on(condition, may):
    held = Held()
    frame = held.forward(held.context, [-1, -1])
    assert may_hang_on_a_size(ast.parse(condition, mode="eval").body, frame) is may


def anew(size, factor, other=None):
    size = abs(size)
    factor += 1
    other = other or {}
    return sys._getframe()


@pytest.mark.parametrize(("condition", "may"), [("even(size)", True), ("even(factor)", True), ("even(other)", True)])
def test_an_argument_that_is_assigned_anew_still_comes_from_the_caller(condition, may):
    assert may_hang_on_a_size(ast.parse(condition, mode="eval").body, anew(7, 3)) is may


def taking(answers):
    return sys._getframe()


RECORDS = {
    "a value and its lengths": ((torch.ones(2, 3, 4), torch.ones(2, dtype=torch.int64)), False),
    "a value and an absence": ((torch.ones(2, 3, 4), None), False),
    "pieces": ((torch.ones(2, 3), torch.ones(2, 3)), True),
    "a list that may grow": ([torch.ones(2, 3), torch.ones(2)], True),
    "numbers": ((3, 4.0), True),
}


@pytest.mark.parametrize("name", RECORDS)
def test_how_many_unlike_parts_a_tuple_has_is_no_size(name):
    answers, may = RECORDS[name]
    frame = taking(answers)
    assert may_hang_on_a_size(ast.parse("len(answers) == 2", mode="eval").body, frame) is may


def checking(x, depth):
    if depth != 0:
        raise ValueError("too deep")
    assert depth < 5, "too deep"
    if depth == 1:
        return x
    if depth > 7 and x is not None:
        raise ValueError("too deep")
    return x * depth


@pytest.mark.parametrize(("line", "check"), [(1, True), (3, True), (4, False), (6, True), (8, False)])
def test_where_the_other_way_only_raises_it_is_a_check(line, check):
    first = checking.__code__.co_firstlineno + line
    assert is_a_check(checking.__code__, range(first, first + 1)) is check


class Caught(torch.nn.Module):
    """Raises where the logarithm is large, and catches it: the other way is an answer, no refusal."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def checked(self, size):
        if int(math.log2(size)) >= 9:
            raise ValueError("too long")

    def forward(self, x):
        factor = 3.0
        if self.inside:
            try:
                if int(math.log2(x.shape[1])) >= 9:
                    raise ValueError("too long")
            except ValueError:
                factor = 2.0
        else:
            try:
                self.checked(x.shape[1])
            except ValueError:
                factor = 2.0
        return x * factor


@pytest.mark.parametrize("inside", [True, False])
def test_a_raise_that_the_model_itself_catches_is_a_branch(tmp_path, inside):
    with pytest.raises(ProofError):
        torchport.export(Caught(inside), tmp_path / "m.onnx", input_types={"x": "batch time"}, strategy="trace")
