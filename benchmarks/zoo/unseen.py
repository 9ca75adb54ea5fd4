"""Faults that read a size where no comparison shows it: below Python, by a table, as bytes, as a remainder that few sizes have."""

from __future__ import annotations

import bisect
import math

import torch
from torch import Tensor, nn

from zoo._registry import fault

LONG = ({"batch": 1, "time": 499}, {"batch": 1, "time": 500}, {"batch": 2, "time": 640})
FACTORS = {600: 3.0, 900: 4.0}


def length_of(x: Tensor) -> Tensor:
    """The length as a tensor, which a file computes anew."""
    return torch.ones_like(x[0, :, 0]).sum()


@fault(also=LONG)
class LogarithmOfALength:
    """`if math.log2(length) > 8.5`: the size turns into a float below Python."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if math.log2(x.shape[1]) > 8.5:
                return x * 3
            return x * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(length_of(x) > 2**8.5, x * 3, x * 2)


@fault(also=({"batch": 1, "time": 600}, {"batch": 2, "time": 900}))
class FactorFromATable:
    """`FACTORS.get(length, 2.0)`: two lengths have factors of their own."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * FACTORS.get(x.shape[1], 2.0)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            length = length_of(x)
            return torch.where(length == 600, x * 3, torch.where(length == 900, x * 4, x * 2))


@fault(also=({"batch": 1, "time": 384}, {"batch": 2, "time": 768}))
class OneOfASet:
    """`length in {384, 768}`: lengths that were tuned for take another path."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            tuned = x.shape[1] in {384, 768}
            return x.cumsum(2) if tuned else x * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            length = length_of(x)
            return torch.where((length == 384) | (length == 768), x.cumsum(2), x * 2)


@fault(also=LONG)
class NumberOfWindows:
    """`len(range(0, length, 100)) > 4`: many windows are blended, few are not."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            windows = len(range(0, x.shape[1], 100))
            if windows > 4:
                return x.tanh()
            return x.sigmoid()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(length_of(x) > 400, x.tanh(), x.sigmoid())


@fault(also=LONG)
class ManyBytes:
    """`x.nbytes > 4096`: large inputs go another way."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.nbytes > 4096:
                return x * 3
            return x * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(torch.ones_like(x).sum() * 4 > 4096, x * 3, x * 2)


@fault(also=({"batch": 1, "time": 217}, {"batch": 2, "time": 517}))
class OneRemainder:
    """`length % 300 == 217`: one length in three hundred."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] % 300 == 217:
                return x * 3
            return x * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(length_of(x) % 300 == 217, x * 3, x * 2)


@fault(also=({"batch": 1, "time": 217}, {"batch": 2, "time": 517}))
class RemainderOfAPlainNumber:
    """`int(length) % 300 == 217`: the same, where the size is an ordinary number already."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            length = int(x.shape[1])
            if length % 300 == 217:
                return x * 3
            return x * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(length_of(x) % 300 == 217, x * 3, x * 2)


@fault(also=LONG)
class PlaceAmongLimits:
    """`bisect(limits, length)`: the bucket of a length is found below Python."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bucket = bisect.bisect([150, 450], x.shape[1])
            if bucket == 2:
                return x.exp()
            return x * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(length_of(x) >= 450, x.exp(), x * 2)


@fault(also=LONG)
class TensorOfASize:
    """`torch.tensor(length) > 450`: the size goes through a tensor and back."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if bool(torch.tensor(x.shape[1]) > 450):
                return x * 3
            return x * 2

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(length_of(x) > 450, x * 3, x * 2)


@fault(also=({"batch": 1, "time": 72}, {"batch": 2, "time": 96}, {"batch": 1, "time": 48}))
class BlocksOfADivisor:
    """`math.gcd(length, 48) > 16`: C reads the size itself, and at 48 both ways agree."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            block = math.gcd(x.shape[1], 48)
            if block > 16:
                return x * (x.shape[1] // block)
            return x

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            length = length_of(x).long()
            block = torch.where(length % 48 == 0, 48, torch.where(length % 24 == 0, 24, 0))
            return x * torch.where(block > 0, length // block.clamp(min=1), 1)


@fault(also=({"batch": 2, "time": 64}, {"batch": 4, "time": 96}, {"batch": 1, "time": 64}))
class FastPathForWholeTiles:
    """`batch % 2 == 0 and length % 32 == 0`: the second remainder is asked only where the first is none."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[0] % 2 == 0 and x.shape[1] % 32 == 0:
                return x.tanh()
            return x.sigmoid()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows, length = torch.ones_like(x[:, 0, 0]).sum(), length_of(x)
            return torch.where((rows % 2 == 0) & (length % 32 == 0), x.tanh(), x.sigmoid())


@fault(also=({"batch": 1, "time": 64}, {"batch": 2, "time": 128}))
class RemainderByBits:
    """`length & 63`: a remainder that is no `%`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] & 63:
                return x * 2
            return x * 3

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(length_of(x) % 64 > 0, x * 2, x * 3)
