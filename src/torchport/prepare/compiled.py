"""What ``torch.compile`` made runs as the Python module that it was made from: that is what is exported, and what it is held against."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

__all__ = ["eager_original", "run_eagerly"]


def eager_original(module: nn.Module) -> nn.Module:
    """The module that ``torch.compile(module)`` wraps; any other module itself, and one whose wrapper has hooks of its own."""
    # Whoever compiled a module has loaded the compiler; nobody else needs it.
    wrapper: Any = getattr(sys.modules.get("torch._dynamo"), "OptimizedModule", None)
    while wrapper is not None and isinstance(module, wrapper) and not (module._forward_hooks or module._forward_pre_hooks):
        module = module._orig_mod  # the public way out of torch.compile has no other spelling as of torch 2.13
    return module


def run_eagerly(root: nn.Module) -> None:
    """Puts the originals of compiled parts in their places, ``module.compile()`` included; for use inside of `kept_as_found`.

    Args:
        root: The model; not wrapped itself, see `eager_original`.
    """
    ahead = [root]
    seen: set[int] = set()
    while ahead:
        module = ahead.pop()
        if id(module) in seen or isinstance(module, torch.jit.ScriptModule):
            continue
        seen.add(id(module))
        if module._compiled_call_impl is not None:
            module._compiled_call_impl = None
        for name, child in list(module._modules.items()):
            if child is not None:
                original = eager_original(child)
                if original is not child:
                    module._modules[name] = original
                ahead.append(original)
