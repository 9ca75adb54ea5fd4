"""A model with ports as ``torch.onnx.ExportableModule``, for callers that must call ``torch.onnx.export`` themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from torchport._options import ExportOptions
from torchport._subject import declare

__all__ = ["as_exportable_module"]


def as_exportable_module(module: torch.nn.Module) -> torch.onnx.ExportableModule:
    """Wraps ``module``: its flat inputs and outputs, their names and their dynamic shapes.

    The artifact that ``torch.onnx.export`` makes of it is not proved; ``torchport.verify`` can do that afterwards.

    Example:
        >>> torch.onnx.export(as_exportable_module(model), f="m.onnx")  # doctest: +SKIP
    """
    subject = declare(module, ExportOptions(output=Path("m.onnx")))

    class Flat(torch.onnx.ExportableModule):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(subject.call(dict(zip(subject.signature.inputs, tensors, strict=True))).values())

        def example_arguments(self) -> tuple[tuple[Any], dict[str, Any] | None]:
            return tuple(subject.example.values()), None  # type: ignore[return-value]  # torch's hint says one-tuple, it means any

        def input_names(self) -> list[str]:
            return list(subject.signature.inputs)

        def output_names(self) -> list[str]:
            return list(subject.signature.outputs)

        def dynamic_shapes(self) -> Any:
            axes = subject.signature.dims()
            return (tuple(axes.get(name, {}) for name in subject.signature.inputs),)

    return Flat()
