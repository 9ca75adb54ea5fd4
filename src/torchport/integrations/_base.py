"""What an integration with another library may add: hooks that its modules spell differently, and a context to capture them in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Integration", "inherits"]


def inherits(module: object, names: frozenset[str]) -> bool:
    """Whether the module's class descends from one of these qualified names; nothing is imported to find out."""
    return any(f"{one.__module__}.{one.__qualname__}" in names for one in type(module).__mro__)


class Integration:
    """Knows one library by name. The base knows none and changes nothing."""

    name = "torch"

    def matches(self, module: object) -> bool:
        """Whether ``module`` comes from this library; must not import it."""
        return True

    def hooks(self, module: Any) -> Mapping[str, Any]:
        """Values of hooks that the library spells differently: ``input_example``, ``input_types``, ``output_types``, ``dynamic_axes``."""
        return {}

    @contextlib.contextmanager
    def capturing(self, module: torch.nn.Module) -> Iterator[None]:
        """Wraps the capture of ``module``."""
        yield
