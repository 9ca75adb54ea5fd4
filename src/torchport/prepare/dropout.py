"""Dropout does nothing at inference; it goes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchport.prepare.replacement import Replacement, defined_by, passthrough

__all__ = ["DropoutReplacement"]

_KINDS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_FORWARDS = frozenset(f"{kind.__module__}.{kind.__qualname__}" for kind in _KINDS)


class DropoutReplacement(Replacement):
    """The dropout family becomes an identity where the module is in eval mode; one that is kept training (Monte Carlo dropout) stays."""

    name = "dropout"
    cleanup = True

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``, in eval mode."""
        return not module.training and defined_by(module, "forward") in _FORWARDS

    def replace(self, module: nn.Module) -> nn.Module:
        """An identity that still knows ``p``: models read it."""
        return passthrough(module)

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """Any tensor of the right rank."""
        rank = next((rank for kind, rank in ((nn.Dropout1d, 3), (nn.Dropout2d, 4), (nn.Dropout3d, 5)) if isinstance(module, kind)), 2)
        return (torch.ones((2,) * rank),)
