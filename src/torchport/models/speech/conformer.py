"""The Conformer and FastConformer encoders: frames of features in, fewer and wider frames out.

After Gulati et al. (https://arxiv.org/abs/2005.08100) and Rekesh et al. (https://arxiv.org/abs/2305.05084). The options are those of NeMo's
``ConformerEncoder``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from torchport.errors import HookError
from torchport.models.speech._attention import Attention, LocalAttention, RelativeAttention, Sinusoids
from torchport.models.speech._base import EncoderPart
from torchport.models.speech._conformer_layer import ConformerLayer, ConvolutionModule
from torchport.models.speech._masks import Context, inside, read_context
from torchport.models.speech._options import Options
from torchport.models.speech._streaming import Streaming, cannot_stream
from torchport.models.speech._subsampling import ConvolutionalSubsampling, LinearProjection, Reduction, Stacking

__all__ = ["ConformerEncoder"]

_TRAINING = (
    *("dropout", "dropout_pre_encoder", "dropout_emb", "dropout_att", "stochastic_depth_drop_prob", "stochastic_depth_mode"),
    *("stochastic_depth_start_layer", "sync_max_audio_length"),
)
_SAME_ANSWER = ("pos_emb_max_len", "subsampling_conv_chunking_factor", "use_pytorch_sdpa", "use_pytorch_sdpa_backends")
"""How it is computed, or how long a table is at first: neither changes an answer."""
_OTHER_ATTENTION = ("global_tokens", "global_tokens_spacing", "global_attn_separate")
"""What local attention reads, and no other."""


class ConformerEncoder(EncoderPart):
    """A Conformer encoder, for inference.

    Args:
        options: The config's section ``encoder``.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.bands = options.number("feat_in", least=1)
        width, layers = options.number("d_model", least=1), options.count("n_layers")
        self.factor = options.number("subsampling_factor", 4, least=1)
        self.pre_encode = _subsampling(options, self.bands, width, self.factor)
        self.scale = math.sqrt(width) if options.flag("xscaling", True) else 1.0
        self.context = read_context(options)
        kind = options.text("self_attention_model", "rel_pos", among=("rel_pos", "abs_pos", "rel_pos_local_attn"))
        self.relative = kind == "rel_pos"
        self.window = _window(options, self.context) if kind == "rel_pos_local_attn" else None
        self.places = Sinusoids(width, relative=self.relative, window=self.window)
        self.inner = width
        self.sides = _sides(options)
        self.layers = nn.ModuleList(_layers(options, width, layers, self.sides, relative=self.relative, window=self.window))
        outer = options.number("feat_out", -1)
        self.out_proj = nn.Linear(width, outer) if outer > 0 and outer != width else None
        self.width = outer if self.out_proj is not None else width
        self.reduction_position, self.reduction_subsampling = _reduction(options, width, layers)
        self.factor *= 1 if self.reduction_subsampling is None else self.reduction_subsampling.factor
        options.without_effect(*_TRAINING, *_SAME_ANSWER, *_OTHER_ATTENTION)
        options.only("conv_context_style", "regular")
        options.only("att_chunk_context_size", None)
        options.done()

    def streaming(self, *, first: bool) -> Streaming:
        """How the encoder takes chunks.

        Args:
            first: The first chunk, or any other.

        Raises:
            HookError: It sees too far ahead, its positions are absolute, or frames are reduced between its layers.
        """
        if self.reduction_subsampling is not None:
            raise cannot_stream("no reduction")
        halves = isinstance(self.pre_encode, ConvolutionalSubsampling)
        factor = self.factor if halves or isinstance(self.pre_encode, Stacking) else 0
        if not self.relative or not factor:
            raise cannot_stream("rel_pos, and striding or stacking before the layers")
        return Streaming.of(self.context, len(self.layers), self.inner, self.sides, factor, overlapping=halves, first=first)

    def forward(
        self,
        audio_signal: Tensor,
        length: Tensor,
        cache_last_channel: Tensor | None = None,
        cache_last_time: Tensor | None = None,
        cache_last_channel_len: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Encodes all of the rows, or a chunk of them where there are caches.

        Args:
            audio_signal: Features, ``(batch, band, time)``.
            length: Frames of each row, int64 ``(batch,)``.
            cache_last_channel: What attention saw before, ``(batch, layer, frames, width)``.
            cache_last_time: What convolutions saw before, ``(batch, layer, width, frames)``.
            cache_last_channel_len: How many frames of the first cache are filled, int64 ``(batch,)``.

        Returns:
            Encoded frames ``(batch, width, time)``, how many each row has, int64 ``(batch,)``, and the caches for the next chunk.
        """
        if cache_last_channel is not None and cache_last_time is not None and cache_last_channel_len is not None:
            return self._chunk(audio_signal, length, cache_last_channel, cache_last_time, cache_last_channel_len)
        x, lengths = self.pre_encode(audio_signal.transpose(1, 2), length)
        x = x * self.scale
        places, hidden, padding = self._surroundings(x, lengths)
        if not self.relative and self.window is None:
            x = x + places
        for number, layer in enumerate(self.layers):
            x = layer(x, hidden, padding, places)
            if self.reduction_subsampling is not None and number == self.reduction_position:
                x, lengths = self.reduction_subsampling(x, lengths)
                places, hidden, padding = self._surroundings(x, lengths)
        x = self._projected(x)
        if self.reduction_subsampling is not None and self.reduction_position == -1:
            x, lengths = self.reduction_subsampling(x.transpose(1, 2), lengths)
            x = x.transpose(1, 2)
        return x, lengths.to(torch.int64)

    def _surroundings(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Positions of the frames ``(batch, time, width)``, what attention does not see, and which frames are padding."""
        within = inside(lengths, x.size(1))
        padding = ~within
        return self.places(x), padding if self.window is not None else self._hidden(within), padding

    def _hidden(self, within: Tensor) -> Tensor:
        """Which frame does not see which, ``(batch, 1, time, time)``, of those that count ``(batch, time)``."""
        seen = within.unsqueeze(1) & within.unsqueeze(2)
        reach = self.context.seen(within.size(1), within.device)
        return ~(seen if reach is None else seen & reach).unsqueeze(1)

    def _chunk(self, audio_signal: Tensor, length: Tensor, attended: Tensor, convolved: Tensor, filled: Tensor) -> tuple[Tensor, ...]:
        plan = self.chunks
        if plan is None:
            raise HookError(
                "the encoder was not told to take chunks",
                where="export_config.cache_support",
                hint='set_export_config({"cache_support": True})',
            )
        x, lengths = self.pre_encode(audio_signal.transpose(1, 2), length)
        x, lengths = x[:, plan.dropped :] * self.scale, (lengths - plan.dropped).clamp(min=0)
        steps = x.size(1) + plan.rows
        places = self.places(x, plan.rows)
        place = torch.arange(steps, device=x.device)
        within = (place < (lengths + plan.rows).unsqueeze(1)) & (place >= (plan.rows - filled).unsqueeze(1))
        seen = within[:, plan.rows :].unsqueeze(2) & within.unsqueeze(1)
        reach = self.context.seen(steps, x.device)
        hidden = ~(seen if reach is None else seen & reach[plan.rows :]).unsqueeze(1)
        padding = ~within[:, plan.rows :]
        caches = []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, ConformerLayer)  # the list holds nothing else
            x, after = layer.stream(x, hidden, padding, places, (attended[:, number], convolved[:, number]), plan.repeated)
            caches.append(after)
        full = torch.stack([one for one, _ in caches], dim=1)
        filled = (filled + (steps - plan.rows - plan.repeated)).clamp(max=plan.rows)
        return (
            self._projected(x)[:, :, : plan.valid],
            lengths.to(torch.int64).clamp(max=plan.valid),
            full[:, :, full.size(2) - plan.rows :],
            torch.stack([other for _, other in caches], dim=1),
            filled,
        )

    def _projected(self, x: Tensor) -> Tensor:
        return (x if self.out_proj is None else self.out_proj(x)).transpose(1, 2)


