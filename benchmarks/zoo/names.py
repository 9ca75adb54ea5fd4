"""Faults of ports, made as artifacts: outputs and inputs exchanged, other names, other dtypes, axes that are no longer free."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from zoo._registry import fault

TWO = {"a": "batch time", "b": "batch time"}
PAIR = {"low": "batch time", "high": "batch time"}


@fault(kind="artifact", outputs=PAIR)
class OutputsExchanged:
    """Two outputs of one shape come in the other order."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.amax(2), x.amin(2)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.amin(2), x.amax(2)


@fault(kind="artifact", inputs=TWO, outputs={"y": "batch time"})
class InputsExchanged:
    """Two inputs of one shape are taken in the other order."""

    class Faulty(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return b - 2 * a

    class Twin(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a - 2 * b


@fault(kind="artifact")
class ChannelsPermuted:
    """Two channels of an output are exchanged."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.tanh()[:, :, torch.tensor([0, 2, 1, 3])]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.tanh()


@fault(kind="artifact", outputs={"y": "batch time"})
class DtypePromoted:
    """float64 comes out where float32 was declared."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(2).double()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(2)


@fault(kind="artifact", outputs={"y": ("batch time", "int64")})
class DtypeDemoted:
    """int32 comes out where int64 was declared."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(2).int()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(2)


@fault(kind="artifact", outputs={"y": "batch time"})
class AxisKeptAsOne:
    """A reduced axis stays as an axis of size 1."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(2, keepdim=True)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(2)


class _Same:
    """The artifact is the model's own, edited afterwards."""

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.tanh()

    Faulty = Twin


@fault(kind="artifact", formats=("onnx",))
class AxisFrozen(_Same):
    """The file says `time` is 12."""

    @staticmethod
    def tamper(path: Path) -> None:
        model = onnx.load(path)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[1].dim_value = 12
        onnx.save(model, path)


@fault(kind="artifact", formats=("onnx",))
class OutputRenamed(_Same):
    """The output has another name."""

    @staticmethod
    def tamper(path: Path) -> None:
        model = onnx.load(path)
        old = model.graph.output[0].name
        for node in model.graph.node:
            node.output[:] = ["other" if one == old else one for one in node.output]
        model.graph.output[0].name = "other"
        onnx.save(model, path)


@fault(kind="artifact", formats=("onnx",))
class ScalarAxisLost(_Same):
    """The file declares an axis too few."""

    @staticmethod
    def tamper(path: Path) -> None:
        model = onnx.load(path)
        del model.graph.output[0].type.tensor_type.shape.dim[2]
        onnx.save(model, path)
