"""1-D convolutions, batch norms and pools become their 2-D twins, for runtimes that only know two dimensions.

A twin takes and gives what the 1-D module did; inside it works on a height of one, on the same weights. Its hyper-parameters keep their
1-D spelling, because models read them (``conv.stride[0]``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from torchport.prepare.replacement import Replacement, Stage, borrowed, defined_by, shell

__all__ = ["BatchNorm1dAs2d", "Conv1dAs2d", "ConvTranspose1dAs2d", "TWINS", "TwinReplacement"]


def _pair(value: Any, default: int) -> tuple[int, int]:
    """A 1-D hyper-parameter for a height of one."""
    return default, int(value[0] if isinstance(value, (tuple, list)) else value)


class Conv1dAs2d(nn.Conv2d):
    """A Conv1d that computes with conv2d."""

    def adopt(self) -> None:
        """Works out what conv2d needs; the padding that conv2d cannot do is done before."""
        self.stride_2d = _pair(self.stride, 1)
        self.dilation_2d = _pair(self.dilation, 1)
        width = self.dilation_2d[1] * (int(self.kernel_size[0]) - 1)
        if isinstance(self.padding, str):
            both = (width // 2, width - width // 2) if self.padding == "same" else (0, 0)
        else:
            both = (int(self.padding[0]), int(self.padding[0]))
        self.pads_before = list(both) if self.padding_mode != "zeros" or both[0] != both[1] else [0, 0]
        self.padding_2d = (0, 0 if any(self.pads_before) else both[0])
        self.pad_kind = "constant" if self.padding_mode == "zeros" else self.padding_mode

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(batch, channels, time)`` or ``(channels, time)``, as Conv1d takes it."""
        x = input
        if self.pads_before[0] + self.pads_before[1] > 0:
            x = F.pad(x, self.pads_before, mode=self.pad_kind)
        x = F.conv2d(x.unsqueeze(-2), self.weight, self.bias, self.stride_2d, self.padding_2d, self.dilation_2d, self.groups)
        return x.squeeze(-2)


class ConvTranspose1dAs2d(nn.ConvTranspose2d):
    """A ConvTranspose1d that computes with conv_transpose2d."""

    def adopt(self) -> None:
        """Works out what conv_transpose2d needs."""
        self.stride_2d = _pair(self.stride, 1)
        self.padding_2d = _pair(self.padding, 0)
        self.dilation_2d = _pair(self.dilation, 1)
        self.output_padding_2d = _pair(self.output_padding, 0)

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """``(batch, channels, time)`` or ``(channels, time)``, as ConvTranspose1d takes it."""
        extra = self.output_padding_2d
        if output_size is not None:
            least = (input.size(-1) - 1) * self.stride_2d[1] - 2 * self.padding_2d[1] + self.dilation_2d[1] * (self.weight.size(-1) - 1) + 1
            extra = (0, int(output_size[-1]) - least)
        x = input.unsqueeze(-2)
        x = F.conv_transpose2d(x, self.weight, self.bias, self.stride_2d, self.padding_2d, extra, self.groups, self.dilation_2d)
        return x.squeeze(-2)


