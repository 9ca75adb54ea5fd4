"""Between torch tensors and numpy arrays, without losing a dtype."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import torch

from torchport.verification._records import Array

__all__ = ["to_array", "to_arrays", "to_tensor"]


def to_array(tensor: torch.Tensor) -> Array:
    """A numpy array of its own memory, with the tensor's dtype (bfloat16 as ``ml_dtypes.bfloat16``)."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        bits: Array = np.array(tensor.contiguous().view(torch.int16).numpy())
        return bits.view(ml_dtypes.bfloat16)
    return np.array(tensor.numpy())


def to_arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    """``to_array`` over a mapping."""
    return {name: to_array(tensor) for name, tensor in tensors.items()}


def to_tensor(array: Array) -> torch.Tensor:
    """The tensor of an array that ``to_array`` made."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(np.array(array.view(np.int16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))
