"""One tensor that an example needs: what example makers hand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchport.errors import PortError
from torchport.ports.extremes import Extreme
from torchport.ports.port import Port

if TYPE_CHECKING:
    import torch

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """One tensor to make.

    Attributes:
        name: The input's name.
        port: Its port.
        shape: The shape wanted.
        generator: Where the randomness comes from; each input has its own.
        dtype: The dtype wanted.
        example: The caller's tensor, or ``None``.
        ragged: Whether lengths in a batch differ.
        extreme: Which end of what the port takes is wanted; ``None`` for usual values.
    """

    name: str
    port: Port
    shape: tuple[int, ...]
    generator: torch.Generator
    dtype: torch.dtype
    example: torch.Tensor | None
    ragged: bool
    extreme: Extreme | None = None

    @property
    def seen(self) -> torch.Tensor:
        """The caller's tensor.

        Raises:
            PortError: There is none.
        """
        if self.example is None:
            raise PortError("an example is needed", where=self.name)
        return self.example.detach()
