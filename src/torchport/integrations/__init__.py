"""What knows a third party by name. Nothing here imports a third party until one of its objects comes."""

from __future__ import annotations

from torchport._registry import Registry
from torchport.integrations._base import Integration
from torchport.integrations.lightning import Lightning
from torchport.integrations.nemo import Nemo
from torchport.integrations.onnx_module import OnnxExportableModule

__all__ = ["Integration", "integration_for", "integrations"]

integrations: Registry[Integration] = Registry("integration", "torchport.integrations")
integrations.add("nemo", Nemo())  # before Lightning: its models are LightningModules
integrations.add("lightning", Lightning())
integrations.add("torch-onnx", OnnxExportableModule())

_PLAIN = Integration()


def integration_for(module: object) -> Integration:
    """The integration that knows the module's library; the one that changes nothing where none does."""
    return next((one for one in integrations.values() if one.matches(module)), _PLAIN)
