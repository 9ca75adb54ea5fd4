"""Faults of recurrence: a Python loop as long as the trace, a state as large as the traced batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchport import NeuralType
from torchport.types import EncodedRepresentation, LengthsType
from zoo._registry import fault

SHORT = ({"batch": 1, "time": 1}, {"batch": 2, "time": 5}, {"batch": 4, "time": 13}, {"batch": 5, "time": 24})


@fault(hidden=SHORT)
class LoopOverTime:
    """A recurrence in a Python loop: unrolled for the traced length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            state = torch.zeros_like(x[:, 0])
            states = []
            for step in range(x.shape[1]):
                state = state + x[:, step]
                states.append(state)
            return torch.stack(states, 1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(1)


@fault(hidden=SHORT)
class LoopOverBatch:
    """A Python loop over rows: unrolled for the traced batch."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([row - row.mean(0) for row in x])

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(1, keepdim=True)


@fault(outputs={"y": "batch time 5"}, hidden=SHORT)
class StateForTracedBatch:
    """The initial state of a GRU is made for the traced batch."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x, torch.zeros(1, int(x.shape[0]), 5))[0]

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x, torch.zeros(1, x.shape[0], 5))[0]


@fault(outputs={"y": "batch 5"}, hidden=SHORT)
class CellInALoop:
    """An LSTM cell in a Python loop, the last state returned: a longer input is cut without an error."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(x.shape[0], 5)
            c = x.new_zeros(x.shape[0], 5)
            for step in range(x.shape[1]):
                h, c = self.cell(x[:, step], (h, c))
            return h

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0][:, -1]


@fault(inputs={"x": "time batch 4"}, outputs={"y": "time batch 5"}, hidden=SHORT)
class TimeMajorRecurrence:
    """A time-major GRU: one exporter keeps the traced length in a Reshape."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x)[0]

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x.transpose(0, 1))[0].transpose(0, 1)


@fault(inputs={"x": "batch 4 time"}, outputs={"y": "batch 4 frames"}, hidden=SHORT)
class PyramidByLength:
    """Pools until at most four frames are left: how often is decided by the traced length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            while x.shape[2] > 4:
                x = F.max_pool1d(x, 2, ceil_mode=True)
            return x

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(2):
                x = F.pad(x, (0, 1))
                x = F.max_pool1d(x, 2)
            return x


@fault(inputs={"x": "batch time 4"}, outputs={"y": "batch 4"}, hidden=SHORT)
class LoopUntilSmall:
    """Halves until the sum is small: how often is decided by values of the trace."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.sum(1)
            while bool(y.abs().max() > 0.5):
                y = y / 2
            return y

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.sum(1)
            for _ in range(12):
                y = torch.where(y.abs().amax() > 0.5, y / 2, y)
            return y


@fault(inputs={"x": "batch time 4"}, outputs={"y": "batch time 4"}, hidden=SHORT)
class DiagonalScan:
    """In-place writes into a buffer, frame by frame, as many as were traced."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.zeros_like(x)
            for step in range(1, x.shape[1]):
                y[:, step] = 0.5 * y[:, step - 1] + x[:, step - 1]
            return y

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            place = torch.arange(x.shape[1])
            gap = (place[:, None] - place - 1).float()
            decay = torch.where(gap >= 0, 0.5 ** gap.clamp(min=0), torch.zeros_like(gap))
            return torch.matmul(decay, x)


class _Ragged:
    @staticmethod
    def draw(sizes, generator):
        lengths = torch.randint(1, sizes["time"] + 1, (sizes["batch"],), generator=generator)
        lengths[-1] = sizes["time"]
        return torch.randn(sizes["batch"], sizes["time"], 4, generator=generator), lengths

    @staticmethod
    def values(generator):
        return [(torch.randn(3, 12, 4, generator=generator), torch.tensor([3, 7, 5]))]


@fault(
    kind="trap",
    inputs={"x": NeuralType(("B", "T", "D"), EncodedRepresentation()), "lengths": NeuralType(("B",), LengthsType())},
    outputs={"y": NeuralType(("B", "T", "D"), EncodedRepresentation())},
    hidden=SHORT,
)
class PackedUnsorted(_Ragged):
    """A bidirectional GRU over a packed batch whose lengths are not sorted: the file keeps an order, or the backward pass sees padding."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 3, batch_first=True, bidirectional=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 6, batch_first=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            inside = torch.arange(x.shape[1]) < lengths[:, None]
            return self.gru(x)[0] * inside[:, :, None]
