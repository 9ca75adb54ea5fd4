"""Which graph each kind of NeMo module stands for; kinds are told by the names of their classes."""

from __future__ import annotations

from typing import Any

from torchport.errors import HookError
from torchport.integrations._base import inherits
from torchport.integrations.nemo._graph import (
    BATCH,
    STEPS,
    Graph,
    by_keyword,
    fixed_time,
    lengths_of,
    limited_time,
    named_example,
    ports_of,
    types_of,
)
from torchport.integrations.nemo._ragged import is_ragged, ragged_example, ragged_inputs
from torchport.integrations.nemo._states import CacheLength
from torchport.integrations.nemo._tables import most_frames
from torchport.ports import NeuralType
from torchport.prepare import defined_by

__all__ = ["graph_of"]

_ENCODER_DECODER = frozenset({"nemo.collections.asr.models.asr_model.ExportableEncDecModel"})
_DECODER_JOINT = frozenset({"nemo.collections.asr.modules.rnnt.RNNTDecoderJoint"})
_STATELESS = frozenset({"nemo.collections.asr.modules.rnnt.StatelessTransducerDecoder"})
_FASTPITCH = frozenset({"nemo.collections.tts.models.fastpitch.FastPitchModel"})
_FRONT_END = frozenset({"nemo.collections.asr.modules.audio_preprocessing.AudioPreprocessor"})
_SORTFORMER = frozenset({"nemo.collections.asr.models.sortformer_diar_models.SortformerEncLabelModel"})
_FUSED = frozenset({"torchport.integrations.nemo._waveform.Fused"})
_FRAMES = frozenset({"nemo.collections.asr.models.classification_models.EncDecFrameClassificationModel"})


def graph_of(module: Any) -> Graph:
    """The graph of a NeMo module.

    Raises:
        HookError: It does not say its ports or an example.
    """
    if inherits(module, _DECODER_JOINT):
        from torchport.integrations.nemo._transducer import decoder_joint

        return decoder_joint(module)
    if inherits(module, _FUSED):
        found: Graph = module.graph()
        return found
    if inherits(module, _FASTPITCH):
        return _fastpitch(module)
    if inherits(module, _FRONT_END):
        return _front_end(module)
    if inherits(module, _SORTFORMER):
        return _sortformer(module)
    if inherits(module, _ENCODER_DECODER):
        return _encoder_decoder(module)
    if "audio_signal" in (getattr(module, "input_types", None) or {}):
        return _encoder(module)
    return _plain(module)


def _encoder(encoder: Any) -> Graph:
    """An encoder with its lengths, as it runs before anything is prepared; with caches where the model streams."""
    inputs, outputs = types_of(encoder, "input"), types_of(encoder, "output")
    streams = bool(getattr(encoder, "export_cache_support", False))
    example = _encoder_example(encoder, inputs, streams)
    ports = ports_of(inputs, example)
    ports["audio_signal"] = limited_time(ports["audio_signal"], most_frames(encoder))
    results = ports_of(outputs, list(outputs) if streams else list(outputs)[:2])
    if streams:
        ports = {name: fixed_time(port) if name.startswith("cache_") else port for name, port in ports.items()}
        results = {name: fixed_time(port) if name.startswith("cache_") else port for name, port in results.items()}
        ports["cache_last_channel_len"] = NeuralType(("B",), CacheLength(int(example["cache_last_channel"].shape[2])))
    # Where there are two, `forward` is the other one with a table of positions that grows; how far it reaches is in the port.
    method = getattr(encoder, "forward_for_export", None) or encoder.forward
    return Graph(by_keyword(method), ports, results, example)


def _encoder_example(encoder: Any, types: dict[str, Any], streams: bool) -> dict[str, Any]:
    import torch

    width = getattr(encoder, "_feat_in", None) or _first_width(encoder)
    if not streams:
        return {"audio_signal": torch.randn(BATCH, width, STEPS), "length": lengths_of(BATCH, STEPS)}
    example = named_example(encoder, types, max_batch=BATCH)
    example["length"] = lengths_of(BATCH, example["audio_signal"].shape[-1], example["length"])
    example["cache_last_channel"] = 0.5 * torch.randn_like(example["cache_last_channel"])
    example["cache_last_time"] = 0.5 * torch.randn_like(example["cache_last_time"])
    size = example["cache_last_channel"].shape[2]
    example["cache_last_channel_len"] = lengths_of(BATCH, size, example["cache_last_channel_len"])
    return example


