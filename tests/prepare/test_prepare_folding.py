from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchport.prepare import kept_as_found, state_digest, swap_modules


def trained(model: nn.Module, x: torch.Tensor) -> nn.Module:
    with torch.no_grad():
        for _ in range(3):
            model(x * 2 + 1)
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine:
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return model.eval()


def fold(model, x, **options):
    with torch.no_grad():
        return swap_modules(model, example_call=lambda: model(x), **options)


PAIRS = [
    (nn.Linear, nn.BatchNorm1d, 0, False),
    (nn.Conv1d, nn.BatchNorm1d, 1, False),
    (nn.Conv2d, nn.BatchNorm2d, 2, False),
    (nn.Conv3d, nn.BatchNorm3d, 3, False),
    (nn.ConvTranspose1d, nn.BatchNorm1d, 1, True),
    (nn.ConvTranspose2d, nn.BatchNorm2d, 2, True),
    (nn.ConvTranspose3d, nn.BatchNorm3d, 3, True),
]


@settings(max_examples=40, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    bias=st.booleans(),
    affine=st.booleans(),
    groups=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
    twins=st.booleans(),
)
def test_folding_keeps_the_answer(pair, bias, affine, groups, seed, twins):
    torch.manual_seed(seed)
    kind, norm, dims, _ = pair
    options = {} if kind is nn.Linear else {"kernel_size": 2, "groups": groups}
    x = torch.randn(3, 4, *(5,) * dims)
    model = trained(nn.Sequential(kind(4, 6, bias=bias, **options), norm(6, affine=affine)), x)
    with torch.no_grad():
        expected = model(x)
    before = state_digest(model)
    with kept_as_found(model):
        swaps = fold(model, x, replace_1D_2D=twins)
        assert type(model[1]).__name__ == "Passthrough"
        assert all(one.worst_error is not None and one.worst_error < 1e-5 for one in swaps)
        with torch.no_grad():
            torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    assert state_digest(model) == before


class Block(nn.Module):
    """Attributes as in torchvision: adjacency shows in the data only."""

    def __init__(self, use=lambda block, x: block.bn(block.conv(x))):
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm1d(4)
        self.other = nn.BatchNorm1d(4)
        self.kept = None
        self.use = use

    def forward(self, x):
        return self.use(self, x)


def keeping(block, x):
    block.kept = block.conv(x)
    return block.bn(block.kept)


def both(block, x):
    y = block.conv(x)
    return block.bn(y), y


def twice(block, x):
    return block.bn(block.conv(x)) + block.bn(block.conv(x * 2))


def in_between(block, x):
    y = block.conv(x)
    y.relu_()
    return block.bn(y)


STAYS = {
    "the answer is also used": lambda block, x: (lambda y: block.bn(y) + y)(block.conv(x)),
    "the answer is also returned": both,
    "the answer is kept": keeping,
    "something stands between": lambda block, x: block.bn(torch.relu(block.conv(x))),
    "something is done in place": in_between,
    "a view is taken": lambda block, x: (lambda y: block.bn(y) + y[:, :, :1])(block.conv(x)),
    "two norms take it": lambda block, x: (lambda y: block.bn(y) + block.other(y))(block.conv(x)),
    "the norm also takes something else": lambda block, x: block.bn(block.conv(x)) + block.bn(x.repeat(1, 2, 1)[:, :4]),
    "the convolution also feeds something else": lambda block, x: block.bn(block.conv(x)) + block.conv(x).sum(),
    "its weight is read": lambda block, x: block.bn(block.conv(x)) * block.conv.weight.sum(),
    "its statistics are read": lambda block, x: block.bn(block.conv(x)) * block.bn.running_var.sum(),
}


@pytest.mark.parametrize("use", STAYS.values(), ids=STAYS.keys())
def test_a_norm_stays_when(use):
    x = torch.randn(2, 3, 8)
    block = trained(Block(use), x)
    fold(block, x)
    assert type(block.bn) is nn.BatchNorm1d


@pytest.mark.parametrize("use", [lambda block, x: block.bn(block.conv(x)), twice], ids=["once", "twice"])
def test_a_norm_folds_when_it_takes_exactly_what_the_convolution_gives(use):
    x = torch.randn(2, 3, 8)
    block = trained(Block(use), x)
    expected = block(x).detach()
    fold(block, x)
    assert type(block.bn).__name__ == "Passthrough"
    torch.testing.assert_close(block(x).detach(), expected)


def test_a_norm_in_training_stays():
    x = torch.randn(2, 3, 8)
    block = Block().train()
    with kept_as_found(block):
        fold(block, x)
        assert type(block.bn) is nn.BatchNorm1d


def test_a_norm_without_statistics_stays():
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4, track_running_stats=False)).eval()
    fold(model, torch.randn(2, 3, 8))
    assert type(model[1]) is nn.BatchNorm1d


def test_a_norm_over_the_time_axis_after_a_linear_stays():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    fold(model, torch.randn(2, 4, 3))
    assert type(model[1]) is nn.BatchNorm1d


def test_a_watched_convolution_stays():
    model = trained(nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), torch.randn(2, 3, 8))
    model[0].register_forward_hook(lambda *_: None)
    fold(model, torch.randn(2, 3, 8))
    assert type(model[1]) is nn.BatchNorm1d


def test_a_tied_weight_is_scaled_for_one_place_only():
    x = torch.randn(2, 3, 8)
    model = nn.Sequential(nn.Conv1d(3, 3, 3, padding=1), nn.BatchNorm1d(3), nn.Conv1d(3, 3, 3, padding=1))
    model[2].weight = model[0].weight
    trained(model, x)
    expected = model(x).detach()
    fold(model, x)
    torch.testing.assert_close(model(x).detach(), expected)


def test_the_names_of_weights_stay():
    x = torch.randn(2, 3, 8)
    model = trained(nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), x)
    fold(model, x)
    assert list(dict(model.named_parameters())) == ["0.weight", "0.bias"]
