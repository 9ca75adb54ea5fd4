"""Faults of neighbourhood: the answer to one row depends on the rows that a server happens to put beside it, or on their padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchport import NeuralType
from torchport.types import EncodedRepresentation, LengthsType
from zoo._registry import fault

_ROWS = ({"batch": 2, "time": 5}, {"batch": 4, "time": 13})


@fault(kind="rows", hidden=_ROWS)
class SoftmaxOverBatch:
    """Softmax over axis 0."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.softmax(0)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.softmax(2)


@fault(kind="rows", hidden=_ROWS)
class ScaledByTheBatch:
    """Normalised by the largest magnitude of the whole batch."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / x.abs().amax()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / x.abs().amax((1, 2), keepdim=True)


@fault(kind="rows", hidden=_ROWS)
class ComparedWithTheFirst:
    """Every row is taken relative to the first."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x[:1]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x[:, :1]


@fault(kind="rows", inputs={"x": "batch 4 time"}, outputs={"y": "batch 4 time"}, hidden=_ROWS)
class BatchStatistics:
    """Batch norm by the batch at hand: training mode, written into `forward`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            centred = x - x.mean((0, 2), keepdim=True)
            return centred / (centred.square().mean((0, 2), keepdim=True) + 1e-5).sqrt()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.group_norm(x, 2)


@fault(kind="rows", outputs={"y": "batch time 5"}, hidden=_ROWS)
class RecurrenceOverTheBatch:
    """A GRU without `batch_first`: it runs over the rows."""

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
            return self.gru(x)[0]


@fault(kind="rows", hidden=_ROWS)
class QuantisedByTheBatch:
    """Dynamic quantisation with one scale for the whole batch."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            scale = (x.amax() - x.amin()) / 31 + 1e-6
            return torch.floor(x / scale) * scale

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.floor(x / 0.25) * 0.25


class _Lengths:
    @staticmethod
    def draw(sizes, generator):
        lengths = torch.randint(1, sizes["time"] + 1, (sizes["batch"],), generator=generator)
        lengths[-1] = sizes["time"]
        return torch.randn(sizes["batch"], sizes["time"], 4, generator=generator), lengths


_X = NeuralType(("B", "T", "D"), EncodedRepresentation())
_INPUTS = {"x": _X, "lengths": NeuralType(("B",), LengthsType())}
_POOLED = {"y": NeuralType(("B", "D"), EncodedRepresentation())}


@fault(kind="rows", inputs=_INPUTS, outputs=_POOLED, hidden=_ROWS)
class MissingPaddingMask(_Lengths):
    """Attention without the padding mask: a short row beside a long one attends to its padding."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            attended = (x @ x.transpose(1, 2)).softmax(2) @ x
            inside = (torch.arange(x.shape[1]) < lengths[:, None])[:, :, None]
            return (attended * inside).sum(1) / lengths[:, None]

    class Twin(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            inside = torch.arange(x.shape[1]) < lengths[:, None]
            attended = (x @ x.transpose(1, 2)).masked_fill(~inside[:, None], -1e9).softmax(2) @ x
            return (attended * inside[:, :, None]).sum(1) / lengths[:, None]


@fault(kind="rows", inputs=_INPUTS, outputs=_POOLED, hidden=_ROWS)
class LargestOverPadding(_Lengths):
    """The largest value is taken over the padding, too."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return x.amax(1) * lengths[:, None]

    class Twin(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            inside = (torch.arange(x.shape[1]) < lengths[:, None])[:, :, None]
            return x.masked_fill(~inside, -1e9).amax(1) * lengths[:, None]


@fault(kind="rows", hidden=_ROWS)
class NumberedByTheBatch:
    """A row is given the number of its place in the batch."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * torch.arange(x.shape[0])[:, None, None]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * torch.arange(x.shape[1])[:, None]


@fault(kind="rows", inputs=_INPUTS, outputs=_POOLED, hidden=_ROWS)
class SortedAndLeftSo(_Lengths):
    """Rows are sorted by length for speed, and come out in that order."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            order = lengths.sort(descending=True)[1]
            inside = (torch.arange(x.shape[1]) < lengths[:, None])[:, :, None]
            return ((x * inside).sum(1) / lengths[:, None])[order]

    class Twin(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            inside = (torch.arange(x.shape[1]) < lengths[:, None])[:, :, None]
            return (x * inside).sum(1) / lengths[:, None]