def _first_width(encoder: Any) -> int:
    """How many features the first layer takes, of an encoder that does not say it."""
    import torch

    for part in encoder.modules():
        if isinstance(part, torch.nn.Conv1d):
            return part.in_channels
        if isinstance(part, torch.nn.Linear):
            return part.in_features
    return 80


def _encoder_decoder(model: Any) -> Graph:
    """Encoder and decoder in one graph, with the lengths and caches that the encoder gives."""
    encoder, decoder = model.input_module, getattr(model, "output_module", None)
    if decoder is None:
        raise HookError(
            f"{type(model).__name__} does not say which module gives its outputs: what its graph is, is not known here",
            where=f"{type(model).__module__}.{type(model).__qualname__}.output_module",
            hint="export its parts: torchport.export(model.encoder, path), and its decoder with an example",
        )
    inner = _encoder(encoder)
    outputs = types_of(decoder, "output")
    if defined_by(model, "forward_for_export") in _ENCODER_DECODER:
        first = next(iter(outputs))
        lengths = dict(list(inner.outputs.items())[1:])

        def forward(**inputs: Any) -> Any:
            encoded, *rest = inner.forward(**inputs)
            return (decoder(encoder_output=encoded), *rest)

        return Graph(forward, inner.inputs, {**ports_of(outputs, [first]), **lengths}, inner.example)
    names = {"audio_signal": "input"} if inherits(model, _FRAMES) else None
    return Graph(by_keyword(model.forward_for_export, names=names), inner.inputs, ports_of(outputs, outputs), inner.example)


def _front_end(module: Any) -> Graph:
    """Waveforms in, features and their lengths out."""
    import torch

    inputs, outputs = types_of(module, "input"), types_of(module, "output")
    samples = STEPS * int(module.hop_length) + 37
    example = {"input_signal": torch.randn(BATCH, samples), "length": lengths_of(BATCH, samples)}
    return Graph(by_keyword(module.forward), ports_of(inputs, example), ports_of(outputs, list(outputs)[:2]), example)


def _sortformer(model: Any) -> Graph:
    """Features in, as the model's own front end gives them; each speaker's probability at each frame out, and how many frames count."""
    inner = _encoder(model.encoder)
    names = {"audio_signal": "processed_signal", "length": "processed_signal_length"}

    def forward(processed_signal: Any, processed_signal_length: Any) -> Any:
        encoded, lengths = model.frontend_encoder(processed_signal=processed_signal, processed_signal_length=processed_signal_length)
        return model.forward_infer(encoded, lengths), lengths

    outputs = {**ports_of(types_of(model, "output"), ["preds"]), "preds_lengths": inner.outputs["encoded_lengths"]}
    renamed = [{names[name]: value for name, value in one.items()} for one in (inner.inputs, inner.example)]
    return Graph(forward, renamed[0], outputs, renamed[1])


def _fastpitch(model: Any) -> Graph:
    """Text, pitch and pace in; the spectrogram and what was predicted for it out."""
    model._prepare_for_export(noreplace=True)  # says the types, and changes nothing else
    try:
        inputs, outputs = types_of(model, "input"), types_of(model, "output")
    finally:
        model._export_teardown()
    disabled = set(model.disabled_deployment_input_names)
    example = {
        name: value
        for name, value in named_example(model, inputs, disabled, max_batch=BATCH, max_dim=23).items()
        if name in inputs and name not in disabled
    }
    ports = ports_of(inputs, example)
    if is_ragged(model):
        example, ports = ragged_example(model, example, BATCH), ragged_inputs(ports)

    def forward(**given: Any) -> Any:
        return model.forward_for_export(**given)  # looked up when it runs: for the capture of ragged batches it is another one

    return Graph(forward, ports, ports_of(outputs, outputs), example)


def _plain(module: Any) -> Graph:
    """Any other module: its export method where it has one, its types, its example."""
    inputs, outputs = types_of(module, "input"), types_of(module, "output")
    disabled = set(getattr(module, "disabled_deployment_input_names", ()))
    example = named_example(module, inputs, disabled, max_batch=BATCH, max_dim=STEPS)
    method = getattr(module, "forward_for_export", None) or module.forward
    left_out = set(getattr(module, "disabled_deployment_output_names", ()))
    return Graph(
        by_keyword(method),
        ports_of(inputs, [name for name in example if name in inputs]),
        ports_of(outputs, [name for name in outputs if name not in left_out]),
        example,
    )
