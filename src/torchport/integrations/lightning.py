"""Lightning modules: while they are captured, their ``trainer`` property must not be asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torchport.integrations._base import Integration, inherits

if TYPE_CHECKING:
    import torch

__all__ = ["Lightning"]

_NAMES = frozenset({"lightning.pytorch.core.module.LightningModule", "pytorch_lightning.core.module.LightningModule"})


class Lightning(Integration):
    """Captures a LightningModule that has no trainer."""

    name = "lightning"

    def matches(self, module: object) -> bool:
        """By the class's name."""
        return inherits(module, _NAMES)

    def hooks(self, module: Any) -> Mapping[str, Any]:
        """Lightning's ``example_input_array`` serves as the example."""
        example = module.example_input_array
        return {} if example is None else {"input_example": example}

    @contextlib.contextmanager
    def capturing(self, module: torch.nn.Module) -> Iterator[None]:
        """Answers ``None`` for ``trainer`` instead of raising, as Lightning's own exporters do, but on these instances only."""
        marked = [one.__dict__ for one in module.modules() if self.matches(one) and "_jit_is_scripting" not in one.__dict__]
        for attributes in marked:
            attributes["_jit_is_scripting"] = True
        try:
            yield
        finally:
            for attributes in marked:
                del attributes["_jit_is_scripting"]
