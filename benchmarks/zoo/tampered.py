"""Artifacts that were edited after the capture: weights, constants and nodes that are not the model's any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from zoo._registry import fault


class _Network:
    """Two layers with a ReLU and a constant between them."""

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).relu()) * 3.0 + x

    Faulty = Twin


def edit_weights(path: Path, change: Callable[[list[np.ndarray]], None], shape: tuple[int, int] = (4, 4)) -> None:
    """Gives ``change`` the weights of that shape in the file to alter, in the order of their content."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        found = [one for one in model.graph.initializer if list(one.dims) == list(shape)]
        found.sort(key=lambda one: numpy_helper.to_array(one).tobytes())
        arrays = [numpy_helper.to_array(one).copy() for one in found]
        change(arrays)
        for one, array in zip(found, arrays, strict=True):
            one.CopyFrom(numpy_helper.from_array(array, one.name))
        onnx.save(model, path)
        return
    script = torch.jit.load(str(path))
    with torch.no_grad():
        tensors = [one for one in (*script.parameters(), *script.buffers()) if list(one.shape) == list(shape)]
        arrays = [one.numpy().copy() for one in tensors]
        change(arrays)
        for one, array in zip(tensors, arrays, strict=True):
            one.copy_(torch.from_numpy(array))
    script.save(str(path))


@fault(kind="artifact", tolerance=1e-5)
class WeightScaled(_Network):
    """One weight matrix is larger by a thousandth."""

    @staticmethod
    def tamper(path: Path) -> None:
        def change(arrays: list[np.ndarray]) -> None:
            arrays[0] *= 1.001

        edit_weights(path, change)


@fault(kind="artifact", tolerance=1e-5)
class WeightElementChanged(_Network):
    """One element of one weight matrix is off by a hundredth."""

    @staticmethod
    def tamper(path: Path) -> None:
        def change(arrays: list[np.ndarray]) -> None:
            arrays[1][2, 1] += 0.01

        edit_weights(path, change)


@fault(kind="artifact")
class WeightsExchanged(_Network):
    """Two weight matrices of one shape are exchanged."""

    @staticmethod
    def tamper(path: Path) -> None:
        def change(arrays: list[np.ndarray]) -> None:
            arrays[0], arrays[1] = arrays[1].copy(), arrays[0].copy()

        edit_weights(path, change)


@fault(kind="artifact", tolerance=1e-5)
class WeightsInBfloat(_Network):
    """The weights went through bfloat16."""

    @staticmethod
    def tamper(path: Path) -> None:
        def change(arrays: list[np.ndarray]) -> None:
            for array in arrays:
                array[...] = torch.from_numpy(array).bfloat16().float().numpy()

        edit_weights(path, change)


@fault(kind="artifact", formats=("onnx",))
class WeightTransposed(_Network):
    """A square weight is transposed."""

    @staticmethod
    def tamper(path: Path) -> None:
        def change(arrays: list[np.ndarray]) -> None:
            arrays[0] = np.ascontiguousarray(arrays[0].T)

        edit_weights(path, change)


@fault(kind="artifact", formats=("onnx",))
class NodeDropped(_Network):
    """The ReLU is gone."""

    @staticmethod
    def tamper(path: Path) -> None:
        model = onnx.load(path)
        relu = next(node for node in model.graph.node if node.op_type == "Relu")
        for node in model.graph.node:
            node.input[:] = [relu.input[0] if one == relu.output[0] else one for one in node.input]
        model.graph.node.remove(relu)
        onnx.save(model, path)


@fault(kind="artifact", formats=("onnx",))
class ConstantOffByOne(_Network):
    """The factor is 4 instead of 3."""

    @staticmethod
    def tamper(path: Path) -> None:
        model = onnx.load(path)
        found = 0
        holders = [*model.graph.initializer]
        holders += [item.t for node in model.graph.node if node.op_type == "Constant" for item in node.attribute if item.name == "value"]
        for one in holders:
            array = numpy_helper.to_array(one)
            if array.size == 1 and float(array.reshape(-1)[0]) == 3.0:
                one.CopyFrom(numpy_helper.from_array(array + array.dtype.type(1), one.name))
                found += 1
        assert found == 1, found
        onnx.save(model, path)


@fault(kind="artifact", formats=("onnx",))
class NoiseInTheFile(_Network):
    """The file multiplies by a random number close to one."""

    @staticmethod
    def tamper(path: Path) -> None:
        model = onnx.load(path)
        last = next(node for node in model.graph.node if model.graph.output[0].name in node.output)
        last.output[0] = "before"
        make = onnx.helper.make_node
        model.graph.node.extend(
            [
                make("RandomUniformLike", ["before"], ["noise"], low=0.9, high=1.1),
                make("Mul", ["before", "noise"], [model.graph.output[0].name]),
            ]
        )
        onnx.save(model, path)
