"""Faults of size: a length or a batch is read as a Python number, and the traced one stays in the file."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._registry import fault


@fault(outputs={"y": "batch 4"})
class SizeReadAsInt:
    """A mean over `int(x.shape[1])`: the traced length divides at every length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) / int(x.shape[1])

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) / x.shape[1]


@fault(outputs={"y": "batch 4"})
class SizeThroughItem:
    """A length goes through a tensor and `.item()`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            length = torch.tensor(x[0].shape[0]).item()
            return x.sum(1) * (1.0 / length)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) / x[0].shape[0]


@fault(outputs={"y": "batch 4"})
class SizeReadByLen:
    """A mean over `len(row)`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) / len(x[0])

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(1)


@fault()
class ArangeOfInt:
    """Positions are an `arange` of the traced length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * torch.arange(int(x.shape[1]))[:, None]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * torch.arange(x.shape[1])[:, None]


@fault(outputs={"y": "batch time 5"})
class OnesOfInt:
    """A bias column of ones is made for the traced batch and length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, torch.ones(int(x.shape[0]), int(x.shape[1]), 1)], 2)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, torch.ones(x.shape[0], x.shape[1], 1)], 2)


@fault(outputs={"y": "batch frames 4"})
class ZerosOfInt:
    """A frame of zeros for the traced batch is put in front."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.zeros(int(x.shape[0]), 1, 4), x], 1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x.new_zeros(x.shape[0], 1, 4), x], 1)


@fault(outputs={"y": "batch time 2 2"})
class ReshapeToConstant:
    """A reshape to sizes that are constants of the file."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            batch, time = int(x.shape[0]), int(x.shape[1])
            return x.reshape(batch, time, 2, 2)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.unflatten(2, (2, 2))


@fault()
class ReshapeBatchFolded:
    """Time is folded into the batch and comes back as the traced length: at multiples of it, rows are mixed without an error."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            folded = x.reshape(-1, int(x.shape[1]), 4).cumsum(1)
            return folded.reshape(x.shape)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(-1, x.shape[1], 4).cumsum(1).reshape(x.shape)


@fault(outputs={"y": "batch time 6"})
class RepeatByTracedSize:
    """A prompt is repeated as often as the traced batch is large."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt = nn.Parameter(torch.randn(1, 1, 2))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, self.prompt.repeat(int(x.shape[0]), int(x.shape[1]), 1)], 2)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt = nn.Parameter(torch.randn(1, 1, 2))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, self.prompt.expand(x.shape[0], x.shape[1], -1)], 2)


@fault()
class TileByTracedSize:
    """A pattern is tiled along time, as often as the traced length asks for."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            wave = torch.tile(torch.tensor([1.0, -1.0]), (int(x.shape[1]) // 2 + 1,))[: x.shape[1]]
            return x * wave[:, None]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            wave = 1.0 - 2.0 * (torch.arange(x.shape[1]) % 2)
            return x * wave[:, None]


@fault(
    outputs={"y": "batch half 4"},
    inputs={"x": "batch time{min=2} 4"},
    hidden=({"batch": 2, "time": 5}, {"batch": 1, "time": 7}, {"batch": 4, "time": 38}),
)
class RoundedSize:
    """Half the length by Python's `round`, which rounds halves to even: 2 of 5, but 4 of 7."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : round(int(x.shape[1]) / 2)]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : x.shape[1] // 2]


@fault(outputs={"y": "batch padded 4"})
class PaddingByCeil:
    """Padding up to a multiple of four by `math.ceil`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.pad(x, (0, 0, 0, math.ceil(x.shape[1] / 4) * 4 - x.shape[1]))

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.pad(x, (0, 0, 0, 3 - (x.shape[1] + 3) % 4))


@fault(outputs={"y": "batch 4 padded"}, inputs={"x": "batch 4 time"})
class PaddingByLoop:
    """Padding up to a multiple of eight by counting in a loop."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            length = int(x.shape[2])
            while length % 8:
                length += 1
            return F.pad(x, (0, length - x.shape[2]))

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.pad(x, (0, 7 - (x.shape[2] + 7) % 8))


@fault(outputs={"y": "batch 4"})
class NegativeModulo:
    """`-length % 5` is not negative in Python; in an ONNX file it depends on an attribute."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) * (int(3 - x.shape[1]) % 5)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1) * ((4 * x.shape[1] + 3) % 5)


@fault(outputs={"y": "batch half 4"})
class NegativeFloorDivision:
    """`-length // 2` rounds down in Python and towards zero in an ONNX `Div`: odd lengths lose a frame."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, -x.shape[1] // 2 :]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, x.shape[1] // 2 :]


@fault(
    outputs={"y": "batch 4"},
    hidden=({"batch": 2, "time": 5}, {"batch": 1, "time": 9}, {"batch": 5, "time": 30}),
    inputs={"x": "batch time{min=4} 4"},
)
class TopkOfTracedSize:
    """The mean of the larger half, with `k` of the traced length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.topk(int(x.shape[1]) // 2, 1)[0].mean(1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.topk(4, 1)[0].mean(1)


@fault()
class RunningMeanOfTracedSize:
    """A cumulative sum is divided by counts of the traced length, sliced to the length at hand: right below it, wrong or failing above."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            counts = torch.arange(1, int(x.shape[1]) + 1)
            return x.cumsum(1) / counts[: x.shape[1], None]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            counts = torch.arange(1, x.shape[1] + 1)
            return x.cumsum(1) / counts[:, None]


@fault(
    kind="trap",
    outputs={"y": "batch half 4"},
    inputs={"x": "batch time{min=2} 4"},
    hidden=({"batch": 2, "time": 5}, {"batch": 1, "time": 8}, {"batch": 4, "time": 31}),
)
class ChunkInHalves:
    """`chunk(2)` over a dynamic axis: the halves keep the traced length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.chunk(2, 1)[0] * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : (x.shape[1] + 1) // 2] * 2


@fault(kind="unservable", outputs={"y": "batch time"}, inputs={"x": "batch time 1 1"})
class SqueezeOfEverything:
    """`squeeze()` without an axis: at batch 1 or length 1 the answer has another rank."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 2).squeeze()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 2).squeeze(3).squeeze(2)


@fault(outputs={"y": "batch 4"})
class NormedByLinspace:
    """A window is a `linspace` over the traced number of frames."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * torch.linspace(0, 1, int(x.shape[1]))[:, None]).sum(1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * (torch.arange(x.shape[1]) / 50)[:, None]).sum(1)
