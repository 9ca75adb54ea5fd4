"""What goes from one call to the next: values that only the networks themselves can have made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchport.ports.element import ElementType

if TYPE_CHECKING:
    import torch

__all__ = ["CacheLength", "RecurrentState"]


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


class CacheLength(ElementType):
    """How many rows of a cache are filled, from none to all.

    Args:
        rows: How many rows the cache has.
    """

    dtype, kinds = "int64", frozenset({"int"})

    def __init__(self, rows: int = 1) -> None:
        self.rows = rows

    @property
    def type_parameters(self) -> dict[str, Any]:
        """The rows of the cache."""
        return {"rows": self.rows}

    def sample(self, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
        """Some rows; the first item of several is full, the last one empty."""
        import torch

        made = torch.randint(0, self.rows + 1, shape, generator=generator)
        if made.numel() > 1:
            made.view(-1)[0], made.view(-1)[-1] = self.rows, 0
        return made.to(dtype)
