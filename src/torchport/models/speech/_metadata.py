"""What a rebuilt model states of its use, read off the config of its archive: as NeMo's own models state it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from torchport.metadata import feature_settings
from torchport.models.speech._base import EncoderPart

__all__ = ["of_encoder", "of_labels", "of_sound", "of_state", "of_transducer", "of_vocabulary"]

_TOKENIZERS = {"bpe": "sentencepiece", "agg": "sentencepiece", "wpe": "wordpiece"}


def of_sound(config: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, sample rate and feature settings."""
    made = config.get("nemo_version")
    stated: dict[str, Any] = {"versions": {**({"nemo": str(made)} if made else {}), "torch": str(torch.__version__)}}
    front_end = config.get("preprocessor")
    front_end = front_end if isinstance(front_end, Mapping) else {}
    rate = front_end.get("sample_rate") or config.get("sample_rate")
    if isinstance(rate, int):
        stated["sample_rate"] = rate
    if front_end:
        stated["features"] = feature_settings({**front_end, **({"sample_rate": rate} if isinstance(rate, int) else {})})
    return stated


def of_encoder(config: Mapping[str, Any], encoder: EncoderPart) -> dict[str, Any]:
    """What `of_sound` says, the ports of an encoder, and how it takes chunks where it does."""
    stated = {**of_sound(config), "ports": {"features": "audio_signal", "feature_lengths": "length"}}
    if encoder.factor:
        stated["subsampling"] = encoder.factor
    if encoder.chunks is not None:
        plan = encoder.chunks
        stated["streaming"] = {name: getattr(plan, name) for name in ("chunk", "shift", "before", "dropped", "valid")}
        stated["states"] = [
            of_state(name, after, first, batch_axis=0)
            for (name, first), after in zip(plan.first(1).items(), plan.output_types, strict=True)
        ]
    return stated


def of_vocabulary(config: Mapping[str, Any], tokens: object, blank: int) -> dict[str, Any]:
    """The tokens, where the config lists them, and the blank."""
    vocabulary: dict[str, Any] = {"blank": blank}
    if isinstance(tokens, Sequence) and not isinstance(tokens, str) and tokens:
        tokenizer = config.get("tokenizer")
        kind = str(tokenizer.get("type", "")).lower() if isinstance(tokenizer, Mapping) else ""
        vocabulary |= {"kind": _TOKENIZERS.get(kind, "characters"), "tokens": [str(one) for one in tokens]}
    return {"vocabulary": vocabulary}


def of_labels(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the classes are called, where the config says it."""
    labels = config.get("labels")
    return {"labels": [str(one) for one in labels]} if isinstance(labels, Sequence) and not isinstance(labels, str) and labels else {}


def of_state(taken: str, given: str, first: torch.Tensor, *, batch_axis: int) -> dict[str, Any]:
    """One state that goes from call to call, by its names on the way in and out, and its value before the first."""
    shape: list[int | str] = [int(size) for size in first.shape]
    shape[batch_axis] = "batch"
    dtype = str(first.dtype).removeprefix("torch.")
    fill = first.reshape(-1)[0].item() if first.numel() else 0
    return {"input": taken, "output": given, "shape": shape, "dtype": dtype, "fill": fill}


def of_transducer(config: Mapping[str, Any], start: int | None) -> dict[str, Any]:
    """How tokens are searched; nothing for kinds with blanks of several lengths."""
    decoding = config.get("decoding")
    decoding = decoding if isinstance(decoding, Mapping) else {}
    if decoding.get("big_blank_durations"):
        return {}
    durations = [int(one) for one in decoding.get("durations") or ()]
    greedy = decoding.get("greedy")
    greedy = greedy if isinstance(greedy, Mapping) else {}
    most = greedy.get("max_symbols") or greedy.get("max_symbols_per_step")
    facts: dict[str, Any] = {"kind": "tdt" if durations else "rnnt", "max_symbols": None if most is None else int(most)}
    facts |= {"durations": durations} if durations else {}
    facts |= {"start": start} if start is not None else {}
    return {"transducer": facts}
