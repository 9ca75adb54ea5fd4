"""``torch.onnx.ExportableModule``: PyTorch's own way to say the example, the names and the dynamic shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchport.integrations._base import Integration, inherits
from torchport.ports import Port

__all__ = ["OnnxExportableModule"]


class OnnxExportableModule(Integration):
    """Reads ``example_arguments``, ``input_names``, ``output_names`` and ``dynamic_shapes``.

    Source: https://docs.pytorch.org/docs/stable/onnx_export.html
    """

    name = "torch-onnx"

    def matches(self, module: object) -> bool:
        """By the class's name."""
        return inherits(module, frozenset({"torch.onnx.ExportableModule"}))

    def hooks(self, module: Any) -> Mapping[str, Any]:
        """PyTorch's hooks under torchport's names."""
        args, kwargs = module.example_arguments()
        found: dict[str, Any] = {"input_example": (*args, dict(kwargs or {}))}
        names = list(module.input_names() or ())
        shapes = module.dynamic_shapes()
        if shapes is not None:
            if not isinstance(shapes, Mapping):
                parameters = [*names, *(f"input_{place}" for place in range(len(names), len(shapes)))]
                shapes = dict(zip(parameters, shapes, strict=False))
            found["dynamic_axes"] = {name: axes for name, axes in shapes.items() if axes}
        tensors = [*args, *(kwargs or {}).values()]
        if names and len(names) == len(tensors):
            found["input_types"] = {name: _static(tensor) for name, tensor in zip(names, tensors, strict=True)}
        outputs: Sequence[str] = list(module.output_names() or ())
        if outputs:
            found["output_types"] = dict.fromkeys(outputs)
        return found


def _static(tensor: Any) -> Port:
    sizes = " ".join(str(size) for size in tensor.shape)
    return Port(sizes, dtype=str(tensor.dtype).removeprefix("torch."))
