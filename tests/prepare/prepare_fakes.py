"""Modules that are named and behave as the real ones of Apex, Megatron and NeMo do on a CPU."""

from __future__ import annotations

import enum

import torch
from torch import nn
from torch.nn import functional as F


class AttnMaskType(enum.Enum):
    padding = 1
    causal = 2


class FusedLayerNorm(nn.Module):
    __module__ = "apex.normalization.fused_layer_norm"

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, memory_efficient=False):
        super().__init__()
        self.normalized_shape = torch.Size([normalized_shape] if isinstance(normalized_shape, int) else normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.memory_efficient = memory_efficient
        self.weight = nn.Parameter(torch.randn(self.normalized_shape)) if elementwise_affine else None
        self.bias = nn.Parameter(torch.randn(self.normalized_shape)) if elementwise_affine else None

    def forward(self, input):
        mean = input.mean([-1 - i for i in range(len(self.normalized_shape))], keepdim=True)
        variance = (input - mean).pow(2).mean([-1 - i for i in range(len(self.normalized_shape))], keepdim=True)
        normed = (input - mean) / torch.sqrt(variance + self.eps)
        return normed if self.weight is None else normed * self.weight + self.bias


class MixedFusedLayerNorm(FusedLayerNorm):
    __module__ = "apex.normalization.fused_layer_norm"

    def forward(self, input):
        return F.layer_norm(input.to(self.weight.dtype), self.normalized_shape, self.weight, self.bias, self.eps)


class SequenceParallelLayerNorm(FusedLayerNorm):
    """As apex.transformer.layers: only ``__init__`` is overridden."""

    __module__ = "apex.transformer.layers.layer_norm"
    __qualname__ = "FusedLayerNorm"

    def __init__(self, normalized_shape, eps=1e-5):
        super().__init__(normalized_shape, eps)
        self.sequence_parallel_enabled = False


class FastLayerNorm(nn.Module):
    __module__ = "apex.contrib.layer_norm.layer_norm"

    def __init__(self, hidden_size, eps=1e-5):
        super().__init__()
        self.epsilon = eps
        self.weight = nn.Parameter(torch.randn(hidden_size))
        self.bias = nn.Parameter(torch.randn(hidden_size))

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


class KernelOnlyLayerNorm(FastLayerNorm):
    """The real FastLayerNorm has no CPU path."""

    __module__ = "apex.contrib.layer_norm.layer_norm"
    __qualname__ = "FastLayerNorm"

    def forward(self, x):
        raise RuntimeError("fast_layer_norm: no kernel for the CPU")


class LayerNorm1P(FastLayerNorm):
    __module__ = "nemo.collections.nlp.modules.common.megatron.layer_norm_1p"

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight + 1, self.bias, self.epsilon)


class MegatronLayerNorm(nn.Module):
    __module__ = "megatron.core.fusions.fused_layer_norm"
    __qualname__ = "FusedLayerNorm"

    def __init__(self, hidden_size, eps=1e-5, zero_centered_gamma=False):
        super().__init__()
        self.hidden_size = torch.Size([hidden_size])
        self.eps = eps
        self.zero_centered_gamma = zero_centered_gamma
        self.weight = nn.Parameter(torch.randn(hidden_size))
        self.bias = nn.Parameter(torch.randn(hidden_size))

    def forward(self, input):
        weight = self.weight + 1 if self.zero_centered_gamma else self.weight
        return F.layer_norm(input, self.hidden_size, weight, self.bias, self.eps)


