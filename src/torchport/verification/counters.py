"""The single numbers that a model keeps beside its weights: one that grows from run to run is a counter, and may turn the answer later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

__all__ = ["FAR_COUNTS", "KeptNumbers"]

FAR_COUNTS = (100, 1_000, 1_000_000)
"""Counts that a model is asked at, whose count grows with every run."""


class KeptNumbers:
    """Reads and writes the numbers of a model and its parts: plain attributes, buffers and parameters of one number.

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
            tensors = {**dict(one.named_buffers(recurse=False)), **dict(one.named_parameters(recurse=False))}
            for name, value in {**vars(one), **tensors}.items():
                if type(value) in (int, float):
                    kept[f"{prefix}.{name}".lstrip(".")] = value
                elif isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex() and not value.is_meta:
                    kept[f"{prefix}.{name}".lstrip(".")] = value.item()
        return kept

    def grown(self, before: Mapping[str, float]) -> list[str]:
        """The names of the numbers that are greater than they were."""
        return [name for name, now in self.read().items() if name in before and now > before[name]]

    def write(self, names: Iterable[str], number: float) -> None:
        """Sets numbers, each as far as its type goes.

        Raises:
            Exception: Whatever the model's own code says to that.
        """
        for name in names:
            owner, _, attribute = name.rpartition(".")
            module = self._module.get_submodule(owner)
            value = getattr(module, attribute)
            if isinstance(value, torch.Tensor):
                most = number if value.is_floating_point() or value.dtype is torch.bool else torch.iinfo(value.dtype).max
                with torch.no_grad():
                    value.fill_(min(number, most))
            else:
                setattr(module, attribute, type(value)(number))
