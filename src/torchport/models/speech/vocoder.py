"""NeMo's HiFi-GAN: a mel spectrogram to a waveform.

After Kong et al., "HiFi-GAN" (https://arxiv.org/abs/2010.05646). Only the generator is rebuilt; discriminators are for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchport.models.speech._base import SpeechModel
from torchport.models.speech._metadata import of_sound
from torchport.models.speech._options import Options
from torchport.models.speech.encoders import class_of
from torchport.ports import AxisKind, AxisType, NeuralType
from torchport.ports.elements import AudioSignal, MelSpectrogramType

__all__ = ["Generator", "Vocoder"]

_SLOPE = 0.1
_ROWS, _FRAMES = 3, 13


class _Pairs(nn.Module):
    """Convolutions in pairs, the first of each dilated, added to their input."""

    def __init__(self, channels: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_same(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_same(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, _SLOPE)), _SLOPE))
        return x


class _Singles(nn.Module):
    """Dilated convolutions, each added to its input."""

    def __init__(self, channels: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_same(channels, kernel, dilation) for dilation in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.convs:
            x = x + layer(F.leaky_relu(x, _SLOPE))
        return x


class Generator(nn.Module):
    """The generator.

    Args:
        options: The config's section ``generator``.

    Attributes:
        mels: Bands of the spectrogram.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        options.without_effect("apply_weight_init_conv_pre")
        self.mels = options.number("initial_input_size", 80, least=1)
        width = options.number("upsample_initial_channel", least=1)
        kind, count = (_Pairs, 3) if options.raw("resblock") == 1 else (_Singles, 2)
        rates, kernels = options.numbers("upsample_rates"), options.numbers("upsample_kernel_sizes")
        inner, dilations = options.numbers("resblock_kernel_sizes"), options.raw("resblock_dilation_sizes") or []
        options.done()
        self.conv_pre = nn.Conv1d(self.mels, width, 7, padding=3)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(rates, kernels, strict=True):
            self.ups.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2))
            width //= 2
            self.resblocks.append(nn.ModuleList(kind(width, one, apart[:count]) for one, apart in zip(inner, dilations, strict=True)))
        self.conv_post = nn.Conv1d(width, 1, 7, padding=3)

    def forward(self, spec: Tensor) -> Tensor:
        """``(batch, band, frame)`` to ``(batch, 1, sample)``."""
        x = self.conv_pre(spec)
        for up, blocks in zip(self.ups, self.resblocks, strict=True):
            x = up(F.leaky_relu(x, _SLOPE))
            first, *others = blocks.children()
            total = first(x)
            for block in others:
                total = total + block(x)
            x = total / (1 + len(others))
        answer: Tensor = self.conv_post(F.leaky_relu(x)).tanh()
        return answer


class Vocoder(SpeechModel):
    """NeMo's ``HifiGanModel``.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.
    """

    _outside: ClassVar[tuple[str, ...]] = ("mpd.", "msd.", "audio_to_melspec_precessor.", "trg_melspec_fn.", "preprocessor.")

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        options = Options(self.cfg.get("generator"), "generator")
        class_of(options, "Generator")
        self.generator = Generator(options)

    def weights_from_archive(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The generator's weights; a weight that is kept as length and direction is multiplied out."""
        kept = super().weights_from_archive(state)
        for name in [one for one in kept if one.endswith(".weight_v")]:
            stem = name.removesuffix("_v")
            direction, length = kept.pop(name), kept.pop(f"{stem}_g", None)
            if isinstance(direction, Tensor) and isinstance(length, Tensor) and direction.dim() == 3:
                norms = torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True)
                kept[stem] = direction * (length / norms)
        return kept

    def forward(self, spec: Tensor) -> Tensor:
        """A spectrogram ``(batch, band, frame)`` to a waveform ``(batch, 1, sample)`` within one."""
        answer: Tensor = self.generator(spec)
        return answer

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """The spectrogram."""
        return {"spec": NeuralType(("B", AxisType(AxisKind.Dimension, self.generator.mels), "T"), MelSpectrogramType())}

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """The waveform."""
        rate = self.cfg.get("sample_rate")
        kind = AudioSignal(rate) if isinstance(rate, int) else AudioSignal()
        return {"audio": NeuralType(("B", AxisType(AxisKind.Dimension, 1), "T"), kind)}

    def input_example(self) -> tuple[dict[str, Tensor]]:
        """Noise, the same at every call."""
        return ({"spec": torch.randn(_ROWS, self.generator.mels, _FRAMES, generator=torch.Generator().manual_seed(0))},)

    def export_metadata(self, subnet: str = "self") -> dict[str, Any]:
        """Sample rate and feature settings."""
        return {"task": "vocoder", "model_class": self.cfg["target"], **of_sound(self.cfg)}


def _same(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, kernel, padding=dilation * (kernel - 1) // 2, dilation=dilation)
