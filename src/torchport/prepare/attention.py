"""The fused scale, mask and softmax of Apex and Megatron becomes plain operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from torchport.prepare.replacement import Replacement, defined_by

__all__ = ["FusedSoftmaxReplacement", "ScaleMaskSoftmax"]

_APEX = "apex.transformer.functional.fused_softmax.FusedScaleMaskSoftmax"
_MEGATRON = frozenset(
    {
        "megatron.core.fusions.fused_softmax.FusedScaleMaskSoftmax",
        "megatron.model.fused_softmax.FusedScaleMaskSoftmax",
        "megatron.legacy.model.fused_softmax.FusedScaleMaskSoftmax",
    }
)
_MATCHED = "nemo.collections.nlp.modules.common.megatron.fused_softmax.MatchedScaleMaskSoftmax"

MaskFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class ScaleMaskSoftmax(nn.Module):
    """Scales scores, masks them, takes the softmax over the last axis; in plain operations, so that no kernel is chosen by size.

    Args:
        scale: Factor of the scores, or ``None``.
        mask_func: Writes a mask into scores.
        wide: The dtype to compute in, or ``None`` for that of the scores.
        narrow: The dtype of the answer, or ``None`` for the one computed in.
        causal: Whether scores without a mask get the causal one.
        zero_masked_rows: Whether a row that is masked wholly answers zero.
    """

    def __init__(
        self,
        *,
        scale: float | None,
        mask_func: MaskFunction | None,
        wide: torch.dtype | None = None,
        narrow: torch.dtype | None = None,
        causal: bool = False,
        zero_masked_rows: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.mask_func = mask_func
        self.wide = wide
        self.narrow = narrow
        self.causal = causal
        self.zero_masked_rows = zero_masked_rows

    def forward(self, input: torch.Tensor, mask: torch.Tensor | None, softmax_offset: torch.Tensor | None = None) -> torch.Tensor:
        """Scores ``(batch, heads, queries, keys)`` to probabilities.

        ``softmax_offset`` (one number a head) takes part in the softmax as a further key that is dropped again.
        """
        scores = input if self.wide is None else input.to(self.wide)
        if self.scale is not None:
            scores = scores * self.scale
        if mask is None and self.causal and scores.size(2) > 1:
            ones = torch.ones(scores.size(2), scores.size(3), dtype=torch.bool, device=scores.device)
            mask = torch.triu(ones, diagonal=1)
        if mask is not None and self.mask_func is not None:
            if scores is input:
                scores = scores.clone()  # mask functions write in place
            scores = self.mask_func(scores, mask)
        if softmax_offset is None:
            probabilities = torch.softmax(scores, dim=-1)
        else:
            offset = softmax_offset.to(scores.device).reshape(1, -1, 1, 1).expand(scores.size(0), -1, scores.size(2), -1)
            probabilities = torch.softmax(torch.cat([scores, offset], dim=-1), dim=-1)[..., :-1]
        if self.zero_masked_rows and mask is not None:
            probabilities = probabilities * (~mask.all(dim=-1, keepdim=True)).to(probabilities.dtype)
        return probabilities if self.narrow is None else probabilities.to(self.narrow)


class FusedSoftmaxReplacement(Replacement):
    """FusedScaleMaskSoftmax (Apex, Megatron) and MatchedScaleMaskSoftmax (NeMo) become plain operations."""

    name = "fused-scale-mask-softmax"

    def matches(self, module: nn.Module) -> bool:
        """By the classes that define ``forward`` and the unfused path."""
        if defined_by(module, "forward") not in {_APEX, *_MEGATRON} or getattr(module, "window_size", None) is not None:
            return False
        return defined_by(module, "forward_torch_softmax") in {_APEX, *_MEGATRON, _MATCHED}

    def replace(self, module: nn.Module) -> nn.Module:
        """The module's own unfused path."""
        old: Any = module
        narrow = torch.float16 if old.input_in_fp16 else torch.bfloat16 if old.input_in_bf16 else None
        casts = narrow is not None and old.softmax_in_fp32
        return ScaleMaskSoftmax(
            scale=old.scale,
            mask_func=old.mask_func,
            wide=torch.float32 if casts else None,
            narrow=narrow if casts else None,
            causal=defined_by(module, "forward") in _MEGATRON and getattr(old.attn_mask_type, "name", "") == "causal",
            zero_masked_rows=defined_by(module, "forward_torch_softmax") == _MATCHED,
        )

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """Scores of two sentences, the last key of each masked."""
        old: Any = module
        scores = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))
        scores = scores.half() if old.input_in_fp16 else scores.bfloat16() if old.input_in_bf16 else scores
        mask = torch.zeros(2, 1, 5, 5, dtype=torch.bool)
        mask[..., -1] = True
        return scores, mask
