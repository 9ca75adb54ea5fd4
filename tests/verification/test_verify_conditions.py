"""Which conditions may hang on a size, in sources as long as they come."""

import ast
import sys

import pytest
import torch

from torchport.verification.conditions import may_hang_on_a_size


def reassigned(x, factor):
    y = x.abs()
    y = torch.cat((y[:, 0:1], y[:, 1:] - y[:, :-1], y), 1)
    y = torch.where(y > 0, y, y + y)
    y = y + y * y - y / (y + y + y)
    y = (y - y.mean() + y.std() + y) / (y * y + y)
    y = y.abs() + y.exp() + y.log() + y
    y = torch.maximum(torch.minimum(y, y + y), y - y)
    y = y.reshape(y.shape) + y.reshape(y.shape)
    decided = bool(factor)
    size = y.size(-1)
    return sys._getframe(), decided, size


@pytest.mark.parametrize(
    ("condition", "expected"), [("size % 2", True), ("decided", False), ("y.sum() > 0", True), ("factor or decided", False)]
)
def test_a_name_that_is_assigned_over_and_over_is_followed_once(condition, expected):
    frame, *_ = reassigned(torch.ones(2, 3), False)
    assert may_hang_on_a_size(ast.parse(condition, mode="eval").body, frame) is expected
