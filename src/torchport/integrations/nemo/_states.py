"""What the states and caches of NeMo's modules hold: values that only the modules themselves can have made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchport.models.speech._states import RecurrentState
from torchport.ports.element import ElementType

if TYPE_CHECKING:
    import torch

__all__ = ["CacheLength", "RecurrentState"]


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
