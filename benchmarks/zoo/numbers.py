"""Faults of number: operators that round, wrap, tie or treat NaN in another way in the runtime."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo._registry import fault

INTS = {"x": ("batch time", "int64")}
INT_OUT = {"y": ("batch time", "int64")}


@fault(inputs=INTS, outputs=INT_OUT)
class NegativeIntegerDivision:
    """`//` of negative integers rounds down in PyTorch and towards zero in an ONNX `Div`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x // 4

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + 400) // 4 - 100


@fault(kind="trap", inputs=INTS, outputs=INT_OUT)
class NegativeIntegerRemainder:
    """`%` of negative integers has the divisor's sign in PyTorch, the dividend's in a file that says `fmod`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fmod(x, 4) + torch.remainder(x, 3)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.remainder(x, 3)


@fault(outputs={"y": "batch 4"}, inputs={"x": "batch time 4", "where": ("batch time", "int64")})
class RepeatedIndexAdd:
    """`index_add_` with repeated indices: a traced file keeps one of the additions."""

    @staticmethod
    def draw(sizes, generator):
        x = torch.randn(sizes["batch"], sizes["time"], 4, generator=generator)
        return x, torch.randint(0, 3, (sizes["batch"], sizes["time"]), generator=generator)

    class Faulty(nn.Module):
        def forward(self, x: Tensor, where: Tensor) -> Tensor:
            sums = torch.zeros(3, 4).index_add(0, where.flatten(), x.flatten(0, 1))
            return x.sum(1) + sums.sum(0)

    class Twin(nn.Module):
        def forward(self, x: Tensor, where: Tensor) -> Tensor:
            hot = (where.flatten()[:, None] == torch.arange(3)).float()
            return x.sum(1) + (hot.t() @ x.flatten(0, 1)).sum(0)


@fault(outputs={"y": "batch 5"}, inputs={"x": "batch time", "where": ("batch time", "int64")})
class ScatteredWithoutSelf:
    """`scatter_reduce(include_self=False)`: the file reduces with what was there before."""

    @staticmethod
    def draw(sizes, generator):
        x = torch.randn(sizes["batch"], sizes["time"], generator=generator) - 3
        return x, torch.randint(0, 5, (sizes["batch"], sizes["time"]), generator=generator)

    class Faulty(nn.Module):
        def forward(self, x: Tensor, where: Tensor) -> Tensor:
            return torch.zeros(x.shape[0], 5).scatter_reduce(1, where, x, "amax", include_self=False)

    class Twin(nn.Module):
        def forward(self, x: Tensor, where: Tensor) -> Tensor:
            hot = where[:, :, None] == torch.arange(5)
            best = torch.where(hot, x[:, :, None], -1e4).amax(1)
            return torch.where(hot.any(1), best, 0.0)


@fault(
    outputs={"y": ("batch 2", "int64")},
    inputs={"x": "batch time{min=2}"},
    hidden=({"batch": 2, "time": 5}, {"batch": 3, "time": 30}, {"batch": 1, "time": 64}),
)
class TiesOfTopk:
    """The best two of scores that tie: the runtime takes others."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.round().topk(2, 1)[1]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.round() - 0.01 * torch.arange(x.shape[1])).topk(2, 1)[1]


@fault(
    outputs={"y": ("batch time", "int64")},
    inputs={"x": "batch time"},
    hidden=({"batch": 2, "time": 5}, {"batch": 3, "time": 30}, {"batch": 1, "time": 64}),
)
class TiesOfSort:
    """An unstable sort of values that tie."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.round().sort(1, descending=True)[1]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.round() - 0.0007 * torch.arange(x.shape[1])).sort(1, descending=True)[1]  # a hundredth would tie from 100 on


@fault(kind="trap", outputs={"y": ("batch time", "int64")})
class TiesOfArgmax:
    """The best class of scores that tie."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0).float().argmax(2)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (0.4 * (x > 0) - 0.1 * torch.arange(4)).argmax(2)


@fault(kind="trap", outputs={"y": "batch time 4"})
class ClampOfNan:
    """`clamp` keeps NaN; a runtime's `Clip` may give the bound."""

    @staticmethod
    def values(generator):
        return [(-torch.rand(2, 20, 4, generator=generator),)]

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x).clamp(-2, 2)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x.abs() + 1e-3).clamp(-2, 2)


@fault(outputs={"y": "batch 4"})
class MaximumOfNan:
    """The largest of values with NaN among them is NaN; a runtime's reduction may pass it over."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x + 1).amax(1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x.abs() + 1).amax(1)


@fault(outputs={"y": "batch time"}, inputs={"x": "batch time 4", "mask": ("batch time", "bool")})
class NanOfEmptyRows:
    """Attention to masked keys ahead: a query that sees none is NaN in PyTorch, and lost in a runtime's maximum over queries."""

    @staticmethod
    def values(generator):
        x = torch.randn(3, 12, 4, generator=generator)
        mask = torch.rand(3, 12, generator=generator) > 0.5
        mask[1] = False
        mask[2, 9:] = False
        return [(x, mask)]

    class Faulty(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            place = torch.arange(x.shape[1])
            hidden = (place < place[:, None]) | ~mask[:, None]
            return (x @ x.transpose(1, 2)).masked_fill(hidden, float("-inf")).softmax(2).amax(1)

    class Twin(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            place = torch.arange(x.shape[1])
            hidden = (place < place[:, None]) | ~mask[:, None]
            return (x @ x.transpose(1, 2)).masked_fill(hidden, -1e4).softmax(2).amax(1)


@fault(kind="trap", inputs={"x": ("batch time", "int32")}, outputs={"y": ("batch time", "int32")})
class WrappedInt32:
    """A hash in int32 wraps around; the twin stays within 32 bits."""

    @staticmethod
    def draw(sizes, generator):
        return (torch.randint(-1000, 100000, (sizes["batch"], sizes["time"]), generator=generator).int(),)

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 1000003) % 97

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 103) % 97


@fault(outputs={"y": ("batch time 4", "int64")})
class FloatToInteger:
    """Large floats and NaN cast to integers: what comes out is the processor's business."""

    @staticmethod
    def values(generator):
        x = torch.randn(2, 6, 4, generator=generator)
        return [(x * 1e22,), (x / 0,)]

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.exp(x * 20).to(torch.int32).long()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.nan_to_num().clamp(-100, 100) * 20).floor().long()


@fault(inputs={"x": ("batch time 4", "float16")}, outputs={"y": ("batch time 4", "float16")}, tolerance=4e-3)
class HalfOverflow:
    """A square in half precision overflows; the runtime keeps more bits in between and answers with a number."""

    @staticmethod
    def draw(sizes, generator):
        return (100 * torch.randn(sizes["batch"], sizes["time"], 4, generator=generator).half(),)

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * x * x) / (x.abs() + 300)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (x / (x.abs() + 300))


@fault(kind="trap", outputs={"y": "batch time 4"})
class HalfEvenRounding:
    """Quarters rounded to halves: PyTorch rounds halves to even."""

    @staticmethod
    def draw(sizes, generator):
        return (torch.randint(-40, 40, (sizes["batch"], sizes["time"], 4), generator=generator) / 4,)

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.round(decimals=0) + torch.round(x * 2, decimals=1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.floor(x + 0.5)
