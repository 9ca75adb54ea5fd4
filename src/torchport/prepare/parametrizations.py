"""Weights that are computed at every call (weight norm, spectral norm) become plain ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from torchport.prepare.replacement import Reference, Replacement, Stage, shell

__all__ = ["HookNormReplacement", "ParametrizationReplacement"]


class HookNormReplacement(Replacement):
    """``torch.nn.utils.weight_norm`` and ``spectral_norm``, the ones made of hooks: the hook goes, the weight that it computes stays."""

    name = "hook-norm"
    stage = Stage.REPARAMETRIZE
    cleanup = True
    carries_hooks = False

    def matches(self, module: nn.Module) -> bool:
        """By its hooks; spectral norm only in eval mode, where its vectors rest."""
        hooks = _own_hooks(module)
        return bool(hooks) and not (module.training and any(isinstance(hook, SpectralNorm) for hook in hooks.values()))

    def replace(self, module: nn.Module) -> nn.Module:
        """The same module with the computed weight as a parameter."""
        new = shell(module, type(module))
        for key, hook in _own_hooks(module).items():
            del new._forward_pre_hooks[key]
            with torch.no_grad():
                value = _computed(hook, module).clone()
            parts = ("_g", "_v") if isinstance(hook, WeightNorm) else ("_orig",)
            for part in parts:
                del new._parameters[hook.name + part]
            vars(new).pop(hook.name, None)
            if isinstance(hook, SpectralNorm):
                for part in ("_u", "_v"):
                    new._buffers.pop(hook.name + part, None)
            _put_first(new, hook.name, value)
        return new

    def reference(self, module: nn.Module) -> Reference:
        """``forward`` after the norm's own hooks, as a call of the module runs it."""

        def run(*args: Any, **kwargs: Any) -> Any:
            for hook in _own_hooks(module).values():
                hook(module, args)
            return module.forward(*args, **kwargs)

        return run


def _own_hooks(module: nn.Module) -> dict[int, WeightNorm | SpectralNorm]:
    return {key: hook for key, hook in module._forward_pre_hooks.items() if isinstance(hook, (WeightNorm, SpectralNorm))}


def _computed(hook: WeightNorm | SpectralNorm, module: nn.Module) -> torch.Tensor:
    rest = {"do_power_iteration": False} if isinstance(hook, SpectralNorm) else {}
    value: torch.Tensor = hook.compute_weight(module, **rest)
    return value


class ParametrizationReplacement(Replacement):
    """torch's own parametrizations (weight norm, spectral norm, orthogonal): the weight that they compute becomes a parameter."""

    name = "parametrization"
    stage = Stage.REPARAMETRIZE
    cleanup = True

    def matches(self, module: nn.Module) -> bool:
        """Every parametrization of the module is torch's own, and rests."""
        if not parametrize.is_parametrized(module) or module.training:
            return False
        lists: Any = module.parametrizations
        return all(type(part).__module__ == parametrizations.__name__ for chain in lists.values() for part in chain)

    def replace(self, module: nn.Module) -> nn.Module:
        """A module of the class from before, with plain parameters."""
        lists: Any = module.parametrizations
        new: nn.Module = shell(module, type(module).__mro__[1])
        del new._modules["parametrizations"]
        for name in reversed(list(lists)):
            with torch.no_grad():
                _put_first(new, name, getattr(module, name).clone())
        return new


def _put_first(module: nn.Module, name: str, value: torch.Tensor) -> None:
    """Registers a frozen parameter before the others, where a weight usually stands."""
    others = dict(module._parameters)
    module._parameters.clear()
    setattr(module, name, nn.Parameter(value, requires_grad=False))
    others.pop(name, None)
    module._parameters.update(others)
