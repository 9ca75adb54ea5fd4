"""Runs over every replacement that is registered: a newcomer needs one line in ``EXAMPLES``, or an entry point and nothing."""

from __future__ import annotations

import nemo_fakes
import prepare_fakes as fakes
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from torchport.prepare import PairReplacement, kept_as_found, replace_for_export, replacements, state_digest, swap_modules
from torchport.prepare.replacement import prove_equal

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning"),
    pytest.mark.filterwarnings("ignore:The tensor attributes.*_flat_weights:UserWarning"),  # torch's own recurrent layers do that
]


def hook_norm():
    from torch.nn.utils import weight_norm

    return weight_norm(nn.Conv1d(3, 4, 3))


EXAMPLES = {
    "hook-norm": [hook_norm, lambda: nn.utils.spectral_norm(nn.Linear(3, 4))],
    "parametrization": [
        lambda: parametrizations.weight_norm(nn.Conv1d(3, 4, 3)),
        lambda: parametrizations.spectral_norm(nn.Linear(3, 4)),
        lambda: parametrizations.orthogonal(nn.Linear(3, 3)),
    ],
    "fused-layer-norm": [
        lambda: fakes.FusedLayerNorm(6),
        lambda: fakes.FusedLayerNorm((2, 6), elementwise_affine=False),
        lambda: fakes.MixedFusedLayerNorm(6),
        lambda: fakes.SequenceParallelLayerNorm(6),
        lambda: fakes.FastLayerNorm(6),
        lambda: fakes.LayerNorm1P(6),
        lambda: fakes.MegatronLayerNorm(6),
        lambda: fakes.MegatronLayerNorm(6, zero_centered_gamma=True),
    ],
    "fused-rms-norm": [
        lambda: fakes.FusedRMSNorm(6),
        lambda: fakes.FusedRMSNorm((2, 6), elementwise_affine=False),
        lambda: fakes.MixedFusedRMSNorm(6),
        lambda: fakes.MixedFusedRMSNorm(6).bfloat16(),
    ],
    "fused-scale-mask-softmax": [
        lambda: fakes.FusedScaleMaskSoftmax(scale=0.3),
        lambda: fakes.FusedScaleMaskSoftmax(input_in_bf16=True),
        lambda: fakes.FusedScaleMaskSoftmax(input_in_fp16=True),
        lambda: fakes.MatchedScaleMaskSoftmax(),
        lambda: fakes.MegatronSoftmax(),
    ],
    "parallel-linear": [
        lambda: fakes.ColumnParallelLinear(3, 4),
        lambda: fakes.ColumnParallelLinear(3, 4, skip_bias_add=True),
        lambda: fakes.RowParallelLinear(3, 4, bias=False),
    ],
    "nemo-masked-convolution": [nemo_fakes.MaskedConv1d, lambda: nemo_fakes.MaskedConv1d(4, kernel=5)],
    "nemo-squeeze-excite": [nemo_fakes.SqueezeExcite, lambda: nemo_fakes.SqueezeExcite(context_window=16)],
    "nemo-filterbank": [
        nemo_fakes.FilterbankFeatures,
        lambda: nemo_fakes.FilterbankFeatures(normalize="all_features", preemph=None, power=1.0, pad_to=0),
    ],
    "nemo-local-attention": [
        nemo_fakes.RelPositionMultiHeadAttentionLongformer,
        lambda: nemo_fakes.RelPositionMultiHeadAttentionLongformer(window=(0, 4)),
        lambda: nemo_fakes.RelPositionMultiHeadAttentionLongformer(heads=1, window=(2, 0)),
    ],
    "multihead-attention": [
        lambda: nn.MultiheadAttention(8, 2),
        lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6, batch_first=True),
        lambda: nn.MultiheadAttention(8, 2, bias=False, add_bias_kv=True, add_zero_attn=True),
    ],
    "rms-norm": [lambda: nn.RMSNorm(6), lambda: nn.RMSNorm((2, 6), eps=1e-3, elementwise_affine=False)],
    "bilinear": [lambda: nn.Bilinear(3, 4, 5), lambda: nn.Bilinear(3, 4, 5, bias=False)],
    "projected-lstm": [
        lambda: nn.LSTM(3, 5, proj_size=2),
        lambda: nn.LSTM(3, 5, 2, proj_size=2, batch_first=True, bidirectional=True),
    ],
    "dropout": [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout],
    "batch-norm-folding": [lambda: nn.BatchNorm1d(3), lambda: nn.BatchNorm2d(3), lambda: nn.BatchNorm3d(3)],
    "Conv1d-2d": [lambda: nn.Conv1d(3, 4, 3)],
    "ConvTranspose1d-2d": [lambda: nn.ConvTranspose1d(3, 4, 3)],
    "BatchNorm1d-2d": [lambda: nn.BatchNorm1d(3)],
    "MaxPool1d-2d": [lambda: nn.MaxPool1d(2)],
    "AvgPool1d-2d": [lambda: nn.AvgPool1d(2)],
    "LPPool1d-2d": [lambda: nn.LPPool1d(2, 3)],
    "AdaptiveAvgPool1d-2d": [lambda: nn.AdaptiveAvgPool1d(3)],
    "AdaptiveMaxPool1d-2d": [lambda: nn.AdaptiveMaxPool1d(3)],
}
CASES = [pytest.param(name, make, id=f"{name}-{number}") for name, makes in EXAMPLES.items() for number, make in enumerate(makes)]


