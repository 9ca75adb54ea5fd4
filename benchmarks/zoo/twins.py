"""Near twins, as artifacts: a module was swapped for one that is almost the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._registry import fault

CHANNELS = {"inputs": {"x": "batch 4 time"}, "outputs": {"y": "batch 4 time"}}


@fault(kind="artifact", tolerance=1e-5)
class GeluByTanh:
    """GELU by its tanh approximation."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.gelu(x, approximate="tanh")

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.gelu(x)


@fault(kind="artifact", tolerance=1e-5)
class LayerNormEps:
    """A layer norm with an eps of 1e-3 instead of 1e-5."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, (4,), eps=1e-3)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, (4,), eps=1e-5)


@fault(kind="artifact", tolerance=2e-6)
class LayerNormEpsSmall:
    """A layer norm with an eps of 1e-5 instead of 1e-6: five parts in a million."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, (4,), eps=1e-5)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, (4,), eps=1e-6)


@fault(
    kind="artifact",
    inputs={"x": "batch time{min=2} 4"},
    outputs={"y": "batch 4"},
    hidden=({"batch": 2, "time": 2}, {"batch": 2, "time": 40}),
)
class DeviationUnbiased:
    """A standard deviation over n instead of n - 1."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.std(1, unbiased=False)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.std(1)


@fault(
    kind="artifact",
    inputs={"x": "batch 4 time{min=4}"},
    outputs={"y": "batch 4 time"},
    hidden=({"batch": 2, "time": 5}, {"batch": 1, "time": 40}),
)
class PaddingMode:
    """A convolution pads with zeros instead of reflecting."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 3, padding=1, padding_mode="reflect")

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)


@fault(kind="artifact", **CHANNELS)
class PaddingShifted:
    """A causal convolution pads on both sides."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv1d(F.pad(x, (1, 1)), self.weight)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv1d(F.pad(x, (2, 0)), self.weight)


@fault(kind="artifact", **CHANNELS)
class GroupsShuffled:
    """A grouped convolution takes its groups interleaved."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2))

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)


@fault(kind="artifact", **CHANNELS)
class PadCounted:
    """An average pool leaves its padding out of the count."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool1d(x, 3, 1, padding=1, count_include_pad=False)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool1d(x, 3, 1, padding=1)


@fault(
    kind="artifact",
    inputs={"x": "batch 3 height width"},
    outputs={"y": "batch 3 rows columns"},
    traced={"batch": 2, "height": 5, "width": 6},
    hidden=({"batch": 1, "height": 8, "width": 3}, {"batch": 2, "height": 1, "width": 4}),
)
class CornersAligned:
    """Bilinear upsampling with other corners."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


@fault(kind="artifact", inputs={"x": "batch time 4", "mask": ("batch time", "bool")}, outputs={"y": "batch time 4"})
class MaskByLargeNumber:
    """A mask of -1e9 instead of -inf: only a row that is masked everywhere tells them apart."""

    @staticmethod
    def values(generator):
        mask = torch.rand(3, 12, generator=generator) > 0.5
        mask[1] = False
        return [(torch.randn(3, 12, 4, generator=generator), mask)]

    class Faulty(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return (x @ x.transpose(1, 2)).masked_fill(~mask[:, None], -1e9).softmax(2) @ x

    class Twin(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return (x @ x.transpose(1, 2)).masked_fill(~mask[:, None], float("-inf")).softmax(2) @ x


@fault(kind="artifact")
class MaskTooWeak:
    """A mask of -10 instead of -1e4 lets something through."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            place = torch.arange(x.shape[1])
            return (x @ x.transpose(1, 2)).masked_fill(place > place[:, None], -10.0).softmax(2) @ x

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            place = torch.arange(x.shape[1])
            return (x @ x.transpose(1, 2)).masked_fill(place > place[:, None], -1e4).softmax(2) @ x


@fault(kind="artifact", inputs={"x": ("batch time", "int64")}, outputs={"y": ("batch time", "int64")})
class HalvesRoundedUp:
    """Halves are rounded up instead of to even."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.floor(x / 2 + 0.5).long()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.round(x / 2).long()


@fault(kind="artifact", inputs={"x": ("batch time", "int64")}, outputs={"y": ("batch time", "int64")})
class HashInInt32:
    """A hash in 32 bits instead of 64: the same for small numbers."""

    @staticmethod
    def draw(sizes, generator):
        return (torch.randint(0, 100000, (sizes["batch"], sizes["time"]), generator=generator),)

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ((x.int() * 40503) % 1021).long()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 40503) % 1021


@fault(kind="artifact")
class SaturatedInHalf:
    """The input is clipped to what half precision holds: the same for every ordinary input."""

    @staticmethod
    def values(generator):
        return [(1e6 * torch.randn(3, 12, 4, generator=generator),)]

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(-65504, 65504) * 0.5

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 0.5


@fault(kind="artifact", outputs={"y": "batch time"})
class EpsilonInALog:
    """`log(x + 1e-6)` instead of `log(x + 1e-9)`: the same unless x is silent."""

    @staticmethod
    def values(generator):
        return [(torch.zeros(2, 8, 4),)]

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x.abs().sum(2) + 1e-6)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(x.abs().sum(2) + 1e-9)


@fault(kind="artifact", outputs={"y": "batch 4"})
class EinsumTransposed:
    """An einsum with two indices exchanged: the same wherever the weight is symmetric."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("...i,ji->...j", x.mean(1), self.weight)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("...i,ij->...j", x.mean(1), self.weight)


@fault(kind="artifact", outputs={"y": "batch time 10"})
class DirectionsExchanged:
    """The two directions of a bidirectional LSTM are exchanged."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 5, batch_first=True, bidirectional=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0].roll(5, 2)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 5, batch_first=True, bidirectional=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0]
