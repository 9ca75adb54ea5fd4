"""What the states of a recurrent network hold: values that only such a network can have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchport.ports.element import ElementType

if TYPE_CHECKING:
    import torch

__all__ = ["RecurrentState"]


class RecurrentState(ElementType):
    """Hidden and cell states of a recurrent network: hidden ones lie within one, and cell states grow by one a step at most."""

    dtype, kinds = "float32", frozenset({"float"})

    def sample(self, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
        """Values within one; every other row starts afresh, at zero."""
        import torch

        made = torch.tanh(torch.randn(shape, generator=generator))
        if len(shape) == 3:
            made[:, 1::2] = 0.0
        return made.to(dtype)
