"""Faults of sizes that the model refuses: a check in Python that a capture drops, and what a runtime makes of an input too small."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._registry import fault

AROUND = ({"batch": 1, "time": 4}, {"batch": 2, "time": 5}, {"batch": 3, "time": 13}, {"batch": 1, "time": 64}, {"batch": 2, "time": 65})


@fault(hidden=AROUND)
class CheckedLength:
    """An assertion and an error in `forward` bound the length; the file answers any length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1] >= 5, "too short"
            if x.shape[1] > 64:
                raise ValueError("too long")
            return x.cumsum(1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(1)


@fault(
    inputs={"x": "batch 3 height width"},
    outputs={"y": "batch 4"},
    traced={"batch": 2, "height": 25, "width": 31},
    hidden=(
        {"batch": 1, "height": 15, "width": 15},
        {"batch": 2, "height": 14, "width": 20},
        {"batch": 1, "height": 40, "width": 9},
        {"batch": 3, "height": 33, "width": 18},
    ),
)
class PooledImageTooSmall:
    """An image that convolutions make smaller than the last pool: PyTorch refuses it, ONNX Runtime answers."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 5), nn.Conv2d(4, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(self.second(F.max_pool2d(self.first(x), 3, 2)), 3, 2).mean((2, 3))

    class Twin(Faulty):
        def forward(self, x: Tensor) -> Tensor:
            return self.second(F.pad(self.first(F.pad(x, (4, 4, 4, 4))), (2, 2, 2, 2))).mean((2, 3))


@fault(
    traced={"batch": 3, "time": 16},
    hidden=({"batch": 1, "time": 8}, {"batch": 2, "time": 12}, {"batch": 1, "time": 40}, {"batch": 2, "time": 21}),
)
class LengthOfWholeBlocks:
    """Blocks of eight are told apart by a check in `forward`; the file cuts what is over, and answers."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] % 8:
                raise ValueError("not whole blocks")
            return x - F.interpolate(x.transpose(1, 2), scale_factor=0.125).mean(2)[:, None]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(1)[:, None]


@fault(
    inputs={"x": "batch asked 4", "y": "batch given 4"},
    outputs={"z": "batch asked 4"},
    traced={"batch": 2, "asked": 5, "given": 9},
    hidden=(
        {"batch": 1, "asked": 3, "given": 3},
        {"batch": 2, "asked": 4, "given": 3},
        {"batch": 1, "asked": 1, "given": 30},
        {"batch": 1, "asked": 50, "given": 12},
    ),
)
class MoreAskedThanGiven:
    """One length may not exceed another; without the check, the file answers."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            if x.shape[1] > y.shape[1]:
                raise ValueError("more asked than given")
            return torch.softmax(x @ y.transpose(1, 2), 2) @ y

    class Twin(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.softmax(x @ y.transpose(1, 2), 2) @ y
