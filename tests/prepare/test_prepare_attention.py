"""torch's own attention: every way to call it computes the same once it is swapped, and a trace keeps its axes."""

from __future__ import annotations

import itertools
import zipfile

import pytest
import torch
from torch import nn

import torchport
from torchport.prepare import replace_for_export

CALLS = [
    {},
    {"need_weights": False},
    {"average_attn_weights": False},
    {"key_padding_mask": torch.arange(7) >= torch.tensor([[7], [5], [3]])},
    {"key_padding_mask": torch.arange(7) >= torch.tensor([[7], [5], [3]]), "need_weights": False},
    {"attn_mask": torch.ones(7, 7).triu(1).bool(), "need_weights": False, "is_causal": True},
    {"attn_mask": torch.ones(7, 7).triu(1).bool(), "is_causal": True},
    {"attn_mask": torch.randn(12, 7, 7, generator=torch.Generator().manual_seed(0))},
    {"attn_mask": torch.randn(7, 7), "key_padding_mask": torch.zeros(3, 7), "need_weights": False},
]
KINDS = [
    {"batch_first": True},
    {"batch_first": False},
    {"batch_first": True, "bias": False},
    {"batch_first": True, "add_bias_kv": True},
    {"batch_first": False, "add_zero_attn": True, "add_bias_kv": True},
    {"batch_first": True, "kdim": 6, "vdim": 10},
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_call_it_computes_the_same(kind):
    torch.manual_seed(0)
    old = nn.MultiheadAttention(16, 4, **kind).eval()
    new = replace_for_export(nn.Sequential(old))[0]
    assert type(new).forward is not nn.MultiheadAttention.forward
    assert all(new.state_dict()[name] is tensor or torch.equal(new.state_dict()[name], tensor) for name, tensor in old.state_dict().items())
    first = kind["batch_first"]
    query, other = torch.randn(3, 7, 16), torch.randn(3, 7, 16)
    key, value = (torch.randn(3, 7, kind.get(name, 16)) for name in ("kdim", "vdim"))
    inputs = [(query, key, value)] + ([(query, query, query), (query, other, other)] if "kdim" not in kind else [])
    inputs += [tuple(one[0] for one in inputs[0])]
    for tensors, call in itertools.product(inputs, CALLS):
        batched = tensors[0].dim() == 3
        if not batched:
            call = {name: one[0] if name == "key_padding_mask" else one for name, one in call.items()}
            call = {name: one[:4] if name == "attn_mask" and one.dim() == 3 else one for name, one in call.items()}
        same = {id(one): one if first or not batched else one.transpose(0, 1) for one in tensors}
        given = [same[id(one)] for one in tensors]
        with torch.no_grad():
            expected, got = old(*given, **call), new(*given, **call)
        torch.testing.assert_close(got, expected)


def test_a_mask_that_has_to_be_there_is_asked_for():
    new = replace_for_export(nn.Sequential(nn.MultiheadAttention(8, 2)))[0]
    with pytest.raises(RuntimeError, match="attn_mask"):
        new(*[torch.zeros(3, 1, 8)] * 3, is_causal=True)


class Own(nn.MultiheadAttention):
    def forward(self, query, key, value):
        return query + key + value


def test_an_attention_with_a_forward_of_its_own_stays():
    assert type(replace_for_export(nn.Sequential(Own(8, 2)))[0]) is Own


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False)

    def forward(self, x, padding):
        return self.layers(x, src_key_padding_mask=padding)


@pytest.mark.parametrize("opset", [13, 14, 17, None])
def test_a_transformer_is_traced_with_its_axes_at_every_opset(tmp_path, opset):
    example = (torch.randn(2, 11, 16), torch.arange(11) >= torch.tensor([[11], [7]]))
    types = {"x": "batch time 16", "padding": "batch time"}
    result = torchport.export(
        Encoder(), tmp_path / "m.onnx", input_example=example, input_types=types, onnx_opset_version=opset, strategy="trace"
    )
    assert result.proof.ok
    assert {swap.path for swap in result.parts[0].swaps} >= {f"layers.layers.{place}.self_attn" for place in (0, 1)}


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)

    def forward(self, x):
        steps = torch.arange(x.shape[1])
        return self.layer(x, steps > steps.unsqueeze(1), is_causal=True)


@pytest.mark.parametrize("opset", [13, None])
def test_a_causal_mask_that_is_only_told_is_in_the_file(tmp_path, opset):
    example, types = (torch.randn(2, 11, 16),), {"x": "batch time 16"}
    result = torchport.export(
        Decoder(), tmp_path / "m.onnx", input_example=example, input_types=types, onnx_opset_version=opset, strategy="trace"
    )
    assert result.proof.ok


def test_a_script_knows_the_attention_too(tmp_path):
    result = torchport.export(
        Scripted(), tmp_path / "m.ts", input_example=(torch.randn(2, 11, 16),), input_types={"x": "batch time 16"}, try_script=True
    )
    assert result.strategy == "script", result.attempts


def test_a_trace_keeps_the_kernel(tmp_path):
    model = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    result = torchport.export(model, tmp_path / "m.ts", input_example=(torch.randn(2, 11, 16),), input_types={"src": "batch time 16"})
    with zipfile.ZipFile(result.path) as archive:
        code = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".py"))
    assert b"scaled_dot_product_attention" in code
