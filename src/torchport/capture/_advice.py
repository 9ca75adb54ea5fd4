"""What a strategy is known not to take, said in place of the exporter's own words, and what to try instead."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["advice_on", "compiled_part"]


def compiled_part(module: nn.Module) -> str | None:
    """The first part of the model that is TorchScript already, in words; ``None`` where there is none."""
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            return f"`{path}`, a part of the model," if path else "the model"
    return None


def advice_on(module: nn.Module, strategy: str, others: str) -> str | None:
    """What to try after ``strategy`` failed.

    Args:
        module: The model.
        strategy: The strategy's name.
        others: The extensions of formats that are captured in other ways, in words; empty where there are none.
    """
    if compiled_part(module) is not None:
        return "export the Python module that it was compiled from, or write a TorchScript file (.ts)"
    recurrent = [(path, part) for path, part in module.named_modules() if isinstance(part, nn.RNNBase)]
    if strategy == "torch_export" and recurrent and others:
        path, part = recurrent[0]
        limits = "fixes its steps at those of the example, and does not follow packed sequences"
        return f"torch.export looks into nn.{type(part).__name__}{f' `{path}`' if path else ''}, {limits}: write {others}"
    return f"a file of another kind is captured in other ways: {others}" if others else None
