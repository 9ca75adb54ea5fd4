"""The judge: whether an artifact is right, asked of inputs that the exporter never saw. It shares no code with torchport's proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from zoo._registry import Fault

__all__ = ["differs", "judge", "mixes_rows", "runner"]

Ranges = Mapping[str, Mapping[int, tuple[int, int | None]]]
"""Input to axis to the sizes that the export promises; sizes outside are not held against the artifact."""

Run = Callable[[Sequence[Tensor]], list[np.ndarray]]


def runner(fault: Fault, path: Path) -> Run:
    """The artifact as a function, in its plain runtime."""
    if path.suffix == ".onnx":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        wanted = [one.name for one in session.get_inputs()]

        def run_onnx(inputs: Sequence[Tensor]) -> list[np.ndarray]:
            given = {name: tensor.numpy() for name, tensor in zip(fault.inputs, inputs, strict=True) if name in wanted}
            answers = dict(zip([one.name for one in session.get_outputs()], session.run(None, given), strict=True))
            return [answers[name] for name in fault.outputs]

        return run_onnx
    script = torch.jit.load(str(path))
    return lambda inputs: _arrays(script, inputs)


def _arrays(module: Any, inputs: Sequence[Tensor]) -> list[np.ndarray]:
    with torch.no_grad():
        answer = module(*[tensor.clone() for tensor in inputs])
    return [one.numpy() for one in (answer if isinstance(answer, tuple) else (answer,))]


def eager(module: nn.Module, inputs: Sequence[Tensor]) -> list[np.ndarray]:
    """What the model answers in PyTorch."""
    return _arrays(module, inputs)


def differs(expected: Sequence[np.ndarray], got: Sequence[np.ndarray], tolerance: float) -> str:
    """In words how two answers differ; empty where they agree."""
    for index, (one, other) in enumerate(zip(expected, got, strict=True)):
        if one.dtype != other.dtype:
            return f"output {index} is {other.dtype}, not {one.dtype}"
        if one.shape != other.shape:
            return f"output {index} is {list(other.shape)}, not {list(one.shape)}"
        if one.dtype.kind not in "fc":
            if not np.array_equal(one, other):
                return f"output {index} differs in {int((one != other).sum())} of {one.size} elements"
            continue
        wide, wide_other = one.astype(np.float64), other.astype(np.float64)
        finite = np.isfinite(wide)
        if not np.array_equal(np.where(finite, 0.0, wide), np.where(np.isfinite(wide_other), 0.0, wide_other), equal_nan=True):
            return f"output {index} has NaN or infinity elsewhere"
        scale = float(np.abs(wide[finite]).max(initial=0.0))
        error = float(np.abs(wide - wide_other)[finite].max(initial=0.0)) if finite.any() else 0.0
        if error > tolerance * scale:
            return f"output {index} is off by {error / max(scale, 1e-300):.1e}"
    return ""


def judge(fault: Fault, path: Path, which: Literal["faulty", "twin"], seed: int, ranges: Ranges | None = None) -> str:
    """Where the artifact is wrong, in words; empty where it is right at everything that was asked.

    Each question goes to a fresh model: one that keeps something from call to call has no other answer that would be its own.
    """
    try:
        run = runner(fault, path)
    except Exception as error:
        return f"the runtime refuses the file: {_short(error)}"
    for label, inputs in fault.hidden_inputs(seed):
        outside = _outside(fault, inputs, ranges or {})
        try:
            expected = eager(fault.model(which, seed), inputs)
        except Exception:
            if _answers(run, inputs):
                return f"answers at {label}, where the model refuses"
            continue
        if outside:
            continue
        try:
            got = run(inputs)
        except Exception as error:
            return f"fails at {label}: {_short(error)}"
        difference = differs(expected, got, fault.tolerance)
        if difference:
            return f"at {label}: {difference}"
    return ""


def mixes_rows(fault: Fault, which: Literal["faulty", "twin"], seed: int) -> str:
    """Whether the model's answer to a row depends on its neighbours or on their padding; in words, empty where it does not.

    A row that stands beside longer ones is padded, so the row alone is cut to its own length where the model takes lengths.
    """
    for sizes in fault.hidden:
        inputs = fault.draw(sizes, torch.Generator().manual_seed(seed))
        together = eager(fault.model(which, seed), inputs)
        for row in range(sizes["batch"]):
            alone = [tensor[row : row + 1] for tensor in inputs]
            if "lengths" in fault.inputs:
                alone[0] = alone[0][:, : int(alone[1])]
            difference = differs([one[row : row + 1] for one in together], eager(fault.model(which, seed), alone), fault.tolerance)
            if difference:
                return f"row {row} of {sizes['batch']} alone: {difference}"
    return ""


def _answers(run: Run, inputs: Sequence[Tensor]) -> bool:
    try:
        return any(one.size for one in run(inputs))
    except Exception:
        return False


def _outside(fault: Fault, inputs: Sequence[Tensor], ranges: Ranges) -> bool:
    for name, tensor in zip(fault.inputs, inputs, strict=True):
        for axis, (least, most) in ranges.get(name, {}).items():
            if tensor.shape[axis] < least or (most is not None and tensor.shape[axis] > most):
                return True
    return False


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]
