"""The stand-in for Triton's ``pytorch`` backend: ``backend: "pytorch"`` and ``platform: "pytorch_libtorch"``, for TorchScript files."""

from __future__ import annotations

from pathlib import Path

from ._base import Backend
from .batching import Arrays
from .contract import Refused, argument_order, dtype_in_config, output_order

__all__ = ["TritonPythonModel"]

_DTYPES = {f"TYPE_{name}" for name in ("BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "STRING")}


class TritonPythonModel(Backend):
    """A TorchScript model on the CPU; it does not know its shapes, so most is checked when it answers."""

    model_file = "model.pt"

    def open(self, path: Path) -> None:
        """Opens the file and orders the configuration's ports by its arguments."""
        import torch  # the process that completes a model's configuration does without, which is half of the time that a model takes

        try:
            self.module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise Refused(f"unable to load model '{self.config['name']}': failed to load model: {error}") from error
        arguments = [argument.name for argument in self.module.forward.schema.arguments[1:]]
        self.arguments = argument_order(self.config, arguments)
        self.outputs = output_order(self.config)
        for kind in ("input", "output"):
            for port in self.config[kind]:
                if port["data_type"] not in _DTYPES:
                    raise Refused(f"unsupported datatype {port['data_type']} for {kind} '{port['name']}' for model '{self.config['name']}'")
        self.dtypes = {port["name"]: port["data_type"] for port in self.config["output"]}

    def run(self, feed: Arrays) -> Arrays:
        """All outputs."""
        import torch

        with torch.inference_mode():
            returned = self.module(*(torch.from_numpy(feed[name].copy()) for name in self.arguments))
        answers = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        if len(answers) < len(self.outputs):
            raise ValueError(
                f"The output {self.outputs[len(answers)]} in the model configuration refers to an output index which doesn't exist. "
                f"This model has {len(answers)} outputs"
            )
        arrays = {name: answer.numpy() for name, answer in zip(self.outputs, answers, strict=False)}
        for name, array in arrays.items():
            found = dtype_in_config(array.dtype.name)
            if name in self.dtypes and self.dtypes[name] != found:
                raise ValueError(f"configuration expects datatype {self.dtypes[name]} for output '{name}', model provides {found}")
            if not array.ndim:
                raise ValueError(f"output '{name}' is a scalar which is not supported.")
        return arrays