def inputs_of(name, module):
    inputs = replacements[name].probe(module)
    if inputs is not None:
        return inputs
    rank = {nn.BatchNorm2d: 4, nn.BatchNorm3d: 5}.get(type(module), 3)
    return (torch.randn(2, *(3 if isinstance(module, nn.Linear) else 7,) * (rank - 2)).unsqueeze(1).repeat_interleave(3, 1),)


def test_every_registered_replacement_has_an_example():
    assert set(replacements) == set(EXAMPLES)


@pytest.mark.parametrize(("name", "make"), CASES)
class TestEveryReplacement:
    def test_matches_its_example_and_no_plain_module(self, name, make):
        torch.manual_seed(0)
        one = replacements[name]
        assert one.matches(make().eval())
        assert not any(one.matches(other.eval()) for other in (nn.Linear(3, 3), nn.Identity(), nn.LayerNorm(3), nn.Sequential()))

    def test_gives_a_new_module_that_computes_the_same_and_leaves_the_old_one(self, name, make):
        torch.manual_seed(0)
        one, module = replacements[name], make().eval()
        if isinstance(one, PairReplacement):
            pytest.skip("a pair is proved as a pair, see test_prepare_folding")
        inputs = inputs_of(name, module)
        before = state_digest(module)
        new = one.apply(module)
        assert new is not module
        assert state_digest(module) == before
        with torch.no_grad():
            answer = new(*(value.clone() for value in inputs))
            prove_equal(name, answer, one.reference(module), inputs, {}, where="", types=name)

    def test_does_not_match_what_it_made(self, name, make):
        one = replacements[name]
        assert not one.matches(one.apply(make().eval()))

    def test_hands_the_mode_on(self, name, make):
        assert replacements[name].apply(make().eval()).training is False

    def test_swaps_in_a_tree_and_is_undone(self, name, make):
        torch.manual_seed(0)
        model = nn.Sequential(make()).eval()
        inputs = inputs_of(name, model[0])
        before = state_digest(model)
        with kept_as_found(model):
            swaps = swap_modules(model, replace_1D_2D=True, example_call=lambda: model[0](*inputs))
            if not isinstance(replacements[name], PairReplacement):
                assert [swap.path for swap in swaps if "." not in swap.path] == ["0"]  # its children may have been swapped too
                assert swaps[0].worst_error is not None
        assert state_digest(model) == before

    def test_captures(self, name, make):
        torch.manual_seed(0)
        one, module = replacements[name], make().eval()
        inputs = inputs_of(name, module)
        new = one.apply(module)
        with torch.no_grad():
            program = torch.export.export(new, inputs, strict=False)
            answer = program.module()(*inputs)
            prove_equal(name, answer, new.forward, inputs, {}, where="", types=name)


@pytest.mark.parametrize(
    "make", [make for name in ("fused-layer-norm", "fused-rms-norm", "dropout", "parallel-linear") for make in EXAMPLES[name]]
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_replaces_a_module_can_be_scripted(make):
    torch.jit.script(next(one for one in replacements.values() if one.matches(make().eval())).apply(make().eval()))


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.endswith("-2d")])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_every_twin_can_be_scripted(name):
    module = EXAMPLES[name][0]().eval()
    inputs = replacements[name].probe(module)
    scripted = torch.jit.script(replacements[name].apply(module))
    torch.testing.assert_close(scripted(*inputs), module(*inputs))


def test_a_subclass_with_a_forward_of_its_own_is_left_alone():
    model = nn.Sequential(fakes.OwnForwardNorm(6))
    assert type(replace_for_export(model)[0]) is fakes.OwnForwardNorm


def test_a_part_of_a_parallel_linear_is_left_alone():
    model = nn.Sequential(fakes.ColumnParallelLinear(3, 4, parts=2))
    assert type(replace_for_export(model)[0]) is fakes.ColumnParallelLinear


def test_weights_are_shared_not_copied():
    norm, linear, conv = fakes.FusedLayerNorm(6), fakes.RowParallelLinear(3, 4), nn.Conv1d(3, 4, 3)
    model = replace_for_export(nn.Sequential(norm, linear, conv), replace_1D_2D=True)
    assert model[0].weight is norm.weight
    assert model[1].bias is linear.bias
    assert model[2].weight.data_ptr() == conv.weight.data_ptr()


def test_a_mask_function_does_not_write_into_the_scores():
    softmax = replace_for_export(fakes.FusedScaleMaskSoftmax())
    scores = torch.zeros(1, 1, 2, 2)
    softmax(scores, torch.ones(1, 1, 2, 2, dtype=torch.bool))
    assert not scores.any()


def test_megatron_softmax_takes_an_offset():
    old = fakes.MegatronSoftmax(fakes.AttnMaskType.padding)
    scores, offset = torch.randn(2, 3, 4, 4), torch.randn(3)
    torch.testing.assert_close(replace_for_export(old)(scores, None, offset), old(scores, None, offset))