class FusedRMSNorm(nn.Module):
    __module__ = "apex.normalization.fused_layer_norm"

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True):
        super().__init__()
        self.normalized_shape = torch.Size([normalized_shape] if isinstance(normalized_shape, int) else normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.weight = nn.Parameter(torch.randn(self.normalized_shape)) if elementwise_affine else None

    def forward(self, input):
        dims = [-1 - i for i in range(len(self.normalized_shape))]
        normed = input * torch.rsqrt(input.to(torch.float32).pow(2).mean(dims, keepdim=True) + self.eps)
        if self.weight is None:
            return normed
        if self.weight.dtype in (torch.float16, torch.bfloat16):
            normed = normed.to(self.weight.dtype)
        return self.weight * normed


class MixedFusedRMSNorm(FusedRMSNorm):
    __module__ = "apex.normalization.fused_layer_norm"

    def forward(self, input):
        return super().forward(input)


class _Parallel(nn.Module):
    def __init__(self, input_size, output_size, bias=True, skip_bias_add=False, parts=1):
        super().__init__()
        self.input_size = input_size
        self.output_size = output_size
        self.skip_bias_add = skip_bias_add
        self.input_size_per_partition = input_size
        self.output_size_per_partition = output_size // parts
        self.sequence_parallel = False
        self.weight = nn.Parameter(torch.randn(self.output_size_per_partition, input_size))
        self.bias = nn.Parameter(torch.randn(self.output_size_per_partition)) if bias else None


class ColumnParallelLinear(_Parallel):
    __module__ = "apex.transformer.tensor_parallel.layers"

    def forward(self, input_):
        out = torch.matmul(input_, self.weight.t())
        if self.bias is not None and not self.skip_bias_add:
            out = out + self.bias
        return out, (self.bias if self.skip_bias_add else None)


class RowParallelLinear(_Parallel):
    __module__ = "megatron.core.tensor_parallel.layers"

    def forward(self, input_):
        out = torch.matmul(input_, self.weight.t())
        if self.skip_bias_add:
            return out, self.bias
        return (out if self.bias is None else out + self.bias), None


def fill_mask(scores, mask):
    scores.masked_fill_(mask, -10000.0)
    return scores


class FusedScaleMaskSoftmax(nn.Module):
    __module__ = "apex.transformer.functional.fused_softmax"

    def __init__(self, input_in_fp16=False, input_in_bf16=False, attn_mask_type=AttnMaskType.padding, softmax_in_fp32=True, scale=None):
        super().__init__()
        self.input_in_fp16 = input_in_fp16
        self.input_in_bf16 = input_in_bf16
        self.input_in_float16 = input_in_fp16 or input_in_bf16
        self.attn_mask_type = attn_mask_type
        self.scaled_masked_softmax_fusion = True
        self.mask_func = fill_mask
        self.softmax_in_fp32 = softmax_in_fp32
        self.scale = scale

    def forward(self, input, mask):
        return self.forward_torch_softmax(input, mask)

    def forward_torch_softmax(self, input, mask):
        if self.input_in_float16 and self.softmax_in_fp32:
            input = input.float()
        if self.scale is not None:
            input = input * self.scale
        probs = torch.softmax(self.mask_func(input, mask) if mask is not None else input, dim=-1)
        if self.input_in_float16 and self.softmax_in_fp32:
            probs = probs.half() if self.input_in_fp16 else probs.bfloat16()
        return probs


class MatchedScaleMaskSoftmax(FusedScaleMaskSoftmax):
    __module__ = "nemo.collections.nlp.modules.common.megatron.fused_softmax"

    def forward_torch_softmax(self, input, mask):
        probs = super().forward_torch_softmax(input, mask)
        if mask is not None:
            probs = probs * (1.0 - mask.all(dim=-1).to(probs.dtype))[..., None]
        return probs


class MegatronSoftmax(nn.Module):
    __module__ = "megatron.core.fusions.fused_softmax"
    __qualname__ = "FusedScaleMaskSoftmax"

    def __init__(self, attn_mask_type=AttnMaskType.causal, scale=0.5):
        super().__init__()
        self.input_in_fp16 = self.input_in_bf16 = self.input_in_float16 = False
        self.attn_mask_type = attn_mask_type
        self.mask_func = fill_mask
        self.softmax_in_fp32 = True
        self.scale = scale
        self.window_size = None

    def forward(self, input, mask, softmax_offset=None):
        return self.forward_torch_softmax(input, mask, softmax_offset)

    def forward_torch_softmax(self, input, mask, softmax_offset=None):
        input = input * self.scale
        if self.attn_mask_type is AttnMaskType.causal and mask is None and input.size(2) > 1:
            mask = torch.triu(torch.ones(input.size(2), input.size(2), dtype=torch.bool), diagonal=1)
        scores = self.mask_func(input, mask) if mask is not None else input
        if softmax_offset is None:
            return torch.softmax(scores, dim=-1)
        sink = softmax_offset.reshape(1, -1, 1, 1).expand(scores.size(0), -1, scores.size(2), -1)
        return torch.softmax(torch.cat([scores, sink], dim=-1), dim=-1)[..., :-1]


class OwnForwardNorm(FusedLayerNorm):
    """A user's class that computes something else than its base."""

    def forward(self, input):
        return super().forward(input) + 1
