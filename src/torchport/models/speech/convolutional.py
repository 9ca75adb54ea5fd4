"""The convolutional encoders: Jasper, QuartzNet, Citrinet, ContextNet, MatchboxNet, and those of TitaNet and SpeakerNet.

After Li et al., "Jasper" (https://arxiv.org/abs/1904.03288), Kriman et al., "QuartzNet" (https://arxiv.org/abs/1910.10261), and Majumdar
et al., "Citrinet" (https://arxiv.org/abs/2104.01721). The options are those of NeMo's ``ConvASREncoder``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchport.models.speech._base import EncoderPart
from torchport.models.speech._masked import Gate, MaskedConvolution, Rows
from torchport.models.speech._options import Options

__all__ = ["Block", "BlockSettings", "ConvolutionalEncoder", "ParallelEncoder"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "hardtanh": nn.Hardtanh,
    "selu": nn.SELU,
    "swish": nn.SiLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}


@dataclass(frozen=True)
class BlockSettings:
    """One block, as its section in the config says it; ``panes`` are the channels of the inputs that it adds, where it adds any."""

    channels_in: int
    channels: int
    repeat: int
    kernel: int
    stride: int
    dilation: int
    separable: bool
    gate: bool
    gate_reduction: int
    stride_last: bool
    future: int
    residual_mode: str
    panes: tuple[int, ...]
    dense: bool
    normalization: str
    norm_groups: int

    @property
    def padding(self) -> int | tuple[int, int]:
        """Zeros around the input: as many frames come out as go in, but for the stride."""
        around = self.dilation * (self.kernel - 1) // 2
        if self.future < 0 or self.kernel <= self.future:
            return around
        if self.dilation > 1:
            return self.dilation * (self.kernel - self.future) - 1, self.dilation * self.future
        return self.kernel - 1 - self.future, self.future


class Block(nn.Module):
    """Convolutions one after the other, and what came in added to what comes out.

    Args:
        settings: What it is made of.
        activation: After each convolution but the last, and after the sum.
    """

    def __init__(self, settings: BlockSettings, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = settings.channels_in
        for place in range(settings.repeat):
            last = place == settings.repeat - 1
            layers += _convolution(settings, width, stride=settings.stride if last or not settings.stride_last else 1)
            layers += [] if last else [activation(), nn.Identity()]  # dropout has a place among the names
            width = settings.channels
        if settings.gate:
            layers.append(Gate(width, settings.gate_reduction, activation()))
        self.mconv = nn.ModuleList(layers)
        stride = settings.stride if settings.residual_mode == "stride_add" else 1
        branches = [nn.ModuleList([MaskedConvolution(pane, width, stride=stride), _norm(settings, width)]) for pane in settings.panes]
        self.res = nn.ModuleList(branches) if branches else None
        self.dense = settings.dense
        self.greatest = settings.residual_mode == "max"
        self.mout = nn.Sequential(activation())

    def forward(self, panes: list[Tensor], rows: Rows) -> tuple[list[Tensor], Rows]:
        """The outputs so far, of which the last is the input, and its rows; gives the same."""
        x, after = _through(self.mconv, panes[-1], rows)
        for branch, pane in zip(self.res or (), panes, strict=False):
            added, _ = _through(branch.children(), pane, rows)
            x = torch.maximum(x, added) if self.greatest else x + added
        x = self.mout(x)
        return ([*panes, x] if self.dense else [x]), after


class ParallelBlock(nn.Module):
    """Blocks beside each other, whose outputs are added, and what came in with them.

    Args:
        blocks: The blocks.
        settings: What they are made of, but for their kernels.
        weighted: Each output has a weight (towers that were dropped in training).
        projected: What came in goes through a convolution over channels first.
    """

    def __init__(self, blocks: list[Block], settings: BlockSettings, *, weighted: bool, projected: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.weights = nn.Parameter(torch.ones(len(blocks))) if weighted else None
        self.res_conv = MaskedConvolution(settings.channels_in, settings.channels) if projected else None

    def forward(self, panes: list[Tensor], rows: Rows) -> tuple[list[Tensor], Rows]:
        """As of `Block`; earlier outputs end here."""
        outputs = [block(panes, rows) for block in self.blocks]
        rest = panes[-1] if self.res_conv is None else self.res_conv(panes[-1], rows)[0]
        added = [after[-1] if self.weights is None else after[-1] * self.weights[place] for place, (after, _) in enumerate(outputs)]
        return [torch.stack(added).sum(dim=0) + rest], outputs[0][1]


class ConvolutionalEncoder(EncoderPart):
    """A convolutional encoder, for inference.

    Args:
        options: The config's section ``encoder``.
    """

    parallel: ClassVar[bool] = False
    """Whether a block may have several kernels, each a block of its own beside the others."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.bands = options.number("feat_in", least=1) * options.number("frame_splicing", 1, least=1)
        activation = _ACTIVATIONS[options.text("activation", among=_ACTIVATIONS)]
        normalization = options.text("normalization_mode", "batch", among=("batch", "layer", "group", "instance"))
        groups = options.number("norm_groups", -1)
        mode = options.text("residual_mode", "add", among=("add", "stride_add", "max"))
        width, panes = self.bands, []
        blocks: list[nn.Module] = []
        self.factor = 1
        sections = options.raw("jasper") or [None]
        for place, section in enumerate(sections):
            block = Options(section, f"{options.where}.jasper.{place}")
            if block.flag("residual_dense", False):
                panes.append(width)
                before = tuple(panes)
            else:
                before = ()
            mode = block.text("residual_mode", mode, among=("add", "stride_add", "max"))  # it stays for the blocks after it
            beside = _beside(block) if self.parallel else None
            settings, *others = _settings(block, width, before, mode, normalization, groups, several=self.parallel)
            made = [Block(one, activation) for one in (settings, *others)]
            blocks.append(
                made[0] if beside is None or not others else ParallelBlock(made, settings, weighted=beside[0], projected=beside[1])
            )
            self.factor *= settings.stride
            width = settings.channels
        self.width = width
        self.encoder = nn.Sequential(*blocks)
        options.only("conv_mask", True)
        options.only("quantize", False)
        options.without_effect("init_mode", *(("aggregation_mode",) if self.parallel else ()))
        options.done()

    def forward(self, audio_signal: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes.

        Args:
            audio_signal: Features, ``(batch, band, time)``.
            length: Frames of each row, int64 ``(batch,)``.

        Returns:
            Encoded frames ``(batch, channel, time)``, and how many each row has, int64 ``(batch,)``.
        """
        outputs, rows = [audio_signal], Rows.of(length, audio_signal)
        for block in self.encoder:
            outputs, rows = block(outputs, rows)
        return outputs[-1], rows.lengths


class ParallelEncoder(ConvolutionalEncoder):
    """A convolutional encoder whose blocks may stand beside each other."""

    parallel: ClassVar[bool] = True


def _beside(block: Options) -> tuple[bool, bool]:
    """Whether blocks beside each other have weights, and whether what came in is projected before it is added."""
    weighted = block.text("aggregation_mode", "sum", among=("sum", "dropout")) == "dropout"
    block.without_effect("block_dropout")
    return weighted, block.text("parallel_residual_mode", "sum", among=("sum", "conv")) == "conv"


def _settings(
    block: Options, width: int, panes: tuple[int, ...], mode: str, normalization: str, groups: int, *, several: bool
) -> list[BlockSettings]:
    """The settings of a block, or of several that differ in their kernel."""
    residual = block.flag("residual")
    kernels = block.numbers("kernel") if several else [_first(block, "kernel")]
    share = block.real("kernel_size_factor", 1.0)
    scaled = [max(1, int(kernel * share)) for kernel in kernels]
    settings = BlockSettings(
        channels_in=width,
        channels=block.number("filters", least=1),
        repeat=block.count("repeat"),
        kernel=scaled[0] + 1 - scaled[0] % 2,
        stride=_first(block, "stride"),
        dilation=_first(block, "dilation"),
        separable=block.flag("separable", False),
        gate=block.flag("se", False),
        gate_reduction=block.number("se_reduction_ratio", 8, least=1),
        stride_last=block.flag("stride_last", False),
        future=block.number("future_context", -1),
        residual_mode=mode,
        panes=(panes or (width,)) if residual else (),
        dense=residual and bool(panes),
        normalization=normalization,
        norm_groups=groups,
    )
    block.only("groups", 1)
    block.only("heads", -1)
    block.without_effect("dropout", "se_context_size", "se_interpolation_mode")  # the context is for training: inference averages the row
    block.done()
    return [replace(settings, kernel=kernel + 1 - kernel % 2) for kernel in scaled]


def _first(block: Options, name: str) -> int:
    """A whole number, that a config gives in a list of one."""
    value = block.raw(name)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return Options({name: value} if value is not None else {}, block.where).number(name, least=1)


def _convolution(settings: BlockSettings, width: int, *, stride: int) -> list[nn.Module]:
    """A convolution over time, over channels too or each alone with one over channels after it, and the normalisation."""
    first = settings.channels if not settings.separable else width
    over_time = MaskedConvolution(
        width,
        first,
        settings.kernel,
        stride=stride,
        dilation=settings.dilation,
        padding=settings.padding,
        groups=width if settings.separable else 1,
    )
    over_channels = [MaskedConvolution(width, settings.channels)] if settings.separable else []
    return [over_time, *over_channels, _norm(settings, settings.channels)]


def _norm(settings: BlockSettings, width: int) -> nn.Module:
    if settings.normalization == "batch":
        return nn.BatchNorm1d(width, eps=1e-3)
    groups = {"layer": 1, "instance": width, "group": width if settings.norm_groups == -1 else settings.norm_groups}
    return nn.GroupNorm(groups[settings.normalization], width)


def _through(layers: Iterable[nn.Module], x: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
    for layer in layers:
        if isinstance(layer, MaskedConvolution | Gate):
            x, rows = layer(x, rows)
        else:
            x = layer(x)
    return x, rows
