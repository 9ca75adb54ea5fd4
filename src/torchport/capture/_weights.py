"""Binds the weights of an ONNX graph to the module's own storage: no weight is copied."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor

from torchport.errors import CaptureError

__all__ = ["WEIGHT", "bind_weights", "mark_weights", "named_tensors"]

WEIGHT = "torchport.weight"
"""Key in ``ir.Value.meta``: the value is a weight of the module, under this qualified name."""


def named_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by qualified name, tied ones under each of their names."""
    found: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    found.update(module.named_buffers(remove_duplicate=False))
    found.update({name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, torch.Tensor)})
    return found


def bind_weights(model: ir.Model, tensors: Mapping[str, torch.Tensor], inputs: Collection[str]) -> None:
    """Makes initializers of the graph inputs that are not the model's own.

    Args:
        model: A graph that was exported without its parameters; changed in place.
        tensors: The module's tensors, by qualified name.
        inputs: Names of the model's own inputs, which stay.

    Raises:
        CaptureError: The graph takes something that is neither an input nor a weight.
    """
    for value in list(model.graph.inputs):
        name = str(value.name)
        if name in inputs:
            continue
        if name not in tensors:
            raise CaptureError(f"the graph takes {name!r}, which is neither an input nor a weight of the module", where=name)
        tensor = TorchTensor(tensors[name].detach(), name=name)
        value.const_value, value.shape, value.dtype = tensor, tensor.shape, tensor.dtype
        value.meta[WEIGHT] = name
        model.graph.inputs.remove(value)
        model.graph.register_initializer(value)


def mark_weights(model: ir.Model, tensors: Mapping[str, torch.Tensor]) -> None:
    """Marks the initializers that are weights of the module, in a graph that was exported with them."""
    for name, value in model.graph.initializers.items():
        if name in tensors:
            value.meta[WEIGHT] = name
