"""Faults of windows, grids and resampling: an operator whose size is baked, on one axis or on two."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._registry import fault

WIDE = ({"batch": 2, "time": 5}, {"batch": 1, "time": 8}, {"batch": 4, "time": 31}, {"batch": 2, "time": 64})
IMAGE = {"batch": 2, "height": 9, "width": 12}
IMAGES = ({"batch": 1, "height": 12, "width": 9}, {"batch": 3, "height": 5, "width": 7}, {"batch": 1, "height": 16, "width": 16})


@fault(inputs={"x": "batch 4 time"}, outputs={"y": "batch 4 frames"})
class InterpolatedToConstant:
    """Upsampling to twice the length, which is a number of the trace."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, size=2 * int(x.shape[2]), mode="nearest")

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=2, mode="nearest")


@fault(
    inputs={"x": "batch 4 height width", "y": "batch 4 rows columns"},
    outputs={"z": "batch 4 rows columns"},
    traced={"batch": 2, "height": 5, "width": 6, "rows": 10, "columns": 12},
    hidden=(
        {"batch": 1, "height": 5, "width": 7, "rows": 11, "columns": 9},
        {"batch": 3, "height": 8, "width": 4, "rows": 16, "columns": 8},
    ),
)
class InterpolatedToAnother:
    """A feature map is resized to the size that another had in the trace."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return F.interpolate(x, size=(int(y.shape[2]), int(y.shape[3])), mode="bilinear", align_corners=False) + y

    class Twin(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return F.interpolate(x, size=y.shape[2:], mode="bilinear", align_corners=False) + y


ROUNDED = ({"batch": 1, "time": 90}, {"batch": 2, "time": 170}, {"batch": 1, "time": 2}, {"batch": 3, "time": 64})


@fault(inputs={"x": "batch 4 time"}, outputs={"y": "batch 4 frames"}, hidden=ROUNDED)
class ScaleInSinglePrecision:
    """Longer by 1.3: at every thirtieth size the runtime's length is one short, and an axis of two keeps its own values."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=1.3, mode="nearest")

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=1.3, mode="nearest", recompute_scale_factor=True)


@fault(inputs={"x": "batch 4 time"}, outputs={"y": "batch 4 frames"}, hidden=ROUNDED)
class ScaleOfALongerAxis:
    """The same inside of a network: the axis that is scaled is twice as long as the declared one."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(F.pad(x, (0, x.shape[2])), scale_factor=0.7, mode="linear")

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(F.pad(x, (0, x.shape[2])), scale_factor=0.7, mode="linear", recompute_scale_factor=True)


@fault(inputs={"x": "batch time{min=3}"}, outputs={"y": "batch frames 3"}, hidden=WIDE)
class StridedWindows:
    """Windows by `as_strided`, whose sizes and strides are those of the trace."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            batch, time = int(x.shape[0]), int(x.shape[1])
            return x.as_strided((batch, time - 2, 3), (time, 1, 1))

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, :-2], x[:, 1:-1], x[:, 2:]], 2)


@fault(inputs={"x": "batch time{min=4}"}, outputs={"y": "batch frames"}, hidden=WIDE)
class UnfoldedWindows:
    """`unfold` over a dynamic axis: the number of windows is that of the trace."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.unfold(1, 4, 2).amax(2)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool1d(x[:, None], 4, 2)[:, 0]


@fault(
    inputs={"x": "batch 4 time"},
    outputs={"y": "batch 4 3"},
    hidden=({"batch": 2, "time": 5}, {"batch": 1, "time": 24}, {"batch": 4, "time": 31}),
)
class PooledToThree:
    """Adaptive pooling to three frames: a pool with the traced kernel."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool1d(x, int(x.shape[2]) // 3, int(x.shape[2]) // 3)[:, :, :3]

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.adaptive_avg_pool1d(x, 1).expand(-1, -1, 3)


@fault(kind="trap", inputs={"x": "batch 4 time{min=3}"}, outputs={"y": "batch 4 frames"}, hidden=WIDE)
class PooledWithCeil:
    """`ceil_mode` with padding: the runtime's last window counts another number of elements at some lengths."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool1d(x, 3, 2, padding=1, ceil_mode=True, count_include_pad=True)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool1d(x, 3, 2, padding=1)


@fault()
class CausalMaskOfTracedSize:
    """A causal mask is made by `triu` of the traced length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            later = torch.triu(torch.ones(int(x.shape[1]), int(x.shape[1]), dtype=torch.bool), 1)[: x.shape[1], : x.shape[1]]
            return (x @ x.transpose(1, 2)).masked_fill(later, -1e4).softmax(2) @ x

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            place = torch.arange(x.shape[1])
            return (x @ x.transpose(1, 2)).masked_fill(place > place[:, None], -1e4).softmax(2) @ x


@fault(inputs={"x": "batch 3 height width"}, outputs={"y": "batch 5 height width"}, traced=IMAGE, hidden=IMAGES)
class GridOfTracedSize:
    """Coordinates are appended on a grid of the traced height and width."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows, columns = torch.meshgrid(torch.arange(int(x.shape[2])), torch.arange(int(x.shape[3])), indexing="ij")
            return torch.cat([x, torch.stack([rows, columns]).float().expand(int(x.shape[0]), -1, -1, -1)], 1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows = torch.ones_like(x[:, :1]).cumsum(2) - 1
            columns = torch.ones_like(x[:, :1]).cumsum(3) - 1
            return torch.cat([x, rows, columns], 1)


@fault(inputs={"x": "batch 3 height width"}, outputs={"y": "batch places 3"}, traced={"batch": 2, "height": 12, "width": 12}, hidden=IMAGES)
class SquareInput:
    """A model for square images reads the height twice; traced on a square, the width is baked nowhere and wrong everywhere."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            side = int(x.shape[2])
            return x.flatten(2).transpose(1, 2).reshape(-1, side * int(x.shape[3]), 3) / side

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2).transpose(1, 2) / x.shape[2]


@fault(inputs={"x": "batch time 8"}, outputs={"y": "batch 2 time time"}, hidden=WIDE)
class HeadsOfTracedBatch:
    """Attention heads are folded into the batch by a view with the traced batch, and unfolded the same way."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            batch = int(x.shape[0])
            heads = x.view(batch, -1, 2, 4).transpose(1, 2).reshape(batch * 2, -1, 4)
            return torch.bmm(heads, heads.transpose(1, 2)).view(batch, 2, x.shape[1], -1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            heads = x.unflatten(2, (2, 4)).transpose(1, 2)
            return heads @ heads.transpose(2, 3)


@fault(inputs={"x": "batch time{min=5} 4"}, outputs={"y": "batch time 4"}, hidden=WIDE)
class RolledByTracedSize:
    """Frames are shifted by a third of the traced length."""

    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.roll(x, int(x.shape[1]) // 3, 1)

    class Twin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            third = x.shape[1] // 3
            return torch.cat([x[:, x.shape[1] - third :], x[:, : x.shape[1] - third]], 1)
