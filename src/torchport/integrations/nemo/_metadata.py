"""What a NeMo model knows of its artifact's use, under the names of the metadata's schema."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from torchport.integrations._base import inherits
from torchport.metadata import feature_settings

__all__ = ["metadata_of"]

_ENCODER_DECODER = frozenset({"nemo.collections.asr.models.asr_model.ExportableEncDecModel"})
_STEP = frozenset({"nemo.collections.asr.modules.rnnt.RNNTDecoderJoint"})
_MODELS = {
    "nemo.collections.asr.models.classification_models.EncDecFrameClassificationModel": "frame_classification",
    "nemo.collections.asr.models.classification_models.EncDecClassificationModel": "classification",
    "nemo.collections.asr.models.classification_models.EncDecRegressionModel": "regression",
    "nemo.collections.asr.models.label_models.EncDecSpeakerLabelModel": "speaker",
    "nemo.collections.asr.models.sortformer_diar_models.SortformerEncLabelModel": "diarization",
    "nemo.collections.asr.modules.audio_preprocessing.AudioPreprocessor": "features",
    "nemo.collections.tts.models.fastpitch.FastPitchModel": "spectrogram",
    "nemo.collections.tts.models.base.Vocoder": "vocoder",
}
_TOKENIZERS = {"bpe": "sentencepiece", "agg": "sentencepiece", "wpe": "wordpiece"}


def metadata_of(model: Any, part: Any) -> dict[str, Any]:
    """What is known of one artifact.

    Args:
        model: The model that is exported.
        part: The module that becomes the artifact; the model itself, or a subnet of it.
    """
    config = _config_of(model)
    task = _task_of(model, part)
    stated: dict[str, Any] = {"task": task, "versions": _versions(), **_sound_of(config)}
    stated["model_class"] = f"{type(model).__module__}.{type(model).__qualname__}"
    encoder = _encoder_of(part)
    if encoder is not None:
        stated |= _encoder_facts(encoder, config)
    if task == "ctc":
        stated["ports"] |= {"scores": "logprobs", "score_lengths": "encoded_lengths"}
        stated |= _vocabulary(getattr(model, "ctc_decoder", None) or model.decoder, model)
    elif task in ("transducer_encoder", "encoder"):
        stated["ports"] |= {"encoded": "outputs", "encoded_lengths": "encoded_lengths"}
    elif task == "transducer_step":
        stated |= _step_facts(part)
    if task.startswith("transducer") and hasattr(model, "joint"):
        stated |= {**_vocabulary(model.joint, model), **_transducer(model)}
    symbols = getattr(getattr(model, "vocab", None), "tokens", None)
    if task == "spectrogram" and symbols:
        stated["vocabulary"] = {"kind": "characters", "tokens": [str(one) for one in symbols]}
    labels = config.get("labels")
    if task in ("classification", "frame_classification", "speaker") and labels:
        stated["labels"] = [str(one) for one in labels]
    return stated


def _task_of(model: Any, part: Any) -> str:
    if inherits(part, _STEP):
        return "transducer_step"
    if part is not model:
        return "transducer_encoder" if hasattr(model, "joint") else "encoder"
    names = {f"{one.__module__}.{one.__qualname__}" for one in type(model).__mro__}
    found = next((task for name, task in _MODELS.items() if name in names), None)
    if found is not None:
        return found
    decoder = getattr(model, "output_module", None)
    ctc = inherits(model, _ENCODER_DECODER) and "logprobs" in (getattr(decoder, "output_types", None) or {})
    return "ctc" if ctc else "encoder" if _is_encoder(model) else "module"


def _is_encoder(module: Any) -> bool:
    return "audio_signal" in (getattr(module, "input_types", None) or {})


def _encoder_of(part: Any) -> Any:
    """The encoder in the graph; ``None`` where there is none."""
    inside = getattr(part, "encoder", None)
    return part if _is_encoder(part) else inside if inside is not None and _is_encoder(inside) else None


def _config_of(model: Any) -> dict[str, Any]:
    """The model's config as plain values; empty for a module that has none."""
    config = getattr(model, "cfg", None)
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return dict(config)
    found = importlib.import_module("omegaconf").OmegaConf.to_container(config, resolve=False)
    return found if isinstance(found, dict) else {}


def _versions() -> dict[str, str]:
    import torch

    nemo = getattr(sys.modules.get("nemo"), "__version__", None)
    return {**({"nemo": str(nemo)} if nemo else {}), "torch": str(torch.__version__)}


