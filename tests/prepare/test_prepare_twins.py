from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from torchport.prepare import replace_for_export
from torchport.prepare._compare import worst_difference
from torchport.prepare.convolutions import TWINS

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
small = st.integers(1, 3)


def check(module: nn.Module, x: torch.Tensor, **kwargs: object) -> None:
    with torch.no_grad():
        try:
            expected = module(x, **kwargs)
        except (RuntimeError, ValueError):
            assume(False)
        twin = replace_for_export(module, replace_1D_2D=True)
        assert isinstance(twin, TWINS[type(module)])
        worst_difference(twin(x, **kwargs), expected, lambda change: module(change(x), **kwargs))


def signal(channels: int, time: int, batched: bool) -> torch.Tensor:
    return torch.randn(2, channels, time) if batched else torch.randn(channels, time)


@settings(max_examples=80, deadline=None)
@given(
    kernel=st.integers(1, 5),
    stride=small,
    dilation=small,
    padding=st.one_of(st.integers(0, 3), st.sampled_from(["same", "valid"])),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    batched=st.booleans(),
    time=st.integers(5, 20),
)
def test_conv1d_equals_its_twin(kernel, stride, dilation, padding, mode, groups, bias, batched, time):
    assume(padding != "same" or stride == 1)
    module = nn.Conv1d(4, 8, kernel, stride, padding, dilation, groups, bias, mode)
    check(module, signal(4, time, batched))


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 5),
    stride=small,
    dilation=small,
    padding=st.integers(0, 2),
    extra=st.integers(0, 2),
    groups=st.sampled_from([1, 2]),
    batched=st.booleans(),
    time=st.integers(3, 12),
    sized=st.booleans(),
)
def test_conv_transpose1d_equals_its_twin(kernel, stride, dilation, padding, extra, groups, batched, time, sized):
    assume(extra < max(stride, dilation))
    if not sized:
        check(nn.ConvTranspose1d(4, 6, kernel, stride, padding, extra, groups, dilation=dilation), signal(4, time, batched))
    else:
        size = (time - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + min(extra, stride - 1)
        check(nn.ConvTranspose1d(4, 6, kernel, stride, padding, 0, groups, dilation=dilation), signal(4, time, batched), output_size=[size])


@settings(max_examples=40, deadline=None)
@given(
    affine=st.booleans(),
    tracked=st.booleans(),
    training=st.booleans(),
    momentum=st.sampled_from([0.1, None]),
    flat=st.booleans(),
)
def test_batch_norm1d_equals_its_twin_down_to_the_statistics(affine, tracked, training, momentum, flat):
    module = nn.BatchNorm1d(3, affine=affine, track_running_stats=tracked, momentum=momentum)
    other = nn.BatchNorm1d(3, affine=affine, track_running_stats=tracked, momentum=momentum)
    module(torch.randn(4, 3, 5))
    other.load_state_dict(module.state_dict())
    twin = replace_for_export(other.train(training), replace_1D_2D=True)
    module.train(training)
    x = torch.randn(4, 3) if flat else torch.randn(4, 3, 5)
    torch.testing.assert_close(twin(x), module(x))
    torch.testing.assert_close(dict(twin.named_buffers()), dict(module.named_buffers()))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["max", "max with indices", "average", "power"]),
    kernel=st.integers(1, 4),
    stride=st.one_of(st.none(), small),
    padding=st.integers(0, 2),
    dilation=small,
    ceil=st.booleans(),
    counted=st.booleans(),
    batched=st.booleans(),
    time=st.integers(6, 20),
)
def test_pools_equal_their_twins(kind, kernel, stride, padding, dilation, ceil, counted, batched, time):
    assume(padding <= kernel // 2)
    if kind == "average":
        module = nn.AvgPool1d(kernel, stride, padding, ceil, counted)
    elif kind == "power":
        module = nn.LPPool1d(2, kernel, stride, ceil)
    else:
        module = nn.MaxPool1d(kernel, stride, padding, dilation, return_indices=kind != "max", ceil_mode=ceil)
    check(module, signal(3, time, batched))


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 6), batched=st.booleans(), time=st.integers(4, 15), indices=st.booleans())
def test_adaptive_pools_equal_their_twins(size, batched, time, indices):
    check(nn.AdaptiveAvgPool1d(size), signal(3, time, batched))
    check(nn.AdaptiveMaxPool1d(size, return_indices=indices), signal(3, time, batched))


def test_a_twin_is_a_2d_module_that_keeps_the_1d_spelling():
    twin = replace_for_export(nn.Conv1d(3, 4, 5, stride=2), replace_1D_2D=True)
    assert isinstance(twin, nn.Conv2d)
    assert twin.stride == (2,)
    assert twin.weight.shape == (4, 3, 1, 5)


def test_nothing_becomes_2d_unless_asked():
    assert type(replace_for_export(nn.Conv1d(3, 4, 5))) is nn.Conv1d


def test_a_subclass_with_its_own_forward_stays():
    class Causal(nn.Conv1d):
        def forward(self, x):
            return super().forward(nn.functional.pad(x, (2, 0)))

    assert type(replace_for_export(nn.Sequential(Causal(3, 4, 3)), replace_1D_2D=True)[0]) is Causal


def test_a_lazy_convolution_waits():
    lazy = nn.LazyConv1d(4, 3)
    assert replace_for_export(nn.Sequential(lazy), replace_1D_2D=True)[0] is lazy


def test_tied_weights_of_two_convolutions_stay_tied():
    one, two = nn.Conv1d(3, 3, 3), nn.Conv1d(3, 3, 3)
    two.weight = one.weight
    model = replace_for_export(nn.Sequential(one, two), replace_1D_2D=True)
    assert model[0].weight is model[1].weight
