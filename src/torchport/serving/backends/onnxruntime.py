"""The stand-in for Triton's ``onnxruntime`` backend: ``backend: "onnxruntime"`` and ``platform: "onnxruntime_onnx"``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._base import Backend
from .batching import Arrays
from .completing import Completion, complete
from .contract import Found, Refused, check_found, dtype_in_config

__all__ = ["TritonPythonModel"]

_NUMPY = {"float": "float32", "double": "float64", "string": "object"}


class TritonPythonModel(Backend):
    """An ONNX model in ONNX Runtime on the CPU."""

    model_file = "model.onnx"

    @classmethod
    def complete(cls, config: Mapping[str, Any], path: Path) -> Completion:
        """Inputs and outputs that are left out come from the file; the batch, too, if any of them is."""
        if config.get("input") and config.get("output"):
            return Completion()
        session = _open(config["name"], path)
        return complete(config, *({one.name: _found(one) for one in ports} for ports in (session.get_inputs(), session.get_outputs())))

    def open(self, path: Path) -> None:
        """Opens the file and holds the configuration against its ports."""
        self.session = _open(self.config["name"], path)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        optional = self.session.get_overridable_initializers()
        check_found(self.config, *({one.name: _found(one) for one in ports} for ports in (inputs, outputs, optional)))
        self.texts = {one.name for one in (*inputs, *optional) if one.type == "tensor(string)"}
        self.outputs = [one.name for one in outputs]

    def run(self, feed: Arrays) -> Arrays:
        """All outputs."""
        given = {name: _texts(array) if name in self.texts else array for name, array in feed.items()}
        return dict(zip(self.outputs, self.session.run(self.outputs, given), strict=True))


def _open(name: str, path: Path) -> Any:
    import onnxruntime  # a process that only completes a configuration seldom comes here, and there is one for every model

    try:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Refused(f"unable to load model '{name}': {error}") from error


def _found(port: Any) -> Found:
    name = port.type.removeprefix("tensor(").removesuffix(")")
    dims = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in port.shape)
    return Found(dtype_in_config(np.dtype(_NUMPY[name]).name if name in _NUMPY else name), dims)


def _texts(array: Any) -> Any:
    """The server hands over bytes, ONNX Runtime takes texts."""
    return np.array([one.decode() for one in array.ravel()], object).reshape(array.shape)
