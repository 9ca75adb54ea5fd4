"""NeMo's mel front end becomes one that traces: the Fourier transform as a strided convolution, masks and padding of the sizes at hand.

A complex transform has no form in ONNX by tracing; a convolution with windowed cosines and sines has one everywhere. Only the span of the
window is multiplied, and the kernels are made in double precision. Found by qualified name: NeMo is not needed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from torchport.prepare.replacement import Replacement

__all__ = ["ConvolvedFilterbank", "FilterbankReplacement", "fourier_kernels"]

_FILTERBANK = "nemo.collections.asr.parts.preprocessing.features.FilterbankFeatures"
_TINY = 1e-5
"""What NeMo adds to a deviation."""


def fourier_kernels(window: torch.Tensor, length: int) -> torch.Tensor:
    """Windowed cosines, then sines, over the span of a window that lies in the middle of a transform.

    Args:
        window: Its values, ``(span,)``.
        length: Samples of the transform, at least ``span``.

    Returns:
        float64, ``(2 * (length // 2 + 1), 1, span)``.
    """
    span = len(window)
    places = torch.arange(span) + (length - span) // 2
    bins = torch.arange(length // 2 + 1)
    # The phase is reduced in integers first: an angle of thousands of radians would cost digits.
    turns = (bins.unsqueeze(1) * places.unsqueeze(0)) % length
    angles = 2.0 * math.pi * turns.to(torch.float64) / length
    return torch.cat((angles.cos(), -angles.sin())).mul(window.to(torch.float64)).unsqueeze(1)


class ConvolvedFilterbank(nn.Module):
    """Computes what NeMo's ``FilterbankFeatures`` computes in evaluation.

    Args:
        old: The module it stands for.
    """

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.hop_length, self.n_fft, self.power = old.hop_length, old.n_fft, float(old.mag_power)
        self.stft_pad_amount, self.preemph, self.pad_to, self.pad_value = old.stft_pad_amount, old.preemph, old.pad_to, old.pad_value
        self.log, self.guard_type, self.normalize = old.log, old.log_zero_guard_type, old.normalize
        self.guard = float(old.log_zero_guard_value_fn(old.fb))
        window = old.window.detach().cpu()
        kernels = fourier_kernels(window, self.n_fft).to(old.fb)
        self.kernels: torch.Tensor
        self.filters: torch.Tensor
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("filters", old.fb.detach()[0].unsqueeze(2), persistent=False)
        around = self.n_fft // 2 if self.stft_pad_amount is None else self.stft_pad_amount
        left = (self.n_fft - len(window)) // 2
        self.padding = (around - left, around - (self.n_fft - len(window) - left))

    def forward(self, x: torch.Tensor, seq_len: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Makes features.

        Args:
            x: Samples, ``(batch, samples)``.
            seq_len: Samples of each row, ``(batch,)``.

        Returns:
            ``(batch, bins, frames)``, and the frames of each row.
        """
        added = 2 * (self.n_fft // 2 if self.stft_pad_amount is None else self.stft_pad_amount) - self.n_fft
        frames = torch.where(seq_len == 0, 0, torch.div(seq_len + added, self.hop_length, rounding_mode="floor")).to(torch.long)
        if self.preemph is not None:
            # NeMo pads for an exact number of frames before this, and masks by lengths that do not count the padding.
            before = 0 if self.stft_pad_amount is None else self.stft_pad_amount
            x = nn.functional.pad(x, (before, before))
            emphasised = torch.cat((x[:, :1], x[:, 1:] - self.preemph * x[:, :-1]), dim=1)
            x = emphasised.masked_fill(torch.arange(x.shape[1], device=x.device) >= seq_len.unsqueeze(1), 0.0)
            padding = (self.padding[0] - before, self.padding[1] - before)
        else:
            padding = self.padding
        parts = torch.conv1d(nn.functional.pad(x.unsqueeze(1), padding), self.kernels, stride=[self.hop_length])
        real, imaginary = parts.chunk(2, dim=1)
        power = real * real + imaginary * imaginary
        if self.power != 2.0:
            power = power.sqrt() if self.power == 1.0 else power.sqrt().pow(self.power)
        y = torch.conv1d(power, self.filters)
        if self.log:
            y = (y + self.guard).log() if self.guard_type == "add" else y.clamp(min=self.guard).log()
        inside = (torch.arange(y.shape[2], device=y.device) < frames.unsqueeze(1)).unsqueeze(1)
        if self.normalize:
            y = self._normalized(y, inside)
        y = y.masked_fill(~inside, self.pad_value)
        if self.pad_to:
            y = nn.functional.pad(y, (0, -y.shape[2] % self.pad_to), value=self.pad_value)
        return y, frames

    def _normalized(self, y: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """To mean 0 and deviation 1 over the frames that count: of each bin, or of all together."""
        over = [2] if self.normalize == "per_feature" else [1, 2]
        count = inside.sum(dim=2, keepdim=True) * (1 if len(over) == 1 else y.shape[1])
        mean = y.masked_fill(~inside, 0.0).sum(dim=over, keepdim=True) / count
        off = (y - mean).masked_fill(~inside, 0.0)
        deviation = ((off * off).sum(dim=over, keepdim=True) / (count - 1.0)).sqrt()
        if self.normalize == "per_feature":
            deviation = deviation.masked_fill(deviation.isnan(), 0.0)
        return (y - mean) / (deviation + _TINY)


class FilterbankReplacement(Replacement):
    """``FilterbankFeatures`` without noise becomes a convolution."""

    name = "nemo-filterbank"

    def matches(self, module: nn.Module) -> bool:
        """By the class that defines ``forward``, where it computes what the new one does."""
        if not _is_filterbank(module):
            return False
        old: Any = module
        named = old.normalize is None or (isinstance(old.normalize, str) and old.normalize in ("", "per_feature", "all_features"))
        quiet = not old.training and not old.use_grads and old.frame_splicing == 1 and old.window is not None
        return bool(named and quiet and isinstance(old.pad_to, int) and old.fb.dtype == torch.float32)

    def replace(self, module: nn.Module) -> nn.Module:
        """The same on convolutions."""
        return ConvolvedFilterbank(module)

    def probe(self, module: nn.Module) -> tuple[Any, ...]:
        """A second of sound or so, one row shorter."""
        old: Any = module
        samples = old.n_fft + 20 * old.hop_length
        x = torch.randn(2, samples, generator=torch.Generator().manual_seed(0)).to(old.fb)
        return x, torch.tensor([samples, samples // 2])


def _is_filterbank(module: nn.Module) -> bool:
    """Whether the class's own ``forward`` runs: the instance wraps it once more, to compute without gradients."""
    owner = next((kind for kind in type(module).__mro__ if "forward" in vars(kind)), None)
    if owner is None or f"{owner.__module__}.{owner.__qualname__}" != _FILTERBANK:
        return False
    own = vars(module).get("forward")
    inner = getattr(own, "__wrapped__", own)
    return own is None or getattr(inner, "__func__", None) is vars(owner)["forward"]
