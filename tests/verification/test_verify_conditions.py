"""Which conditions may hang on a size, in sources as long as they come."""

import ast
import sys

import pytest
import torch

from torchport.verification.conditions import may_hang_on_a_size


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
