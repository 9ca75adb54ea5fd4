"""A mel spectrogram that lives in the graph: the Fourier transform as a convolution with cosines and sines.

A complex STFT has no ONNX form by tracing; a strided convolution has one everywhere, takes any length, and pads with zeros by itself. The
numbers are those of ``librosa.feature.melspectrogram`` (0.9.1 and later) with its defaults: a periodic Hann window, centred frames, zero
padding, squared magnitudes, Slaney's mel scale with area normalisation (https://librosa.org/doc/latest/generated/librosa.filters.mel.html;
the scale is that of M. Slaney, "Auditory Toolbox", technical report 1998-010).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["MelFrontEnd", "mel_filters"]


def _hz_to_mel(hz: float) -> float:
    """Slaney's scale: linear to 1 kHz (200/3 Hz a mel), then logarithmic (27 steps for a factor of 6.4)."""
    return hz * 3.0 / 200.0 if hz < 1000.0 else 15.0 + 27.0 * math.log(hz / 1000.0) / math.log(6.4)


def _mel_to_hz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * ((mel - 15.0) * math.log(6.4) / 27.0).exp())


def mel_filters(*, sample_rate: int, window: int, bands: int) -> Tensor:
    """Triangular filters of equal area from 0 Hz to half of the sample rate.

    Args:
        sample_rate: Hz.
        window: Samples of the transform.
        bands: Mel bands.

    Returns:
        float64, ``(bands, window // 2 + 1)``.
    """
    corners = _mel_to_hz(torch.linspace(0.0, _hz_to_mel(sample_rate / 2.0), bands + 2, dtype=torch.float64))
    bins = torch.arange(window // 2 + 1, dtype=torch.float64) * (sample_rate / window)
    low, middle, high = corners[:-2].unsqueeze(1), corners[1:-1].unsqueeze(1), corners[2:].unsqueeze(1)
    triangles = torch.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clamp(min=0.0)
    return triangles * (2.0 / (high - low))


def _fourier_kernels(window: int) -> Tensor:
    """Windowed cosines, then sines: float64, ``(2 * (window // 2 + 1), 1, window)``."""
    places = torch.arange(window, dtype=torch.float64)
    hann = 0.5 - 0.5 * (2.0 * math.pi * places / window).cos()
    bins = torch.arange(window // 2 + 1)
    # The phase is reduced in integers first: an angle of thousands of radians would cost digits.
    turns = (bins.unsqueeze(1) * torch.arange(window).unsqueeze(0)) % window
    angles = 2.0 * math.pi * turns.to(torch.float64) / window
    return torch.cat((angles.cos() * hann, -angles.sin() * hann)).unsqueeze(1)


class MelFrontEnd(nn.Module):
    """Waveform to mel frames: squared magnitudes, no logarithm.

    Args:
        sample_rate: Hz.
        window: Samples of a window and of the transform, an even number (400 are 25 ms at 16 kHz).
        hop: Samples from a frame to the next (160 are 10 ms).
        bands: Mel bands.
    """

    def __init__(self, *, sample_rate: int = 16000, window: int = 400, hop: int = 160, bands: int = 40) -> None:
        super().__init__()
        self.hop = hop
        self.padding = window // 2
        self.kernels: Tensor
        self.filters: Tensor
        self.register_buffer("kernels", _fourier_kernels(window).float(), persistent=False)
        self.register_buffer(
            "filters", mel_filters(sample_rate=sample_rate, window=window, bands=bands).float().unsqueeze(2), persistent=False
        )

    def frames(self, samples: Tensor) -> Tensor:
        """How many frames so many samples make: one at each hop, the first centred on the first sample."""
        return torch.div(samples, self.hop, rounding_mode="floor") + 1

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Makes mel frames.

        Args:
            waveform: Samples, ``(batch, samples)``; what stands in the padding has no effect.
            lengths: Samples of each row, int64 ``(batch,)``.

        Returns:
            ``(batch, 1 + samples // hop, bands)``; a row's frames are the first :meth:`frames` of them.
        """
        places = torch.arange(waveform.size(1), device=waveform.device)
        waveform = waveform.masked_fill(places.unsqueeze(0) >= lengths.unsqueeze(1), 0.0)
        parts = torch.conv1d(waveform.unsqueeze(1), self.kernels, stride=[self.hop], padding=[self.padding])
        real, imaginary = parts.chunk(2, dim=1)
        power = real * real + imaginary * imaginary
        # A product of matrices would do, too, but torch.export asks there whether there is more than one frame, and the answer is frozen.
        return torch.conv1d(power, self.filters).transpose(1, 2)