def _subsampling(options: Options, bands: int, width: int, factor: int) -> nn.Module:
    kind = options.raw("subsampling", "striding")
    channels = options.number("subsampling_conv_channels", -1)
    causal = options.flag("causal_downsampling", False)
    if not kind or factor == 1:
        return LinearProjection(bands, width)
    name = Options({"subsampling": kind}, options.where).text("subsampling", among=("striding", "dw_striding", "stacking", "stacking_norm"))
    if name.startswith("stacking"):
        return Stacking(bands, width, factor, norm=name == "stacking_norm")
    Options({"subsampling_factor": factor}, options.where).only("subsampling_factor", 2, 4, 8, 16, 32)
    return ConvolutionalSubsampling(
        bands,
        width,
        channels if channels != -1 else width,
        int(math.log2(factor)),
        depthwise=name == "dw_striding",
        causal=causal,
    )


def _reduction(options: Options, width: int, layers: int) -> tuple[int, Reduction | None]:
    """After which layer frames are reduced, and how; -1 is after all of them."""
    kind, place, factor = options.raw("reduction"), options.raw("reduction_position"), options.number("reduction_factor", 1, least=1)
    if not kind or factor == 1:
        return -1, None
    Options({"reduction": kind}, options.where).only("reduction", "striding", "pooling")
    Options({"reduction_factor": factor}, options.where).only("reduction_factor", 2, 4, 8, 16)
    if type(place) is not int or not -1 <= place < layers:
        Options({"reduction_position": place}, options.where).only("reduction_position", f"-1 to {layers - 1}")
    return place, Reduction(width, factor, pooled=kind == "pooling")


