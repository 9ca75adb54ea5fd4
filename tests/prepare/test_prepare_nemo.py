"""What is swapped of NeMo's layers, and what is left alone."""

import nemo_fakes as fakes
import pytest
import torch
from torch import nn

from torchport.prepare import kept_as_found, replacements, swap_modules


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("nemo-masked-convolution", fakes.MaskedConv1d(use_mask=False)),
        ("nemo-squeeze-excite", fakes.SqueezeExcite().half()),
        ("nemo-squeeze-excite", fakes.SqueezeExcite(context_window=4).train()),
        ("nemo-local-attention", fakes.RelPositionMultiHeadAttentionLongformer(global_tokens=1)),
        ("nemo-local-attention", fakes.RelPositionMultiHeadAttentionLongformer(window=(-1, -1))),
    ],
)
def test_a_layer_that_computes_something_else_stays(name, module):
    assert not replacements[name].matches(module)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_a_mask_follows_the_size_at_hand_in_a_trace():
    conv = fakes.MaskedConv1d().eval()
    new = replacements["nemo-masked-convolution"].apply(conv).requires_grad_(False)
    traced = torch.jit.trace(lambda x, lens: new(x, lens), (torch.randn(2, 6, 9), torch.tensor([9, 5])), check_trace=False)
    x, lens = torch.randn(3, 6, 20), torch.tensor([20, 11, 3])
    with torch.no_grad():
        torch.testing.assert_close(traced(x, lens), conv(x, lens))


def test_a_norm_inside_a_swapped_parent_is_folded_all_the_same():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = fakes.MaskedConv1d(), nn.BatchNorm1d(6)

        def forward(self, x, lens):
            x, lens = self.conv(x, lens)
            return self.norm(x), lens

    block = Block().eval()
    nn.init.uniform_(block.norm.running_var, 0.5, 2.0)
    inputs = torch.randn(2, 6, 9), torch.tensor([9, 5])
    with torch.no_grad(), kept_as_found(block):
        expected = block(*inputs)
        swaps = {swap.path: swap for swap in swap_modules(block, example_call=lambda: block(*inputs))}
        torch.testing.assert_close(block(*inputs), expected)
    assert "nemo-masked-convolution" in swaps["conv"].new
    assert swaps["norm"].new == "Passthrough"
    assert all(swap.worst_error is not None for swap in swaps.values())
