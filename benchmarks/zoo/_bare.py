"""What others would have written and said: PyTorch's exporters without a proof, their own check, and a check of one example."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from torchport import Signature
from zoo._judge import eager, runner
from zoo._registry import Fault

__all__ = ["BARE", "bare", "dynamo_verify", "one_example"]

BARE = {"onnx": {"trace": "dynamo=False", "torch_export": "dynamo=True"}, "ts": {"trace": "jit.trace", "script": "jit.script"}}
"""Format to torchport's strategy to what PyTorch calls it."""


def bare(fault: Fault, which: Literal["faulty", "twin"], seed: int, format: str, strategy: str, path: Path) -> None:
    """An export as an ordinary script does it; raises what the exporter raises."""
    module, example = fault.model(which, seed), fault.example(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _export(fault, module, example, format, strategy, path)


def _export(fault: Fault, module: nn.Module, example: tuple[Tensor, ...], format: str, strategy: str, path: Path) -> None:
    if format == "ts":
        made = torch.jit.script(module) if strategy == "script" else torch.jit.trace(module, example, check_trace=False)
        made.save(str(path))
    else:
        _onnx(fault, module, example, path, dynamo=strategy == "torch_export", verify=False)


def _onnx(fault: Fault, module: nn.Module, example: tuple[Tensor, ...], path: Path, *, dynamo: bool, verify: bool) -> None:
    axes = Signature.of(inputs=fault.inputs, outputs=fault.outputs).dynamic_axes()
    training = not fault.arguments.get("set_eval", True)
    shapes = (
        {"dynamic_shapes": tuple(axes.get(name) for name in fault.inputs), "verify": verify, "external_data": False}
        if dynamo
        else {"dynamic_axes": axes}
    )
    torch.onnx.export(
        module,
        example,
        str(path),
        dynamo=dynamo,
        input_names=list(fault.inputs),
        output_names=list(fault.outputs),
        verbose=False,
        **({"training": torch.onnx.TrainingMode.PRESERVE} if training and not dynamo else {}),
        **shapes,  # type: ignore[arg-type]
    )


class _Heard(logging.Handler):
    """Keeps what the exporter logs about its own check."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "difference" in record.getMessage():
            self.lines.append(record.getMessage())


def dynamo_verify(fault: Fault, which: Literal["faulty", "twin"], seed: int, path: Path) -> str:
    """What ``torch.onnx.export(dynamo=True, verify=True)`` says: ``passes``, ``warns``, or the exception that it raises."""
    heard, logger = _Heard(), logging.getLogger("torch.onnx")
    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    logger.addHandler(heard)
    try:
        _onnx(fault, fault.model(which, seed), fault.example(seed), path, dynamo=True, verify=True)
    except Exception as error:
        return f"raises {type(error).__name__}"
    finally:
        logger.removeHandler(heard)
        logging.disable(disabled)
    return "warns" if heard.lines else "passes"


def one_example(fault: Fault, which: Literal["faulty", "twin"], seed: int, path: Path) -> str:
    """What a check of the exported example says, at a relative and absolute tolerance of 1e-2: ``passes``, or not."""
    inputs = fault.example(seed)
    try:
        expected, got = eager(fault.model(which, seed), inputs), runner(fault, path)(inputs)
        same = all(np.allclose(one, other, rtol=1e-2, atol=1e-2, equal_nan=True) for one, other in zip(expected, got, strict=True))
    except Exception as error:
        return f"raises {type(error).__name__}"
    return "passes" if same else "fails"
