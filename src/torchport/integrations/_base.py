"""What an integration with another library may add: hooks that its modules spell differently, and a context to capture them in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch

__all__ = ["Integration", "inherits"]


def inherits(module: object, names: frozenset[str]) -> bool:
    """Whether the module's class descends from one of these qualified names; nothing is imported to find out."""
    return any(f"{one.__module__}.{one.__qualname__}" in names for one in type(module).__mro__)


class Integration:
    """Knows one library by name. The base knows none and changes nothing.

    Attributes:
        name: What the library is called.
        speaks_for_its_modules: Its modules have hooks of the same names that mean something else: `hooks` and `prepare` are used
            instead of them, and the modules' own ``_prepare_for_export`` is not called.
    """

    name = "torch"
    speaks_for_its_modules: ClassVar[bool] = False

    def matches(self, module: object) -> bool:
        """Whether ``module`` comes from this library; must not import it."""
        return True

    def hooks(self, module: Any) -> Mapping[str, Any]:
        """Values of hooks that the library spells differently: ``input_example``, ``input_types``, ``output_types``, ``dynamic_axes``.

        An integration that speaks for its modules may also give ``forward``, a function that is exported instead of the method.
        """
        return {}

    def metadata(self, module: Any, subnet: str, part: Any) -> Mapping[str, Any]:
        """What the library knows of an artifact's use, by the keys of the metadata's schema; a hook of the model's own wins over it.

        Args:
            module: The model that is exported.
            subnet: The name of its part that becomes the artifact; ``self`` for the model itself.
            part: That part.
        """
        return {}

    def prepare(self, module: Any, *, swaps: bool) -> None:
        """Makes ``module`` ready for the capture, in place; whatever it changes is undone afterwards.

        Args:
            module: The module.
            swaps: Whether known modules are swapped after this.
        """

    @contextlib.contextmanager
    def capturing(self, module: torch.nn.Module) -> Iterator[None]:
        """Wraps the capture of ``module``."""
        yield
