"""torch's own multi-head attention, with its projections cut apart as exporters follow them: a trace keeps its axes as long as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Optional, Tuple  # noqa: UP035

import torch
from torch import nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # public, but not in the hints
from torch.nn import functional as F

from torchport.prepare.masked_layers import derived
from torchport.prepare.replacement import Replacement, defined_by

__all__ = ["MultiheadAttentionReplacement", "answers_of_fast_paths", "separate_kernels"]

_TORCH = "torch.nn.modules.activation.MultiheadAttention"


@contextlib.contextmanager
def separate_kernels() -> Iterator[None]:
    """Inside, a transformer layer of ``torch.nn`` calls its parts; else it is one opaque operator that no format knows."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def answers_of_fast_paths(module: nn.Module) -> list[str]:
    """What to know of transformer encoders whose own fast path gives other numbers than their layers do.

    In ``nn.TransformerEncoder`` (torch 2.13) a padding mask packs the batch as nested tensors when no gradient is asked for, and what the
    mask hides comes back as 0. With gradients on, or with ``torch.backends.mha.set_fastpath_enabled(False)``, the layers answer there, too.
    """
    return [
        f"{name or 'the model'}: where a padding mask hides a position, torch's fast path answers 0 under no_grad; the artifact answers "
        "what the model does with gradients on, and the same everywhere else"
        for name, part in module.named_modules()
        if isinstance(part, nn.TransformerEncoder) and getattr(part, "use_nested_tensor", False)
    ]


class MultiheadAttentionReplacement(Replacement):
    """``nn.MultiheadAttention`` with the heads split by plain reshapes.

    torch cuts the packed projection with a view that the trace-based exporter writes with the traced length in it, and calls a kernel that
    opset 13 does not have. Elsewhere the kernel stays.
    """

    name = "multihead-attention"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``."""
        return defined_by(module, "forward") == _TORCH

    def replace(self, module: nn.Module) -> nn.Module:
        """The same weights, another forward."""
        return derived(module, forward=_forward)

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A few queries of two sentences, to themselves."""
        attention: Any = module
        x = torch.randn(2, 5, attention.embed_dim, generator=torch.Generator().manual_seed(0)).to(attention.out_proj.weight)
        if attention._qkv_same_embed_dim:
            return x, x, x
        return x, x.new_ones(2, 5, attention.kdim), x.new_ones(2, 5, attention.vdim)


def _forward(
    self: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: Optional[torch.Tensor] = None,  # noqa: UP045 - the compiler of scripts reads no other spelling
    need_weights: bool = True,
    attn_mask: Optional[torch.Tensor] = None,  # noqa: UP045
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:  # noqa: UP006, UP045
    if is_scripting():  # pragma: no cover - compiled, not run: a script calls torch's own function, which it knows
        flip = self.batch_first and query.dim() == 3
        if flip:
            query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        answer, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return answer.transpose(0, 1) if flip else answer, weights
    else:
        return _plain(self, query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)


def _plain(
    self: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: torch.Tensor | None,
    need_weights: bool,
    attn_mask: torch.Tensor | None,
    average_attn_weights: bool,
    is_causal: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if is_causal and attn_mask is None:
        raise RuntimeError("is_causal is a hint about attn_mask, which is missing")
    alone = query.dim() == 2
    packed = query is key and key is value
    query, key, value = (_batch_first(one, alone, self.batch_first) for one in (query, key, value))
    q, k, v = (_heads(one, self.num_heads) for one in _extended(self, *_projected(self, packed, query, key, value)))
    causal = is_causal and key_padding_mask is None and not need_weights
    padding = key_padding_mask[None] if alone and key_padding_mask is not None else key_padding_mask
    own = (self.bias_k is not None) + self.add_zero_attn
    bias = None if causal else _bias(q, attn_mask, padding, own)
    answer, weights = _attended(q * self.head_dim**-0.5, k, v, bias, causal, need_weights, self.dropout if self.training else 0.0)
    answer = F.linear(answer.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
    answer = answer.squeeze(0) if alone else answer if self.batch_first else answer.transpose(0, 1)
    if weights is None:
        return answer, None
    weights = weights.mean(1) if average_attn_weights else weights
    return answer, weights.squeeze(0) if alone else weights


def _batch_first(x: torch.Tensor, alone: bool, batch_first: bool) -> torch.Tensor:
    return x.unsqueeze(0) if alone else x if batch_first else x.transpose(0, 1)


def _projected(
    self: Any, packed: bool, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values: (batch, time, size)."""
    bias = self.in_proj_bias
    if packed and self._qkv_same_embed_dim:
        q, k, v = F.linear(query, self.in_proj_weight, bias).chunk(3, dim=-1)
        return q, k, v
    weights = self.in_proj_weight.chunk(3) if self._qkv_same_embed_dim else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    q, k, v = (F.linear(x, *own) for x, *own in zip((query, key, value), weights, biases, strict=True))
    return q, k, v


def _extended(self: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys and values with the learned one and the one of zeros that the module adds to every sentence."""
    if self.bias_k is not None:
        k = torch.cat([k, self.bias_k.expand(k.shape[0], 1, k.shape[2])], dim=1)
        v = torch.cat([v, self.bias_v.expand(v.shape[0], 1, v.shape[2])], dim=1)
    if self.add_zero_attn:
        k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
    return q, k, v


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(batch, time, size) as (batch, head, time, size of a head)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _bias(q: torch.Tensor, mask: torch.Tensor | None, padding: torch.Tensor | None, own: int) -> torch.Tensor | None:
    """What is added to the scores (batch, head, queries, keys); the keys that the module has of its ``own`` are always seen."""
    if mask is not None:
        mask = _additive(mask, q)
        mask = mask.reshape(q.shape[0], q.shape[1], *mask.shape[1:]) if mask.dim() == 3 else mask[None, None]
    if padding is not None:
        padding = _additive(padding, q)[:, None, None]
        mask = padding if mask is None else mask + padding
    return F.pad(mask, (0, own)) if mask is not None and own else mask


def _additive(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if mask.dtype is not torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))


def _attended(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None, causal: bool, need_weights: bool, dropout: float
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What every head answers to scaled queries, and its weights where they are asked for."""
    if not need_weights and not torch.onnx.is_in_onnx_export():
        return F.scaled_dot_product_attention(q, k, v, bias, dropout, causal, scale=1.0), None
    scores = torch.matmul(q, k.transpose(-2, -1))
    if causal:
        later = torch.arange(k.shape[2], device=q.device) > torch.arange(q.shape[2], device=q.device).unsqueeze(1)
        scores = scores.masked_fill(later, float("-inf"))
    scores = scores if bias is None else scores + bias
    weights = F.dropout(torch.softmax(scores, dim=-1), dropout, training=dropout > 0)
    if need_weights:
        return torch.matmul(weights, v), weights
    if bias is not None:  # as the kernel: a query that sees nothing answers nothing
        weights = weights.masked_fill((scores == float("-inf")).all(dim=-1, keepdim=True), 0.0)
    return torch.matmul(weights, v), None
