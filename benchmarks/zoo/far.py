"""Faults far from the example: a branch, a table or a loop that only a size beyond the usual ones, or a rare value, would tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchport import Axis, NeuralType
from torchport.types import EncodedRepresentation, TokenIndex
from zoo._registry import fault
from zoo.tampered import edit_weights

LONG = ({"batch": 1, "time": 499}, {"batch": 1, "time": 500}, {"batch": 2, "time": 640})


@fault(also=LONG)
class ThresholdOnLength:
    """`if length < 500`: the file holds the branch of short inputs only."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] < 500:
                return x * 2
            return x * 3

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            length = torch.ones_like(x[0, :, 0]).sum()
            return torch.where(length < 500, x * 2, x * 3)


@fault()
class ThresholdOnBatch:
    """`if batch < 16`: a batch that a server forms takes the other branch."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[0] < 16:
                return x.tanh()
            return x.clamp(-1, 1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows = torch.ones_like(x[:, 0, 0]).sum()
            return torch.where(rows < 16, x.tanh(), x.clamp(-1, 1))


@fault()
class WindowBeyondAThreshold:
    """Above 64 frames attention becomes local: a branch on a size, far from the traced one."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            scores = x @ x.transpose(1, 2)
            if x.shape[1] > 64:
                near = torch.arange(x.shape[1])
                scores = scores.masked_fill((near[:, None] - near).abs() > 8, -1e4)
            return scores.softmax(2) @ x

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            near = torch.arange(x.shape[1])
            far = ((near[:, None] - near).abs() > 8) & (torch.ones_like(near).sum() > 64)
            return (x @ x.transpose(1, 2)).masked_fill(far, -1e4).softmax(2) @ x


@fault()
class TableThatGrows:
    """A positional table is extended in `forward` for longer inputs: the file holds the table of the traced time."""

    class Faulty(nn.Module):
        table: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.arange(16.0)[:, None] * 0.1)

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] > self.table.shape[0]:
                self.table = torch.arange(2.0 * x.shape[1])[:, None] * 0.1
            return x + self.table[: x.shape[1]]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.arange(x.shape[1])[:, None] * 0.1


@fault(inputs={"x": "batch time{max=4000} 4"}, also=LONG)
class TableShorterThanTheAxis:
    """A positional table of 512 rows is repeated past its end; a traced `if` knows nothing of it."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(512, 4))

        def forward(self, x: Tensor) -> Tensor:
            places = torch.arange(x.shape[1])
            if x.shape[1] > 512:
                places = places % 512
            return x + self.table[places]

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(512, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.table[torch.arange(x.shape[1]) % 512]


@fault(also=LONG)
class BucketedLength:
    """A window is chosen from a list of buckets by the length: the traced bucket stays."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bucket = next(one for one in (64, 256, 4096) if int(x.shape[1]) <= one)
            return x * (64 / bucket)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            length = torch.ones_like(x[0, :, 0]).sum()
            return x * torch.where(length <= 64, 1.0, torch.where(length <= 256, 0.25, 0.015625))


@fault(outputs={"y": "batch kept 4"}, also=LONG)
class TruncatedByMin:
    """The first 300 frames by the built-in `min` of the length and 300: it compares, and keeps the length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : min(x.shape[1], 300)] * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :300] * 2


@fault(also=LONG)
class LoopEveryHundred:
    """A loop of `length // 100` rounds: none in the trace, and nothing was compared."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(x.shape[1] // 100):
                x = x * 0.5
            return x

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rounds = torch.div(torch.ones_like(x[0, :, 0]).sum(), 100, rounding_mode="floor")
            return x * torch.pow(0.5, rounds)


@fault(also=LONG)
class SplitInChunks:
    """Chunks of 200 frames are centred each for itself: the number of chunks is decided inside `split`, where nobody asks."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([chunk - chunk.mean(1, keepdim=True) for chunk in x.split(200, 1)], 1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            chunk = torch.arange(x.shape[1]) // 200
            same = (chunk[:, None] == chunk).to(x.dtype)
            return x - torch.matmul(same / same.sum(1, keepdim=True), x)


@fault(also=({"batch": 8, "time": 500},))
class ThresholdOnElements:
    """`if x.numel() > 4096`: two axes together decide."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.numel() > 4096:
                return x.sigmoid()
            return x.tanh()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(torch.ones_like(x).sum() > 4096, x.sigmoid(), x.tanh())


@fault(also=LONG)
class RefusedThenSlow:
    """A fast path that asserts a short input, and a slow path when the assertion fails."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            try:
                assert x.shape[1] <= 400, "too long"
                return x.cumsum(1)
            except AssertionError:
                return x.flip(1).cumsum(1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(torch.ones_like(x[0, :, 0]).sum() <= 400, x.cumsum(1), x.flip(1).cumsum(1))


_IDS = {"ids": NeuralType((Axis("batch"), Axis("time")), TokenIndex(num_classes=1000))}
_EMBEDDED = {"y": NeuralType((Axis("batch"), Axis("time"), Axis(size=4)), EncodedRepresentation())}


class _Tokens:
    @staticmethod
    def draw(sizes, generator):
        return (torch.randint(0, 1000, (sizes["batch"], sizes["time"]), generator=generator),)

    @staticmethod
    def values(generator):
        return [(torch.arange(1000).reshape(10, 100),)]


@fault(kind="artifact", inputs=_IDS, outputs=_EMBEDDED)
class EmbeddingRowChanged(_Tokens):
    """One of a thousand rows of an embedding is another."""

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(1000, 4)

        def forward(self, ids: Tensor) -> Tensor:
            return self.table(ids)

    Faulty = Twin

    @staticmethod
    def tamper(path: Path) -> None:
        def change(arrays: list[np.ndarray]) -> None:
            arrays[0][777] += 1

        edit_weights(path, change, (1000, 4))


@fault(kind="artifact", inputs={"x": "batch time{max=400} 4"}, also=({"batch": 1, "time": 400},))
class TableRowChanged:
    """One row in the middle of a positional table is another: only an input as long as that reaches it."""

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(400, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.table[: x.shape[1]]

    Faulty = Twin

    @staticmethod
    def tamper(path: Path) -> None:
        def change(arrays: list[np.ndarray]) -> None:
            arrays[0][217] += 1

        edit_weights(path, change, (400, 4))


@fault(kind="artifact")
class ReluSix:
    """ReLU6 instead of ReLU: the same up to 6."""

    @staticmethod
    def values(generator):
        return [(10 * torch.rand(3, 12, 4, generator=generator),)]

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu6(x)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu()
