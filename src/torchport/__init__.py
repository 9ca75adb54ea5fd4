"""Export PyTorch models with the right names and axes, proved equal to the model.

Importing this pulls in neither torch nor onnx nor a runtime: each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torchport._version import __version__

if TYPE_CHECKING:
    from torchport._package import package
    from torchport.errors import ProofError, TorchportError
    from torchport.loading import load, verify
    from torchport.mixin import Exportable
    from torchport.models.model_pt import ModelPT
    from torchport.models.pretrained import PretrainedModelInfo
    from torchport.pipeline import export
    from torchport.ports import Axis, AxisKind, AxisType, NeuralType, Port, Signature, typecheck
    from torchport.prepare import replace_for_export
    from torchport.result import ExportResult

__all__ = [
    # export, prove, run
    "Exportable",
    "ExportResult",
    "export",
    "verify",
    "load",
    "package",
    # ports
    "NeuralType",
    "AxisType",
    "AxisKind",
    "Port",
    "Axis",
    "Signature",
    "typecheck",
    # models
    "ModelPT",
    "PretrainedModelInfo",
    "replace_for_export",
    # errors
    "TorchportError",
    "ProofError",
    "__version__",
]

_HOMES = {
    "torchport._package": ("package",),
    "torchport.errors": ("ProofError", "TorchportError"),
    "torchport.loading": ("load", "verify"),
    "torchport.mixin": ("Exportable",),
    "torchport.models.model_pt": ("ModelPT",),
    "torchport.models.pretrained": ("PretrainedModelInfo",),
    "torchport.pipeline": ("export",),
    "torchport.ports": ("Axis", "AxisKind", "AxisType", "NeuralType", "Port", "Signature", "typecheck"),
    "torchport.prepare": ("replace_for_export",),
    "torchport.result": ("ExportResult",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
