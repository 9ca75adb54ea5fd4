"""Spares the trace-based exporter the copies of the weights that it makes only to infer shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["shapes_without_weights"]

_PASS = "_jit_pass_onnx_graph_shape_type_inference"
_SMALL = 4096
"""Elements; a tensor up to this size may be a shape, an axis or a scale, whose values shape inference reads."""


@contextmanager
def shapes_without_weights() -> Iterator[None]:
    """Runs a block in which shape inference over a whole graph sees small tensors only; weights it knows by their type, as graph inputs.

    PyTorch 2.13 writes every weight into a temporary ONNX model, twice an export, to infer shapes: with large weights that is half of
    its time and all of its extra memory. There is no public switch. Needed until the trace-based exporter is removed.
    """
    whole = getattr(torch._C, _PASS)

    def light(graph: Any, weights: Mapping[str, torch.Tensor], opset: int) -> Any:
        return whole(graph, {name: tensor for name, tensor in weights.items() if tensor.numel() <= _SMALL}, opset)

    setattr(torch._C, _PASS, light)
    try:
        yield
    finally:
        setattr(torch._C, _PASS, whole)
