"""Tables that NeMo counts frames by: those of masks, emptied before a capture, and those of positions, which end somewhere."""

from __future__ import annotations

from typing import Any

from torchport.integrations._base import inherits

__all__ = ["empty_tables", "most_frames"]

_CONVOLUTIONAL = frozenset(
    {
        "nemo.collections.asr.modules.conv_asr.ConvASREncoder",
        "nemo.collections.asr.modules.conv_asr.ParallelConvASREncoder",
    }
)


_BOTH_WAYS = frozenset({"nemo.collections.asr.parts.submodules.multi_head_attention.RelPositionalEncoding"})
_ONE_WAY = frozenset({"nemo.collections.asr.parts.submodules.multi_head_attention.PositionalEncoding"})
_WINDOW = frozenset({"nemo.collections.asr.parts.submodules.multi_head_attention.LocalAttRelPositionalEncoding"})


def most_frames(encoder: Any) -> int | None:
    """How many frames an encoder takes before its table of positions ends; ``None`` where it has none that ends.

    The table is as long as the model has it: ``encoder.set_max_audio_length(n)`` makes it longer.
    """
    positions = getattr(encoder, "pos_enc", None)
    if positions is None or not inherits(positions, _ONE_WAY) or inherits(positions, _WINDOW):
        return None
    rows = int(positions.pe.shape[1])
    steps = (rows + 1) // 2 if inherits(positions, _BOTH_WAYS) else rows
    if getattr(encoder, "export_cache_support", False):
        steps -= max(0, int(encoder.streaming_cfg.last_channel_cache_size))
    return steps * int(getattr(encoder, "subsampling_factor", 1))


def empty_tables(module: Any, *, needed: bool) -> None:
    """Sets the greatest length of convolutional encoders to nothing: their ``forward`` then computes it of the size at hand.

    Args:
        module: The model; its instances are changed, not their classes.
        needed: Whether any layer reads the tables; otherwise they are not made at all.
    """
    for part in module.modules():
        if inherits(part, _CONVOLUTIONAL) and hasattr(part, "max_audio_length"):
            part.max_audio_length = 0
            if not needed:
                part.update_max_sequence_length = _makes_none


def _makes_none(*args: Any, **kwargs: Any) -> None:
    return None
