"""Faults of state: dropout, noise, counters, caches, modes, and what is changed in place."""

from __future__ import annotations

import random
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._registry import fault


@fault(kind="unservable")
class DropoutLeftOn:
    """`F.dropout` without `training=`: it drops in eval mode, too."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x, 0.3)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x, 0.3, self.training)


@fault(kind="unservable")
class Noise:
    """Noise is added in `forward`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * torch.randn_like(x)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * torch.ones_like(x)


@fault(kind="unservable", outputs={"y": "batch time 4"})
class RandomOrder:
    """Channels in the order of `torch.randperm`: one draw becomes a constant."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, torch.randperm(4)]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, torch.tensor([2, 0, 3, 1])]


@fault(kind="unservable")
class PythonRandom:
    """The gain is drawn with Python's own `random`."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * random.uniform(0.5, 1.5)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 0.75


@fault(kind="unservable")
class ReadsTheClock:
    """The gain depends on the time of day."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1 + time.perf_counter_ns() % 1009)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 1009


@fault(outputs={"y": "batch time 4"})
class SeededNoise:
    """Noise of a fixed seed: the same in every run of PyTorch, one traced draw or another generator in the file."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.manual_seed(7)
            return x + torch.randn(x.shape)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.sin(torch.arange(x.shape[1]) * 7.0)[:, None]


_calls = [0]


@fault(kind="unservable")
class GlobalCounter:
    """A counter of the module's file goes up with every call."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            _calls[0] += 1
            return x * _calls[0]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2


@fault(kind="unservable")
class RunningMean:
    """A running mean is updated in `forward`, in eval mode, too."""

    class Faulty(nn.Module):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            self.mean = 0.9 * self.mean + 0.1 * x.mean((0, 1))
            return x - self.mean

    class Twin(nn.Module):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            return x - self.mean


@fault(kind="unservable")
class InitialisedByData:
    """A normalisation that takes its scale from the first batch that it sees (ActNorm)."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.scale is None:
                self.scale = 1 / (x.abs().mean((0, 1)) + 0.1)
            return x * self.scale

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale


@fault(kind="unservable", inputs={"x": "batch{min=2} time 4"}, hidden=({"batch": 2, "time": 5}, {"batch": 5, "time": 13}))
class CacheOfTheLastCall:
    """The last frame of a call is put in front of the next one, as a stream would have it."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = torch.zeros(1, 1, 4)

        def forward(self, x: Tensor) -> Tensor:
            before = torch.cat([self.last.expand(x.shape[0], -1, -1), x[:, :-1]], 1)
            self.last = x[:1, -1:]
            return x - before

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)


@fault()
class CacheBySize:
    """Positions are computed once for the longest input so far: the file holds a table as long as the longest that was seen."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cache: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.cache is None or len(self.cache) < x.shape[1]:
                self.cache = torch.sin(torch.arange(int(x.shape[1])) * 0.3)[:, None]
            return x + self.cache[: x.shape[1]]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.sin(torch.arange(x.shape[1]) * 0.3)[:, None]


@fault(
    kind="rows",
    arguments={"set_eval": False},
    inputs={"x": "batch{min=2} 4 time"},
    outputs={"y": "batch 4 time"},
    hidden=({"batch": 2, "time": 5}, {"batch": 5, "time": 13}),
)
class BatchNormLeftInTraining:
    """Exported in training mode: every call normalises by its own batch."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4).eval()

        def train(self, mode: bool = True) -> nn.Module:
            super().train(mode)
            self.norm.eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x)


@fault(outputs={"y": "batch time 4", "z": "batch time 4"})
class InputChangedInPlace:
    """The input is changed in place after a view of it was taken: what the second output holds depends on copies that an exporter makes."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            half = x[:, :, :2]
            x.mul_(2)
            return x + 1, torch.cat([half, x[:, :, 2:]], 2)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            doubled = x * 2
            return doubled + 1, doubled.clone()


@fault()
class WrittenInASlice:
    """The first third is set to zero in place, up to the traced third."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            x[:, : int(x.shape[1]) // 3] = 0
            return x

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (torch.arange(x.shape[1]) >= x.shape[1] // 3)[:, None]


@fault()
class OtherwiseInExport:
    """A model that knows that it is being exported, and then clips instead of bending."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if torch.onnx.is_in_onnx_export() or torch.jit.is_tracing() or torch.compiler.is_exporting():
                return x.clamp(-1, 1)
            return x.tanh()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.tanh()


@fault()
class HookOnTheModel:
    """A forward hook on the model itself doubles its answer; an exporter that calls `forward` passes it by."""

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_forward_hook(lambda module, inputs, output: output * 2)

        def forward(self, x: Tensor) -> Tensor:
            return x.tanh()

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.tanh() * 2
