"""Optional packages are imported at use; an absent one names the extra that installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from torchport.errors import MissingDependencyError

__all__ = ["require"]


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Imports ``module``, or says which extra brings it.

    Args:
        module: The module to import (``"lightning"``).
        extra: The extra of torchport that installs it (``"speaker"``).
        purpose: What it is needed for, as the end of "needed to …".

    Raises:
        MissingDependencyError: The module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module!r} is needed to {purpose}",
            found=str(error),
            hint=f"pip install 'torchport[{extra}]'",
        ) from error
