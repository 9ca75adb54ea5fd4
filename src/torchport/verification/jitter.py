"""Disturbs a model's rounding: every operation's result moves by up to one unit in the last place, at random, as in another runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_map  # until torch.utils.pytree is stable

from torchport.verification._mode import Mode

__all__ = ["Jitter", "run_with_jitter"]

_KEEPS = {
    "alias", "as_strided", "detach", "embedding", "expand", "gather", "index", "index_select", "permute", "select", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "_unsafe_view", "clone", "flip", "roll",
    "repeat", "cat", "stack", "where", "masked_fill", "relu", "max_pool2d_with_indices", "neg", "abs", "constant_pad_nd", "zeros", "ones",
    "full", "empty", "empty_like", "zeros_like", "ones_like", "full_like", "arange", "scalar_tensor", "lift_fresh", "_to_copy", "new_zeros",
    "new_full", "new_ones", "maximum", "minimum", "clamp", "amax", "amin", "sort", "topk", "masked_select", "_local_scalar_dense", "round",
    "floor", "ceil", "sign",
}  # fmt: skip
"""Operations that move or choose numbers exactly in every runtime: nothing to disturb."""


class Jitter(Mode):  # type: ignore[no-untyped-call]
    """Within this context results of floating-point operations carry one more rounding, in a random direction.

    Args:
        seed: Of the disturbance; torch's own random state is not touched.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def disturb(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, each value moved by up to one unit in the last place."""
        if not tensor.is_floating_point() or tensor.numel() == 0:
            return tensor
        sides = torch.randint(-1, 2, tensor.shape, generator=self._generator)
        return tensor * (1 + sides.to(tensor.dtype) * torch.finfo(tensor.dtype).eps)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one operation, then disturbs what it gave."""
        results = func(*args, **(kwargs or {}))
        schema = getattr(func, "_schema", None)
        if schema is not None and (
            schema.name.split("::")[-1] in _KEEPS or schema.is_mutable or any(one.alias_info for one in schema.returns)
        ):
            return results
        return tree_map(lambda leaf: self.disturb(leaf) if isinstance(leaf, torch.Tensor) else leaf, results)


def run_with_jitter(
    call: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]],
    inputs: Mapping[str, torch.Tensor],
    seed: int,
    *,
    zeros_too: bool = False,
    inputs_too: bool = True,
) -> dict[str, torch.Tensor]:
    """What the model answers when its inputs and every result on the way move by one unit in the last place.

    Where operations cannot be watched (a ``ScriptModule`` with fused kernels), the inputs alone are disturbed.

    Args:
        call: The model.
        inputs: Its inputs.
        seed: Of the disturbance.
        inputs_too: The inputs move as well; else what the runtime is given stays what the model is given.
        zeros_too: Inputs move by one unit in the last place of 1 at least: zeros, whose own last place is nowhere, move too.
    """
    mode = Jitter(seed)
    moved = {name: mode.disturb(tensor) if inputs_too else tensor for name, tensor in inputs.items()}
    if zeros_too:
        floats = {name: tensor for name, tensor in moved.items() if tensor.is_floating_point()}
        moved |= {name: tensor + (mode.disturb(torch.ones_like(tensor)) - 1) for name, tensor in floats.items()}
    try:
        with mode:
            return dict(call(moved))
    except Exception:  # noqa: BLE001 - whatever a foreign model raises when it is watched
        return dict(call(moved))
