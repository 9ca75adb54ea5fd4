"""Linears that are split over devices (Apex, Megatron) become plain ones where they are whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchport.prepare.replacement import Replacement, borrowed, defined_by

__all__ = ["LinearWithBias", "ParallelLinearReplacement"]

_COLUMN = frozenset(
    {
        "apex.transformer.tensor_parallel.layers.ColumnParallelLinear",
        "megatron.core.tensor_parallel.layers.ColumnParallelLinear",
        "megatron.mpu.layers.ColumnParallelLinear",
    }
)
_ROW = frozenset(
    {
        "apex.transformer.tensor_parallel.layers.RowParallelLinear",
        "megatron.core.tensor_parallel.layers.RowParallelLinear",
        "megatron.mpu.layers.RowParallelLinear",
    }
)


class LinearWithBias(nn.Linear):
    """A linear that answers ``(output, bias)``: the bias is handed on instead of added where ``skip_bias_add`` says so.

    Args:
        skip_bias_add: Whether the caller adds the bias.
    """

    def __init__(self, in_features: int, out_features: int, *, skip_bias_add: bool) -> None:
        super().__init__(in_features, out_features, bias=False, device="meta")
        self.skip_bias_add = skip_bias_add

    def forward(  # type: ignore[override]
        self, input_: torch.Tensor, weight: torch.Tensor | None = None, runtime_gather_output: bool | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Multiplies by ``weight``, or by the module's own."""
        used = self.weight if weight is None else weight
        if self.skip_bias_add:
            return nn.functional.linear(input_, used), self.bias
        return nn.functional.linear(input_, used, self.bias), None


class ParallelLinearReplacement(Replacement):
    """RowParallelLinear and ColumnParallelLinear become a linear on the same weights.

    Only where this process holds the whole weight: a part of it cannot stand for the layer.
    """

    name = "parallel-linear"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``, and by the sizes."""
        owner = defined_by(module, "forward")
        old: Any = module
        if owner in _COLUMN:
            whole = old.output_size_per_partition == old.output_size
        elif owner in _ROW:
            whole = old.input_size_per_partition == old.input_size
        else:
            return False
        return bool(whole) and not (getattr(old, "sequence_parallel", False) or getattr(old, "sequence_parallel_enabled", False))

    def replace(self, module: nn.Module) -> nn.Module:
        """A linear that borrows weight and bias."""
        old: Any = module
        new: Any = LinearWithBias(old.input_size, old.output_size, skip_bias_add=bool(old.skip_bias_add))
        new.weight = borrowed(old.weight)  # Megatron allows None: the weight comes with the call
        new.bias = borrowed(old.bias)
        return new  # type: ignore[no-any-return]

    def probe(self, module: nn.Module) -> tuple[Any, ...] | None:
        """Sequence, batch, hidden."""
        old: Any = module
        if old.weight is None:
            return None
        return (torch.randn(5, 2, old.input_size, generator=torch.Generator().manual_seed(0)).to(old.weight),)
