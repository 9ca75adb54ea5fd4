"""Layers of torch with an operator of their own, which the trace-based ONNX exporter does not know: it sees plain operations instead."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # public, but not in the hints
from torch.nn import functional as F

from torchport.prepare.replacement import Replacement, defined_by, shell

__all__ = ["BilinearReplacement", "RMSNormReplacement"]


class _RMSNorm(nn.RMSNorm):
    """A root mean square norm; everywhere but in an ONNX export it is torch's own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if is_scripting():  # pragma: no cover - compiled, not run
            return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)
        else:
            return _rms_norm(x, self.normalized_shape, self.weight, self.eps)


def _rms_norm(x: torch.Tensor, shape: tuple[int, ...], weight: torch.Tensor | None, eps: float | None) -> torch.Tensor:
    if not torch.onnx.is_in_onnx_export():
        return F.rms_norm(x, shape, weight, eps)
    wide = x.to(torch.float32) if x.dtype in (torch.float16, torch.bfloat16) else x
    square = wide.pow(2).mean([-1 - index for index in range(len(shape))], keepdim=True)
    normed = wide * torch.rsqrt(square + (torch.finfo(x.dtype).eps if eps is None else eps))
    return (normed if weight is None else normed * weight).to(x.dtype)


class _Bilinear(nn.Bilinear):
    """A bilinear layer; everywhere but in an ONNX export it is torch's own."""

    def forward(self, input1: torch.Tensor, input2: torch.Tensor) -> torch.Tensor:
        if is_scripting():  # pragma: no cover - compiled, not run
            return F.bilinear(input1, input2, self.weight, self.bias)
        else:
            return _bilinear(input1, input2, self.weight, self.bias)


def _bilinear(one: torch.Tensor, other: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if not torch.onnx.is_in_onnx_export():
        return F.bilinear(one, other, weight, bias)
    products = torch.matmul(one.unsqueeze(-2).unsqueeze(-2), weight).squeeze(-2)  # (…, out, in of the other)
    answer = (products * other.unsqueeze(-2)).sum(-1)
    return answer if bias is None else answer + bias


class RMSNormReplacement(Replacement):
    """``nn.RMSNorm``: ONNX has an operator of it from opset 23 on only."""

    name = "rms-norm"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``."""
        return defined_by(module, "forward") == "torch.nn.modules.normalization.RMSNorm"

    def replace(self, module: nn.Module) -> nn.Module:
        """The same weight, another forward."""
        return shell(module, _RMSNorm)

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A few rows."""
        norm: Any = module
        return (torch.randn(3, *norm.normalized_shape, generator=torch.Generator().manual_seed(0)),)


class BilinearReplacement(Replacement):
    """``nn.Bilinear``: ONNX has no operator of it."""

    name = "bilinear"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``."""
        return defined_by(module, "forward") == "torch.nn.modules.linear.Bilinear"

    def replace(self, module: nn.Module) -> nn.Module:
        """The same weights, another forward."""
        return shell(module, _Bilinear)

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A few pairs."""
        layer: Any = module
        one = torch.randn(3, layer.in1_features, generator=torch.Generator().manual_seed(0)).to(layer.weight)
        return one, torch.randn(3, layer.in2_features, generator=torch.Generator().manual_seed(1)).to(layer.weight)
