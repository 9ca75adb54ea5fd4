"""torch's own exporters, called as anybody would: the built-in models must come out right of them before torchport adds anything."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

Inputs = Mapping[str, Tensor]
Runner = Callable[[Inputs], list[np.ndarray]]


class _Flat(nn.Module):
    """A model whose ``forward`` takes tensors by position and gives a tuple."""

    def __init__(self, model: nn.Module, method: str, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.method = method
        self.names = list(names)
        # torch.onnx.export gives every submodule the root's mode afterwards.
        self.training = model.training

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        answer = getattr(self.model, self.method)(**dict(zip(self.names, tensors, strict=True)))
        return tuple(answer) if isinstance(answer, tuple) else (answer,)


def eager(model: nn.Module, method: str, inputs: Inputs) -> list[np.ndarray]:
    with torch.no_grad():
        return [tensor.numpy() for tensor in _Flat(model, method, list(inputs))(*inputs.values())]


def traced_onnx(
    model: nn.Module, method: str, inputs: Inputs, axes: Mapping[str, Mapping[int, str]], outputs: Sequence[str], opset: int
) -> Runner:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Flat(model, method, list(inputs)),
            tuple(inputs.values()),
            buffer,
            dynamo=False,
            opset_version=opset,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(buffer.getvalue(), options)
    for port in (*session.get_inputs(), *session.get_outputs()):
        for axis, symbol in axes.get(port.name, {}).items():
            assert port.shape[axis] == symbol, (port.name, port.shape)
    return lambda given: session.run(None, {name: tensor.numpy() for name, tensor in given.items()})


def traced_script(model: nn.Module, method: str, inputs: Inputs) -> Runner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.trace(_Flat(model, method, list(inputs)), tuple(inputs.values()), check_trace=False)
        module = _reloaded(module)
    return lambda given: [tensor.detach().numpy() for tensor in module(*given.values())]


def scripted(model: nn.Module, method: str) -> Runner:
    """Scripts ``method`` in the place of ``forward``, on the instance only."""
    own = getattr(model, method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if method != "forward":
            model.forward = own
        try:
            module = _reloaded(torch.jit.script(model))
        finally:
            model.__dict__.pop("forward", None)

    def run(given: Inputs) -> list[np.ndarray]:
        answer = module(**given)
        return [tensor.detach().numpy() for tensor in (answer if isinstance(answer, tuple) else (answer,))]

    return run


def _reloaded(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def assert_same(expected: Sequence[np.ndarray], got: Sequence[np.ndarray], where: object, tolerance: float = 1e-5) -> None:
    """Equal in number, dtype, shape, and in value within ``tolerance`` of the output's scale."""
    assert len(expected) == len(got), where
    for place, (want, have) in enumerate(zip(expected, got, strict=True)):
        assert want.dtype == have.dtype, (where, place)
        assert want.shape == have.shape, (where, place, want.shape, have.shape)
        scale = max(float(np.abs(want.astype(np.float64)).max()), 1e-30)
        error = float(np.abs(want.astype(np.float64) - have.astype(np.float64)).max()) / scale
        assert error <= tolerance, (where, place, error)
