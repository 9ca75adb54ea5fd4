"""For test suites: assert that a model can be exported. Importing this imports no torch: pytest does it at every start."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torchport.errors import NotExportableError

if TYPE_CHECKING:
    from torchport.testing._assertion import assert_exportable
    from torchport.testing._failures import FormatFailure

__all__ = [
    "assert_exportable",
    # what it raises
    "NotExportableError",
    "FormatFailure",
]

_LAZY = {"FormatFailure": "_failures", "assert_exportable": "_assertion"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"torchport.testing.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
