"""Faults of value: a decision, a count or a number is taken from the example's values and stays."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from torchport import NeuralType
from torchport.types import EncodedRepresentation, LengthsType, TokenIndex
from zoo._registry import fault

SHORT = ({"batch": 1, "time": 1}, {"batch": 2, "time": 5}, {"batch": 4, "time": 13}, {"batch": 5, "time": 24})


class _Signed:
    """Hidden values: all above zero, all below, zero, large."""

    @staticmethod
    def values(generator):
        x = torch.rand(3, 12, 4, generator=generator) + 0.1
        return [(x,), (-x,), (0 * x,), (1e3 * x,), (-1e3 * x,)]


@fault(hidden=SHORT)
class BranchOnMean(_Signed):
    """`if x.mean() > 0`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.mean() > 0:
                return x * 2
            return x * 3

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x.mean() > 0, x * 2, x * 3)


@fault(hidden=SHORT)
class BranchOnItem(_Signed):
    """A branch on one element, read by `.item()`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x[0, 0, 0].item() > 0:
                return x.relu()
            return x.abs()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x[:, :1, :1] > 0, x.relu(), x.abs())


@fault(hidden=SHORT)
class BranchOnAny(_Signed):
    """`if (x < -50).any()`: a guard against outliers that no ordinary example trips."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if (x < -50).any():
                x = x.clamp(min=-50)
            return x * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(min=-50) * 2


