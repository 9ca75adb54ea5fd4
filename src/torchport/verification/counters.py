"""The single numbers that a model keeps beside its weights: one that grows from run to run is a counter, and may turn the answer later."""

from __future__ import annotations

import torch

__all__ = ["FAR_COUNTS", "KeptNumbers"]

FAR_COUNTS = (100, 1_000, 1_000_000)
"""Counts that a model is asked at, whose count grows with every run."""


class KeptNumbers:
    """Reads and writes the numbers of a model and its parts: plain attributes, and buffers of one number.

    Args:
        module: The model; whoever writes puts it back.

    Example:
        >>> layer = torch.nn.BatchNorm1d(4)
        >>> KeptNumbers(layer).read()["num_batches_tracked"]
        0
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module

    def read(self) -> dict[str, float]:
        """Every number by its qualified name."""
        kept: dict[str, float] = {}
        for prefix, one in self._module.named_modules():
            for name, value in {**vars(one), **dict(one.named_buffers(recurse=False))}.items():
                if type(value) in (int, float):
                    kept[f"{prefix}.{name}".lstrip(".")] = value
                elif isinstance(value, torch.Tensor) and value.dim() == 0 and not value.is_complex():
                    kept[f"{prefix}.{name}".lstrip(".")] = value.item()
        return kept

    def write(self, name: str, number: float) -> None:
        """Sets one number."""
        owner, _, attribute = name.rpartition(".")
        module = self._module.get_submodule(owner)
        value = getattr(module, attribute)
        if isinstance(value, torch.Tensor):
            value.fill_(number)
        else:
            setattr(module, attribute, type(value)(number))