class BatchNorm1dAs2d(nn.BatchNorm2d):
    """A BatchNorm1d that computes on four dimensions."""

    def adopt(self) -> None:
        """Nothing to work out: the statistics are per channel either way."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(batch, channels)`` or ``(batch, channels, time)``, as BatchNorm1d takes it."""
        if input.dim() == 2:
            return self.normalize(input.unsqueeze(-1).unsqueeze(-1)).squeeze(-1).squeeze(-1)
        return self.normalize(input.unsqueeze(-2)).squeeze(-2)

    def normalize(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises four dimensions, as `torch.nn.BatchNorm2d` does."""
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / float(self.num_batches_tracked)
        own = not self.training or self.track_running_stats
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        mean, var = (self.running_mean, self.running_var) if own else (None, None)
        return F.batch_norm(x, mean, var, self.weight, self.bias, by_batch, factor, self.eps)


class MaxPool1dAs2d(nn.MaxPool2d):
    """A MaxPool1d that computes with max_pool2d."""

    def adopt(self) -> None:
        """Works out what max_pool2d needs."""
        self.kernel_2d = _pair(self.kernel_size, 1)
        self.stride_2d = _pair(self.stride, 1)
        self.padding_2d = _pair(self.padding, 0)
        self.dilation_2d = _pair(self.dilation, 1)

    def forward(self, input: torch.Tensor) -> Any:
        """As MaxPool1d, indices included."""
        x = input.unsqueeze(-2)
        if self.return_indices:
            values, indices = F.max_pool2d_with_indices(
                x, self.kernel_2d, self.stride_2d, self.padding_2d, self.dilation_2d, self.ceil_mode
            )
            return values.squeeze(-2), indices.squeeze(-2)
        return torch.max_pool2d(x, self.kernel_2d, self.stride_2d, self.padding_2d, self.dilation_2d, self.ceil_mode).squeeze(-2)


class AvgPool1dAs2d(nn.AvgPool2d):
    """An AvgPool1d that computes with avg_pool2d."""

    def adopt(self) -> None:
        """Works out what avg_pool2d needs."""
        self.kernel_2d = _pair(self.kernel_size, 1)
        self.stride_2d = _pair(self.stride, 1)
        self.padding_2d = _pair(self.padding, 0)
        self.divisor_override = None  # a constant of the 2-D class

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As AvgPool1d."""
        x = input.unsqueeze(-2)
        return F.avg_pool2d(x, self.kernel_2d, self.stride_2d, self.padding_2d, self.ceil_mode, self.count_include_pad).squeeze(-2)


class LPPool1dAs2d(nn.LPPool2d):
    """An LPPool1d that computes with avg_pool2d, as torch's own lp_pool2d does."""

    def adopt(self) -> None:
        """Works out what avg_pool2d needs."""
        self.kernel_2d = _pair(self.kernel_size, 1)
        self.stride_2d = self.kernel_2d if self.stride is None else _pair(self.stride, 1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As LPPool1d."""
        x = input.unsqueeze(-2).pow(self.norm_type)
        mean = F.avg_pool2d(x, self.kernel_2d, self.stride_2d, [0, 0], self.ceil_mode)
        total = (torch.sign(mean) * torch.relu(torch.abs(mean))).mul(self.kernel_2d[1])
        return total.pow(1.0 / self.norm_type).squeeze(-2)


class AdaptiveAvgPool1dAs2d(nn.AdaptiveAvgPool2d):
    """An AdaptiveAvgPool1d that computes with adaptive_avg_pool2d."""

    def adopt(self) -> None:
        """Works out what adaptive_avg_pool2d needs."""
        self.size_2d = _pair(self.output_size, 1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As AdaptiveAvgPool1d."""
        return torch.nn.functional.adaptive_avg_pool2d(input.unsqueeze(-2), self.size_2d).squeeze(-2)


class AdaptiveMaxPool1dAs2d(nn.AdaptiveMaxPool2d):
    """An AdaptiveMaxPool1d that computes with adaptive_max_pool2d."""

    def adopt(self) -> None:
        """Works out what adaptive_max_pool2d needs."""
        self.size_2d = _pair(self.output_size, 1)

    def forward(self, input: torch.Tensor) -> Any:
        """As AdaptiveMaxPool1d, indices included."""
        values, indices = F.adaptive_max_pool2d_with_indices(input.unsqueeze(-2), self.size_2d)
        if self.return_indices:
            return values.squeeze(-2), indices.squeeze(-2)
        return values.squeeze(-2)


TWINS: dict[type[nn.Module], type[Any]] = {
    nn.Conv1d: Conv1dAs2d,
    nn.ConvTranspose1d: ConvTranspose1dAs2d,
    nn.BatchNorm1d: BatchNorm1dAs2d,
    nn.MaxPool1d: MaxPool1dAs2d,
    nn.AvgPool1d: AvgPool1dAs2d,
    nn.LPPool1d: LPPool1dAs2d,
    nn.AdaptiveAvgPool1d: AdaptiveAvgPool1dAs2d,
    nn.AdaptiveMaxPool1d: AdaptiveMaxPool1dAs2d,
}
"""Each 1-D module and its twin."""


class TwinReplacement(Replacement):
    """One 1-D module becomes its 2-D twin under ``replace_1D_2D``.

    Args:
        old: The 1-D class.
    """

    stage = Stage.TWIN
    on_request = "replace_1D_2D"
    carries_hooks = False  # the twin is made of the old module's attributes, hooks included

    def __init__(self, old: type[nn.Module]) -> None:
        self.name = f"{old.__name__}-2d"
        self.old = old
        self.twin = TWINS[old]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.old.__name__})"

    def matches(self, module: nn.Module) -> bool:
        """The class, or one derived from it that computes the same; its weights are plain."""
        if not isinstance(module, self.old) or torch.nn.utils.parametrize.is_parametrized(module):
            return False
        if any(isinstance(parameter, nn.UninitializedParameter) for parameter in module._parameters.values()):
            return False
        methods = [name for name in ("forward", "_conv_forward", "_check_input_dim") if hasattr(self.old, name)]
        wanted = {name: next(kind for kind in self.old.__mro__ if name in vars(kind)) for name in methods}
        plain = all(defined_by(module, name) == f"{kind.__module__}.{kind.__qualname__}" for name, kind in wanted.items())
        return plain and ("weight" in module._parameters or not hasattr(module, "weight"))

    def replace(self, module: nn.Module) -> nn.Module:
        """The twin, on the same storage."""
        new: Any = shell(module, self.twin)
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            new._parameters["weight"] = borrowed(module.weight, lambda weight: weight.unsqueeze(-2))
        new.adopt()
        return new  # type: ignore[no-any-return]

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """Two rows, long enough for the kernel."""
        old: Any = module
        channels = int(getattr(old, "in_channels", getattr(old, "num_features", 3)))
        kernel = _pair(getattr(old, "kernel_size", 1), 1)[1] * _pair(getattr(old, "dilation", 1), 1)[1]
        like = getattr(old, "weight", None)
        x = torch.randn(2, channels, 4 + 3 * kernel, generator=torch.Generator().manual_seed(0))
        return (x if like is None else x.to(like),)
