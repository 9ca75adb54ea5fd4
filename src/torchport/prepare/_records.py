"""What preparing returns: the module, ready to be captured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torchport.ports import Signature
from torchport.ports.limits import Limits

if TYPE_CHECKING:
    import torch

__all__ = ["Prepared", "Swap"]


@dataclass(frozen=True)
class Swap:
    """One swapped module: where it was, what it became, how equal the two are.

    Attributes:
        path: The module's qualified name; ``""`` is the root.
        old: The type's name before.
        new: The type's name after.
        worst_error: Largest difference, relative to the output's scale, on the tensors that reached it; ``None`` where nothing reached it.
    """

    path: str
    old: str
    new: str
    worst_error: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A module that takes and gives flat tensors, ready to be captured.

    Attributes:
        module: The model. Its instance's ``forward`` takes the tensors of ``signature.inputs`` positionally (``inspect.signature`` shows
            their names) and returns the tensors of ``signature.outputs``: the tensor itself where there is one, a tuple of more.
        signature: The graph's ports, resolved: every axis has a size or is dynamic under its symbol.
        example: The tensors to trace with, by name, in the order of ``signature.inputs``.
        native_forward: The model's own forward (``forward_for_export`` where there is one), bound, unflattened: what scripting compiles.
        swaps: What was swapped.
        limits: Sizes outside of which the untouched model was found to refuse: the artifact must fail there, too.
        metadata: What the model says of the artifact's use, as the document of the metadata's schema; empty where it says nothing.
    """

    module: torch.nn.Module
    signature: Signature
    example: Mapping[str, torch.Tensor]
    native_forward: Callable[..., Any]
    swaps: tuple[Swap, ...] = ()
    limits: Limits = field(default_factory=Limits)
    metadata: Mapping[str, Any] = field(default_factory=dict)