@fault(inputs={"a": "batch time", "b": "batch time"}, outputs={"y": "batch time"}, hidden=SHORT)
class BranchOnEqual:
    """`if torch.equal(a, b)`: two inputs that are the same take another path."""

    @staticmethod
    def values(generator):
        a = torch.randn(3, 12, generator=generator)
        return [(a, a.clone()), (a, a + 1)]

    class Faulty(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            if torch.equal(a, b):
                return a * 2
            return a - b

    class Twin(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return torch.where((a == b).all(), a * 2, a - b)


@fault(inputs={"a": "batch time", "b": "batch time"}, outputs={"y": "batch time"}, hidden=SHORT)
class BranchOnAllclose:
    """`if torch.allclose(a, b)`."""

    @staticmethod
    def values(generator):
        a = torch.randn(3, 12, generator=generator)
        return [(a, a.clone()), (a, a + 1)]

    class Faulty(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            if torch.allclose(a, b):
                return a + b
            return a - b

    class Twin(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return torch.where(((a - b).abs() < 1e-6).all(), a + b, a - b)


@fault(hidden=SHORT)
class BranchOnNan:
    """`if torch.isnan(x).any()`: a repair that the traced example did not need."""

    @staticmethod
    def values(generator):
        x = torch.randn(3, 12, 4, generator=generator)
        x[0, 3] = float("nan")
        return [(x,)]

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if torch.isnan(x).any():
                x = torch.nan_to_num(x)
            return x * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(torch.isnan(x), 0.0, x) * 2


@fault(hidden=SHORT)
class PythonMaximum(_Signed):
    """The built-in `max` of a tensor and a number compares, and keeps one of the two."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * max(x.mean(), torch.tensor(0.25))

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.mean().clamp(min=0.25)


@fault(hidden=SHORT)
class ConstantFromTensors(_Signed):
    """`torch.tensor([x.mean(), …])` copies the traced values out of the graph."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - torch.tensor([x[0].mean(), x[0].amin(), x[0].amax(), 0.0])

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - torch.stack([x[0].mean(), x[0].amin(), x[0].amax(), torch.zeros(())])


@fault(hidden=SHORT)
class ScaleThroughMath(_Signed):
    """`math.sqrt` of a tensor gives a Python number."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / math.sqrt(1 + x.square().mean())

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / torch.sqrt(1 + x.square().mean())


@fault(hidden=SHORT)
class RoundTripThroughNumpy(_Signed):
    """Sorted by NumPy: the traced answer becomes a constant."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            order = torch.from_numpy(np.sort(x.detach().numpy(), axis=2))
            return x + order

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.sort(2)[0]


@fault(hidden=SHORT)
class FormattedValue(_Signed):
    """A scale is read back from text with three decimals."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * float(f"{x.abs().max():.3f}")

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.abs().amax()


@fault(hidden=SHORT)
class TypedStorageRead(_Signed):
    """A scale is read out of the tensor's memory, past every method that is watched."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1 + abs(x.contiguous().untyped_storage()[0]) / 255)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1 + x[:1, :1, :1].abs())


@fault(inputs={"x": "batch time 4", "mask": ("batch time", "bool")}, outputs={"y": "batch 4"}, hidden=SHORT)
class CountOfMask:
    """A masked mean whose count is read with `int()`."""

    @staticmethod
    def values(generator):
        x = torch.randn(3, 12, 4, generator=generator)
        return [(x, torch.ones(3, 12, dtype=torch.bool)), (x, torch.rand(3, 12, generator=generator) > 0.8)]

    class Faulty(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return (x * mask[:, :, None]).sum(1) / (1 + int(mask.sum()))

    class Twin(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return (x * mask[:, :, None]).sum(1) / (1 + mask.sum())


@fault(hidden=SHORT)
class CountOfSelected(_Signed):
    """Boolean indexing, and the number of what was selected."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1 + len(x[x > 0]))

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1 + (x > 0).sum())


@fault(
    inputs={"ids": NeuralType(("B", "T"), TokenIndex(num_classes=20))},
    outputs={"y": NeuralType(("B", "T", "D"), EncodedRepresentation())},
    hidden=SHORT,
)
class TryExceptOnValues:
    """Ids past the table raise, and a second try clamps them: the trace holds the first try only."""

    @staticmethod
    def draw(sizes, generator):
        return (torch.randint(0, 12, (sizes["batch"], sizes["time"]), generator=generator),)

    @staticmethod
    def values(generator):
        return [(torch.randint(10, 20, (3, 12), generator=generator),)]

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(12, 4)

        def forward(self, ids: Tensor) -> Tensor:
            try:
                return self.table(ids)
            except IndexError:
                return self.table(ids.clamp(max=11)) * 0.5

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(12, 4)

        def forward(self, ids: Tensor) -> Tensor:
            known = self.table(ids.clamp(max=11))
            return torch.where((ids > 11).any(), known * 0.5, known)


@fault(inputs={"x": "batch time 4", "choice": ("batch", "int64")}, outputs={"y": "batch time 4"}, hidden=SHORT)
class ExpertByValue:
    """A layer is picked by `int(choice[0])`."""

    @staticmethod
    def draw(sizes, generator):
        x = torch.randn(sizes["batch"], sizes["time"], 4, generator=generator)
        return x, torch.randint(0, 3, (sizes["batch"],), generator=generator)

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor, choice: Tensor) -> Tensor:
            return self.experts[int(choice[0])](x)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.Parameter(torch.randn(3, 4, 4))

        def forward(self, x: Tensor, choice: Tensor) -> Tensor:
            return x @ self.experts[choice]


class _Lengths:
    @staticmethod
    def draw(sizes, generator):
        lengths = torch.randint(1, sizes["time"] + 1, (sizes["batch"],), generator=generator)
        lengths[0] = sizes["time"]
        return torch.randn(sizes["batch"], sizes["time"], 4, generator=generator), lengths

    @staticmethod
    def values(generator):
        return [
            (torch.randn(3, 12, 4, generator=generator), torch.tensor([3, 7, 5])),
            (torch.randn(2, 9, 4, generator=generator), torch.tensor([1, 1])),
        ]


_X = NeuralType(("B", "T", "D"), EncodedRepresentation())
_INPUTS = {"x": _X, "lengths": NeuralType(("B",), LengthsType())}


@fault(inputs=_INPUTS, outputs={"y": _X}, hidden=SHORT)
class LongestByItem(_Lengths):
    """A mask is made up to `lengths.max().item()`, and padded to the input's length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            longest = int(lengths.max().item())
            inside = torch.arange(longest) < lengths[:, None]
            y = x.clone()
            y[:, longest:] = 0
            y[:, :longest] = y[:, :longest] * inside[:, :, None]
            return y

    class Twin(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return x * (torch.arange(x.shape[1]) < lengths[:, None])[:, :, None]


@fault(inputs=_INPUTS, outputs={"y": NeuralType(("B", "D"), EncodedRepresentation())}, hidden=SHORT)
class LengthsToList(_Lengths):
    """Rows are cut by `lengths.tolist()`, one after the other."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return torch.stack([row[:length].mean(0) for row, length in zip(x, lengths.tolist(), strict=True)])

    class Twin(nn.Module):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            inside = (torch.arange(x.shape[1]) < lengths[:, None])[:, :, None]
            return (x * inside).sum(1) / lengths[:, None]


@fault(
    inputs={"ids": NeuralType(("B", "T"), TokenIndex(num_classes=20))},
    outputs={"y": NeuralType(("B", "D"), EncodedRepresentation())},
    hidden=SHORT,
)
class OneHotOfTheLargest:
    """`one_hot` without the number of classes makes as many as the largest id of the example asks for."""

    @staticmethod
    def draw(sizes, generator):
        return (torch.randint(0, 20, (sizes["batch"], sizes["time"]), generator=generator),)

    @staticmethod
    def values(generator):
        return [(torch.zeros(3, 12, dtype=torch.int64),), (torch.full((3, 12), 19),)]

    class Faulty(nn.Module):
        def forward(self, ids: Tensor) -> Tensor:
            counts = nn.functional.one_hot(ids).sum(1).float()
            return nn.functional.pad(counts, (0, 20 - counts.shape[1]))

    class Twin(nn.Module):
        def forward(self, ids: Tensor) -> Tensor:
            return nn.functional.one_hot(ids, 20).sum(1).float()