def _sound_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sample rate and features, of whatever front end the config names."""
    front_end = config.get("preprocessor")
    front_end = front_end if isinstance(front_end, Mapping) else {}
    rate = front_end.get("sample_rate") or config.get("sample_rate")
    rate = {"sample_rate": int(rate)} if isinstance(rate, int) else {}
    return {**rate, **({"features": feature_settings({**front_end, **rate})} if front_end else {})}


def _encoder_facts(encoder: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"ports": {"features": "audio_signal", "feature_lengths": "length"}}
    settings = config.get("encoder")
    settings = settings if isinstance(settings, Mapping) else {}
    factor = getattr(encoder, "subsampling_factor", None) or settings.get("subsampling_factor") or _unsaid_factor(encoder, settings)
    if factor:
        halvings = getattr(getattr(encoder, "reduction_subsampling", None), "_sampling_num", 0)  # inside the encoder, after some layers
        facts["subsampling"] = int(factor) * 2 ** int(halvings)
    if getattr(encoder, "export_cache_support", False):
        facts |= {"streaming": _streaming(encoder.streaming_cfg), "states": _caches(encoder)}
    return facts


def _unsaid_factor(encoder: Any, settings: Mapping[str, Any]) -> int | None:
    """Frames of features for one encoded frame, of encoders that do not say it: recurrent ones, and convolutions beside each other."""
    before = getattr(encoder, "pre_encode", None)
    if before is not None:
        halvings = getattr(before, "_sampling_num", None)
        return getattr(before, "subsampling_factor", None) or (None if halvings is None else 2 ** int(halvings))
    factor = 1
    for block in settings.get("jasper") or ():
        stride = block.get("stride") or 1
        factor *= stride if isinstance(stride, int) else int(stride[0])  # a list of OmegaConf is no list
    return factor if settings.get("jasper") else None


def _streaming(settings: Any) -> dict[str, Any]:
    """How chunks are cut. The graph always drops what stands for the frames before; set to drop nothing, it is made for a first chunk."""
    place = 0 if int(settings.drop_extra_pre_encoded) == 0 else -1
    return {
        "chunk": _one_of(settings.chunk_size, place),
        "shift": _one_of(settings.shift_size, place),
        "before": _one_of(settings.pre_encode_cache_size, place),
        "dropped": int(settings.drop_extra_pre_encoded),
        "valid": max(0, int(settings.valid_out_len)),
    }


def _one_of(value: Any, place: int) -> int:
    """NeMo gives one number, or two: that of the first chunk and that of the others."""
    return int(value[place] if isinstance(value, (list, tuple)) else value)


def _caches(encoder: Any) -> list[dict[str, Any]]:
    channel, time, filled = encoder.get_initial_cache_state(batch_size=1)
    return [
        _state("cache_last_channel", "cache_last_channel_next", channel.transpose(0, 1), batch_axis=0),
        _state("cache_last_time", "cache_last_time_next", time.transpose(0, 1), batch_axis=0),
        _state("cache_last_channel_len", "cache_last_channel_next_len", filled, batch_axis=0),
    ]


def _step_facts(part: Any) -> dict[str, Any]:
    import torch

    states = list(part.decoder.initialize_state(torch.zeros(1, 1)))
    recurrent = all(state.is_floating_point() for state in states)
    ports = {"encoded": "encoder_outputs", "tokens": "targets", "token_lengths": "target_length", "scores": "outputs"}
    named = [
        _state(f"input_states_{place}", f"output_states_{place}", state, batch_axis=1 if recurrent else 0)
        for place, state in enumerate(states, start=1)
    ]
    return {"ports": ports, "states": named}


def _state(taken: str, given: str, initial: Any, *, batch_axis: int) -> dict[str, Any]:
    shape: list[int | str] = [int(size) for size in initial.shape]
    shape[batch_axis] = "batch"
    fill = initial.reshape(-1)[0].item() if initial.numel() else 0
    return {"input": taken, "output": given, "shape": shape, "dtype": str(initial.dtype).removeprefix("torch."), "fill": fill}


def _vocabulary(owner: Any, model: Any) -> dict[str, Any]:
    """The tokens of a decoder or a joint network, with the blank after them."""
    tokens = getattr(owner, "vocabulary", None)
    count = getattr(owner, "num_classes_with_blank", None)
    if count is None:
        return {}
    extra = int(getattr(owner, "num_extra_outputs", 0) or 0)
    vocabulary: dict[str, Any] = {"blank": int(count) - 1 - extra}
    if tokens:
        kind = _TOKENIZERS.get(str(getattr(model, "tokenizer_type", "")).lower(), "characters")
        vocabulary |= {"kind": kind, "tokens": [str(one) for one in tokens]}
    return {"vocabulary": vocabulary}


def _transducer(model: Any) -> dict[str, Any]:
    """How tokens are searched; nothing for kinds that greedy search here does not know."""
    decoding = getattr(model, "decoding", None)
    if getattr(decoding, "big_blank_durations", None):
        return {}
    durations = [int(one) for one in getattr(decoding, "durations", None) or ()]
    search = getattr(decoding, "decoding", None)
    most = getattr(search, "max_symbols", None)
    facts: dict[str, Any] = {"kind": "tdt" if durations else "rnnt", "max_symbols": None if most is None else int(most)}
    if durations:
        facts["durations"] = durations
    if getattr(model.decoder, "blank_as_pad", False):
        facts["start"] = int(model.decoder.blank_idx)
    return {"transducer": facts}
