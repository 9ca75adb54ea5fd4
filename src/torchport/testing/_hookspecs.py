"""The hooks that a ``conftest.py`` may define for ``pytest --exportables``."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookspec(firstresult=True)
def pytest_torchport_make(cls: type) -> Any:
    """Makes the instance, or the instances, of an exportable class that are tested.

    ``pytest.skip(reason)`` in here leaves the class out, which is reported.

    Args:
        cls: The class.

    Returns:
        A module; a list of modules; a dict from name to module; ``None`` leaves it to others: other hooks, then the class's own
        ``exportable_instances()``, then the constructor without arguments.

    Example:
        >>> def pytest_torchport_make(cls):
        ...     if cls.__name__ == "Encoder":
        ...         return {"small": cls(width=8), "wide": cls(width=64)}
    """