def _window(options: Options, context: Context) -> tuple[int, int]:
    """The window of local attention."""
    if context.chunked:
        Options({"att_context_style": "chunked_limited"}, options.where).only("att_context_style", "regular")
    if min(context.left, context.right) < 0 or max(context.left, context.right) == 0:
        Options({"att_context_size": [context.left, context.right]}, options.where).only("att_context_size", "two numbers above -1")
    options.only("global_tokens", 0)
    return context.left, context.right


def _layers(
    options: Options, width: int, count: int, sides: tuple[int, int], *, relative: bool, window: tuple[int, int] | None
) -> list[ConformerLayer]:
    heads, bias = options.number("n_heads", 4, least=1), options.flag("use_bias", True)
    inner = width * options.number("ff_expansion_factor", 4, least=1)
    norm = options.text("conv_norm_type", "batch_norm")
    shared = None
    if not options.flag("untie_biases", True) and relative:
        shared = (nn.Parameter(torch.zeros(heads, width // heads)), nn.Parameter(torch.zeros(heads, width // heads)))
    made = []
    for _ in range(count):
        attention = (
            LocalAttention(width, heads, bias=bias, window=window)
            if window is not None
            else RelativeAttention(width, heads, bias=bias, shared=shared)
            if relative
            else Attention(width, heads, bias=bias)
        )
        convolution = ConvolutionModule(width, *sides, _norm(norm, width, options.where), bias=bias)
        made.append(ConformerLayer(width, inner, attention, convolution, bias=bias))
    return made


def _sides(options: Options) -> tuple[int, int]:
    """How far the convolutions of the layers reach before and after a frame."""
    kernel, given = options.number("conv_kernel_size", 31, least=1), options.raw("conv_context_size")
    if given == "causal":
        return kernel - 1, 0
    if given is None:
        return (kernel - 1) // 2, (kernel - 1) // 2
    if isinstance(given, list) and len(given) == 2 and all(isinstance(one, int) for one in given) and sum(given) + 1 == kernel:
        return given[0], given[1]
    Options({"conv_context_size": given}, options.where).only("conv_context_size", None, "causal")
    raise AssertionError  # the line before has raised


def _norm(kind: str, width: int, where: str) -> nn.Module:
    groups = kind.removeprefix("group_norm")
    if kind.startswith("group_norm") and groups.isdigit() and int(groups) and width % int(groups) == 0:
        return nn.GroupNorm(int(groups), width)
    Options({"conv_norm_type": kind}, where).only("conv_norm_type", "batch_norm", "layer_norm")
    return nn.LayerNorm(width) if kind == "layer_norm" else nn.BatchNorm1d(width)
