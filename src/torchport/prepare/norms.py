"""Layer norms with CUDA kernels (Apex, Megatron) become torch's own, found by qualified name: neither package is needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchport.prepare.replacement import Replacement, borrowed, defined_by

__all__ = ["FusedLayerNormReplacement", "FusedRMSNormReplacement", "MixedLayerNorm", "RMSNorm"]

_LAYER_NORMS = frozenset(
    {
        "apex.normalization.fused_layer_norm.FusedLayerNorm",
        "apex.normalization.fused_layer_norm.MixedFusedLayerNorm",
        "apex.contrib.layer_norm.layer_norm.FastLayerNorm",
        "megatron.core.fusions.fused_layer_norm.FusedLayerNorm",
        "megatron.model.fused_layer_norm.MixedFusedLayerNorm",
        "megatron.legacy.model.fused_layer_norm.MixedFusedLayerNorm",
        "nemo.collections.nlp.modules.common.megatron.layer_norm_1p.LayerNorm1P",
    }
)
_ONE_PLUS = frozenset({"nemo.collections.nlp.modules.common.megatron.layer_norm_1p.LayerNorm1P"})
"""These multiply by ``1 + weight``, always."""

_RMS_NORMS = frozenset({"apex.normalization.fused_layer_norm.FusedRMSNorm", "apex.normalization.fused_layer_norm.MixedFusedRMSNorm"})


class MixedLayerNorm(nn.LayerNorm):
    """A layer norm that answers in the dtype of its weight, as the mixed-dtype kernels do."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalises ``input``."""
        return nn.functional.layer_norm(input.to(self.weight.dtype), self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.RMSNorm):
    """Root mean square norm in plain operations: every exporter knows them, the fused one not.

    The mean square is taken in float32 at least, as Apex does.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises ``x`` over the last dimensions."""
        dims = [-i for i in range(1, len(self.normalized_shape) + 1)]
        wide = x.to(torch.float64) if x.dtype == torch.float64 else x.to(torch.float32)
        eps = 0.0 if self.eps is None else self.eps
        normed = x * torch.rsqrt(wide.pow(2).mean(dims, keepdim=True) + eps)
        if not self.elementwise_affine:
            return normed
        weight = self.weight
        if weight.dtype == torch.float16 or weight.dtype == torch.bfloat16:
            normed = normed.to(weight.dtype)
        return weight * normed


class FusedLayerNormReplacement(Replacement):
    """FusedLayerNorm, MixedFusedLayerNorm, FastLayerNorm and their kin become `torch.nn.LayerNorm` on the same weights."""

    name = "fused-layer-norm"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``."""
        return defined_by(module, "forward") in _LAYER_NORMS

    def replace(self, module: nn.Module) -> nn.Module:
        """A layer norm that borrows weight and bias."""
        old: Any = module
        shape = _normalized_shape(old)
        eps = old.epsilon if hasattr(old, "epsilon") else old.eps
        owner = defined_by(module, "forward") or ""
        kind = MixedLayerNorm if ".Mixed" in owner else nn.LayerNorm
        new: Any = kind(shape, eps=eps, elementwise_affine=False)
        if old.weight is not None:
            new.elementwise_affine = True
            one_plus = owner in _ONE_PLUS or getattr(old, "zero_centered_gamma", False) or getattr(old, "apply_layernorm_1p", False)
            new.weight = nn.Parameter(old.weight.detach() + 1, requires_grad=old.weight.requires_grad) if one_plus else borrowed(old.weight)
            new.bias = borrowed(old.bias)
        return new  # type: ignore[no-any-return]

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A few rows."""
        return (_rows(module),)


class FusedRMSNormReplacement(Replacement):
    """FusedRMSNorm and MixedFusedRMSNorm become a root mean square norm of plain operations on the same weight."""

    name = "fused-rms-norm"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``."""
        return defined_by(module, "forward") in _RMS_NORMS

    def replace(self, module: nn.Module) -> nn.Module:
        """A norm that borrows the weight."""
        old: Any = module
        new: Any = RMSNorm(list(_normalized_shape(old)), eps=old.eps, elementwise_affine=False)
        if old.weight is not None:
            new.elementwise_affine = True
            new.weight = borrowed(old.weight)
        return new  # type: ignore[no-any-return]

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A few rows."""
        return (_rows(module),)


def _normalized_shape(module: Any) -> tuple[int, ...]:
    shape = getattr(module, "normalized_shape", None)
    return tuple(module.weight.shape if shape is None else shape)


def _rows(module: Any) -> torch.Tensor:
    like = torch.empty(0) if module.weight is None else module.weight
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, *_normalized_shape(module), generator=generator).to(like)
