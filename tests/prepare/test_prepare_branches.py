"""Models that branch with torch.cond: watched as a whole, left as they were found, swapped only outside of the branches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torchport
from torchport.prepare import kept_as_found, state_digest, swap_modules, watched


class Branching(nn.Module):
    """Two branches, one with modules that clean-ups know, beside a layer that runs on every path."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.above = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
        self.below = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda x: self.above(x), lambda x: self.below(x), (self.before(x),))


class Borrowing(Branching):
    """Uses a layer that folds elsewhere inside of a branch, too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda x: self.before[0](x), lambda x: x - 1, (self.before(x),))


class Writing(nn.Module):
    """A branch writes into a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(400, 400))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda x, last: last.add_(1.0).sum() + x, lambda x, last: x - last.sum(), (x, self.last))


def trained(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize("kind", [Branching, Borrowing])
@pytest.mark.parametrize("sign", [1, -1])
def test_modules_inside_of_branches_stay_and_nothing_changes_its_answer(kind, sign):
    model = trained(kind())
    x = sign * torch.rand(3, 4)
    with torch.no_grad():
        expected = model(x)
    before = state_digest(model)
    with kept_as_found(model):
        swaps = {swap.path: swap for swap in swap_modules(model, example_call=lambda: model(x))}
        with torch.no_grad():
            torch.testing.assert_close(model(x), expected)
        assert "above.1" not in swaps or swaps["above.1"].old == swaps["above.1"].new
    assert state_digest(model) == before


def test_what_a_branch_writes_is_undone():
    model = Writing().eval()
    before = state_digest(model)
    with kept_as_found(model), watched(), torch.no_grad():
        model(torch.ones(3))
    assert state_digest(model) == before


def test_a_model_that_branches_is_exported(tmp_path):
    path = tmp_path / "m.onnx"
    model = trained(Branching())
    torchport.export(model, path, input_example=(torch.rand(3, 4),), input_types={"x": "batch 4"})
    with torchport.load(path) as loaded, torch.no_grad():
        for sign in (1, -1):
            x = sign * torch.rand(5, 4)
            (answer,) = loaded({"x": x}).values()
            torch.testing.assert_close(torch.as_tensor(answer), model(x), rtol=1e-4, atol=1e-5)
