"""A batch norm in eval mode is a scale and a shift: they fold into the convolution or linear before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchport.prepare.convolutions import BatchNorm1dAs2d, Conv1dAs2d, ConvTranspose1dAs2d
from torchport.prepare.replacement import PairReplacement, defined_by, shell

__all__ = ["BatchNormFolding"]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FIRST = frozenset(
    f"{kind.__module__}.{kind.__qualname__}"
    for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED, Conv1dAs2d, ConvTranspose1dAs2d)
)
_SECOND = frozenset(
    f"{kind.__module__}.{kind.__qualname__}" for kind in (nn.modules.batchnorm._BatchNorm, nn.SyncBatchNorm, BatchNorm1dAs2d)
)


class BatchNormFolding(PairReplacement):
    """A batch norm folds into the convolution, transposed convolution or linear before it, its statistics being frozen."""

    name = "batch-norm-folding"

    def matches(self, module: nn.Module) -> bool:
        """A batch norm in eval mode with running statistics."""
        if module.training or defined_by(module, "forward") not in _SECOND:
            return False
        return not _hooked(module) and isinstance(vars(module)["_buffers"].get("running_mean"), torch.Tensor)

    def matches_first(self, module: nn.Module) -> bool:
        """A convolution or linear with a plain weight."""
        if defined_by(module, "forward") not in _FIRST or _hooked(module):
            return False
        if isinstance(module, nn.modules.conv._ConvNd) and "_conv_forward" in vars(module):
            return False
        return isinstance(module._parameters.get("weight"), nn.Parameter)

    def fits(self, first: nn.Module, second: nn.Module, between: torch.Tensor) -> bool:
        """The channels agree; a linear has its channels last, so only rows fold."""
        one: Any = first
        two: Any = second
        if isinstance(first, nn.Linear):
            return bool(between.dim() == 2 and one.out_features == two.num_features)
        return bool(one.out_channels == two.num_features and one.weight.dtype == between.dtype)

    def replace_pair(self, first: nn.Module, second: nn.Module) -> nn.Module:
        """The first with scaled weights and a bias; its own weights stay untouched."""
        one: Any = first
        two: Any = second
        new: Any = shell(first, type(first))
        weight = one.weight.detach()
        with torch.no_grad():
            scale = torch.rsqrt(two.running_var.double() + two.eps)
            if two.weight is not None:
                scale = scale * two.weight.double()
            shift = -two.running_mean.double() * scale
            if two.bias is not None:
                shift = shift + two.bias.double()
            if one.bias is not None:
                shift = shift + one.bias.double() * scale
            scaled = weight * _along_outputs(scale.to(weight.dtype), weight, one)
        new._parameters["weight"] = nn.Parameter(scaled, requires_grad=False)
        new._parameters["bias"] = nn.Parameter(shift.to(weight.dtype), requires_grad=False)
        return new  # type: ignore[no-any-return]


def _along_outputs(scale: torch.Tensor, weight: torch.Tensor, module: Any) -> torch.Tensor:
    """``scale`` in the shape that multiplies each output channel of ``weight``.

    A transposed convolution keeps its weight as (inputs, outputs of a group, …), the groups one after another along the inputs.
    """
    rest = [1] * (weight.dim() - 2)
    if not isinstance(module, _TRANSPOSED):
        return scale.reshape(-1, 1, *rest)
    each = scale.reshape(module.groups, -1).repeat_interleave(weight.shape[0] // module.groups, dim=0)
    return each.reshape(weight.shape[0], -1, *rest)


def _hooked(module: nn.Module) -> bool:
    """Whether somebody watches or changes what flows through."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)
