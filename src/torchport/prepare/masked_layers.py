"""NeMo's masked convolution and squeeze-excite count frames by a table that a trace freezes; here they count anew at each call.

Found by qualified name: NeMo is not needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchport.prepare.replacement import Replacement, defined_by, shell

__all__ = ["MaskedConvolutionReplacement", "SqueezeExciteReplacement", "derived"]

_CONVOLUTION = "nemo.collections.asr.parts.submodules.jasper.MaskedConv1d"
_SQUEEZE_EXCITE = "nemo.collections.asr.parts.submodules.jasper.SqueezeExcite"


def derived(module: nn.Module, **methods: Any) -> nn.Module:
    """The module as an instance of a class of its own, derived from the module's, with these methods instead.

    Old and new have the same children, not copies: where one of them is swapped too, both have the new one, and still compute the same.
    """
    kind = type(module)
    new: nn.Module = shell(module, type(kind.__name__, (kind,), {**methods, "__module__": __name__}))
    vars(new)["_modules"] = module._modules
    return new


def _inside(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Which frames count: (batch, 1, time), of ``x`` (batch, channels, time)."""
    return (torch.arange(x.shape[-1], device=x.device) < lengths.to(x.device).unsqueeze(-1)).unsqueeze(1)


class MaskedConvolutionReplacement(Replacement):
    """A masked convolution that makes its mask of the sizes at hand."""

    name = "nemo-masked-convolution"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``, where the mask is on."""
        return defined_by(module, "forward") == _CONVOLUTION and bool(module.use_mask)

    def replace(self, module: nn.Module) -> nn.Module:
        """The same with the mask put on before."""
        convolve: Any = type(module).forward

        def forward(self: Any, x: torch.Tensor, lens: torch.Tensor) -> Any:
            return convolve(self, x * _inside(x, lens), lens)

        new: Any = derived(module, forward=forward)
        new.use_mask = False  # it is on already
        return new  # type: ignore[no-any-return]

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A few frames, one row shorter."""
        old: Any = module
        width = old.conv.in_channels if old.heads == -1 else old.heads
        frames = old.conv.dilation[0] * (old.conv.kernel_size[0] - 1) + 7
        x = torch.randn(2, width, frames, generator=torch.Generator().manual_seed(0)).to(old.conv.weight)
        return x, torch.tensor([frames, frames - 3], device=x.device)


class SqueezeExciteReplacement(Replacement):
    """A squeeze-excite block that makes its mask of the sizes at hand."""

    name = "nemo-squeeze-excite"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``, where it averages over all frames and computes in float32."""
        if defined_by(module, "forward") != _SQUEEZE_EXCITE:
            return False
        block: Any = module
        return block.fc[0].weight.dtype == torch.float32 and not (block.training and block.context_window >= 0)

    def replace(self, module: nn.Module) -> nn.Module:
        """The same average, gates and all, with another mask."""

        def forward(self: Any, x: torch.Tensor, lengths: torch.Tensor) -> Any:
            inside = _inside(x, lengths)
            wide = x.to(torch.float32).masked_fill(~inside, 0.0)
            mean = wide.sum(dim=-1, keepdim=True) / inside.sum(dim=-1, keepdim=True).to(torch.float32)
            gate = torch.sigmoid(self.fc(mean.transpose(1, -1)).transpose(1, -1))
            return (wide * gate).to(x.dtype), lengths

        return derived(module, forward=forward)

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A few frames, one row shorter."""
        block: Any = module
        x = torch.randn(2, block.fc[0].in_features, 7, generator=torch.Generator().manual_seed(0)).to(block.fc[0].weight)
        return x, torch.tensor([7, 4])
