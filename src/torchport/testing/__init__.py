"""For test suites: assert that a model can be exported. Importing this imports no torch: pytest does it at every start."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchport.errors import ExtensionError, NotExportableError
    from torchport.testing._assertion import assert_exportable
    from torchport.testing._extensions import assert_format, assert_replacement
    from torchport.testing._failures import FormatFailure
    from torchport.testing._targets import assert_target

__all__ = [
    "assert_exportable",
    # for authors of extensions
    "assert_format",
    "assert_replacement",
    "assert_target",
    # what they raise
    "NotExportableError",
    "FormatFailure",
    "ExtensionError",
]

_LAZY = {
    "ExtensionError": "errors",
    "FormatFailure": "testing._failures",
    "NotExportableError": "errors",
    "assert_exportable": "testing._assertion",
    "assert_format": "testing._extensions",
    "assert_replacement": "testing._extensions",
    "assert_target": "testing._targets",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"torchport.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
