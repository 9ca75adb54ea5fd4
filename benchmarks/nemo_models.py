"""Tiny NeMo models with random weights, built from inline configs: what the tests and the benchmark of NeMo export."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

VOCABULARY = [*"abcdefghijklmnopqrstuvwxyz' "]
MODELS: dict[str, Callable[[], Any]] = {}


def model(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Registers a function that makes a model."""

    def register(make: Callable[[], Any]) -> Callable[[], Any]:
        MODELS[name] = make
        return make

    return register


def build(name: str, seed: int = 0) -> Any:
    """The model in eval mode, the same for the same seed; batch norms get statistics, and biases values, that matter."""
    import torch
    from nemo.utils import logging as nemo_logging

    nemo_logging.setLevel(logging.ERROR)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        made = MODELS[name]()
        for part in made.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
                torch.nn.init.normal_(part.running_mean, std=0.3)
                torch.nn.init.uniform_(part.running_var, 0.5, 2.0)
    return made.eval()


def _config(value: dict[str, Any]) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.create(value)


_FRONT_END = {
    "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
    "sample_rate": 16000,
    "window_size": 0.025,
    "window_stride": 0.01,
    "features": 80,
    "n_fft": 512,
    "normalize": "per_feature",
    "dither": 0.0,
    "pad_to": 0,
}


def conformer_settings(**changes: Any) -> dict[str, Any]:
    """The config of a small Conformer encoder."""
    return {
        "_target_": "nemo.collections.asr.modules.ConformerEncoder",
        "feat_in": 80,
        "feat_out": -1,
        "n_layers": 2,
        "d_model": 32,
        "subsampling": "striding",
        "subsampling_factor": 4,
        "subsampling_conv_channels": 16,
        "ff_expansion_factor": 2,
        "self_attention_model": "rel_pos",
        "n_heads": 4,
        "conv_kernel_size": 9,
        "dropout": 0.1,
        **changes,
    }


_FAST = {"subsampling": "dw_striding", "subsampling_factor": 8}
_STREAMING = {
    "att_context_size": [16, 3],
    "att_context_style": "chunked_limited",
    "causal_downsampling": True,
    "conv_context_size": "causal",
}


def conformer_encoder(**changes: Any) -> Any:
    """A Conformer encoder by itself."""
    from nemo.collections.asr.modules import ConformerEncoder

    settings = conformer_settings(**changes)
    settings.pop("_target_")
    return ConformerEncoder(**settings)


def _ctc(encoder: dict[str, Any], width: int) -> Any:
    from nemo.collections.asr.models import EncDecCTCModel

    return EncDecCTCModel(
        cfg=_config(
            {
                "sample_rate": 16000,
                "labels": VOCABULARY,
                "preprocessor": _FRONT_END,
                "encoder": encoder,
                "decoder": {
                    "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
                    "feat_in": width,
                    "num_classes": len(VOCABULARY),
                    "vocabulary": VOCABULARY,
                },
                "optim": {"name": "sgd", "lr": 0.1},
            }
        )
    )


def _block(filters: int, kernel: int, **changes: Any) -> dict[str, Any]:
    plain = {"filters": filters, "repeat": 1, "kernel": [kernel], "stride": [1], "dilation": [1], "dropout": 0.0, "residual": False}
    return {**plain, **changes}


def _convolutional(blocks: list[dict[str, Any]], kind: str = "ConvASREncoder") -> dict[str, Any]:
    return {
        "_target_": f"nemo.collections.asr.modules.{kind}",
        "feat_in": 80,
        "activation": "relu",
        "conv_mask": True,
        "jasper": blocks,
    }


@model("ctc-conformer")
def _() -> Any:
    return _ctc(conformer_settings(), 32)


@model("ctc-fastconformer")
def _() -> Any:
    return _ctc(conformer_settings(**_FAST), 32)


@model("ctc-conformer-abs-pos")
def _() -> Any:
    return _ctc(conformer_settings(self_attention_model="abs_pos"), 32)


@model("ctc-conformer-local-attention")
def _() -> Any:
    return _ctc(conformer_settings(self_attention_model="rel_pos_local_attn", att_context_size=[8, 8]), 32)


@model("ctc-conformer-stacking")
def _() -> Any:
    return _ctc(conformer_settings(subsampling="stacking"), 32)


@model("ctc-conformer-vggnet")
def _() -> Any:
    return _ctc(conformer_settings(subsampling="vggnet"), 32)


@model("ctc-conformer-reduction")
def _() -> Any:
    return _ctc(conformer_settings(reduction="striding", reduction_position=1, reduction_factor=2), 32)


@model("ctc-conformer-chunked")
def _() -> Any:
    return _ctc(conformer_settings(att_context_size=[8, 3], att_context_style="chunked_limited"), 32)


@model("ctc-conformer-streaming")
def _() -> Any:
    made = _ctc(conformer_settings(**_STREAMING), 32)
    made.set_export_config({"cache_support": True})
    return made


@model("ctc-quartznet")
def _() -> Any:
    blocks = [
        _block(32, 11, stride=[2], separable=True),
        _block(32, 7, repeat=2, residual=True, separable=True),
        _block(32, 5, dilation=[2], separable=True),
        _block(48, 1),
    ]
    return _ctc(_convolutional(blocks), 48)


@model("ctc-jasper")
def _() -> Any:
    blocks = [
        _block(32, 11, stride=[2]),
        _block(32, 7, repeat=2, residual=True, residual_dense=True),
        _block(32, 7, repeat=2, residual=True, residual_dense=True),
        _block(48, 1),
    ]
    return _ctc(_convolutional(blocks), 48)


@model("ctc-citrinet")
def _() -> Any:
    se = {"se": True, "se_context_size": -1, "separable": True}
    blocks = [
        _block(32, 5, **se),
        _block(32, 7, repeat=2, residual=True, stride=[2], stride_last=True, residual_mode="stride_add", **se),
        _block(32, 9, repeat=2, residual=True, **se),
        _block(48, 1, **se),
    ]
    return _ctc(_convolutional(blocks), 48)


@model("ctc-citrinet-context")
def _() -> Any:
    se = {"se": True, "se_context_size": 16, "separable": True}
    return _ctc(_convolutional([_block(32, 5, stride=[2], **se), _block(48, 7, repeat=2, residual=True, **se)]), 48)


@model("ctc-parallel")
def _() -> Any:
    return _ctc(
        _convolutional(
            [_block(32, 5, stride=[2]), _block(32, 7, parallel_residual_mode="conv") | {"kernel": [7, 11]}], kind="ParallelConvASREncoder"
        ),
        32,
    )


@model("ctc-lstm")
def _() -> Any:
    return _ctc(
        {
            "_target_": "nemo.collections.asr.modules.RNNEncoder",
            "feat_in": 80,
            "n_layers": 2,
            "d_model": 32,
            "proj_size": 16,
            "rnn_type": "lstm",
            "bidirectional": True,
            "subsampling": "striding",
            "subsampling_factor": 4,
            "subsampling_conv_channels": 16,
            "dropout": 0.0,
        },
        16,
    )


def _transducer(kind: str = "EncDecRNNTModel", **parts: Any) -> Any:
    from nemo.collections.asr import models

    settings = {
        "sample_rate": 16000,
        "labels": VOCABULARY,
        "model_defaults": {"enc_hidden": 32, "pred_hidden": 24, "joint_hidden": 20},
        "preprocessor": _FRONT_END,
        "encoder": conformer_settings(),
        "decoder": {
            "_target_": "nemo.collections.asr.modules.RNNTDecoder",
            "normalization_mode": None,
            "random_state_sampling": False,
            "blank_as_pad": True,
            "vocab_size": len(VOCABULARY),
            "prednet": {"pred_hidden": 24, "pred_rnn_layers": 2, "dropout": 0.0, "t_max": None},
        },
        "joint": {
            "_target_": "nemo.collections.asr.modules.RNNTJoint",
            "log_softmax": None,
            "fuse_loss_wer": False,
            "fused_batch_size": 2,
            "num_classes": len(VOCABULARY),
            "vocabulary": VOCABULARY,
            "jointnet": {"joint_hidden": 20, "activation": "relu", "dropout": 0.0, "encoder_hidden": 32, "pred_hidden": 24},
        },
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "default"},
        "optim": {"name": "sgd", "lr": 0.1},
        **parts,
    }
    return getattr(models, kind)(cfg=_config(settings))


@model("rnnt-conformer")
def _() -> Any:
    return _transducer()


@model("rnnt-stateless")
def _() -> Any:
    return _transducer(
        decoder={
            "_target_": "nemo.collections.asr.modules.StatelessTransducerDecoder",
            "context_size": 2,
            "normalization_mode": "layer",
            "vocab_size": len(VOCABULARY),
            "prednet": {"pred_hidden": 24, "pred_rnn_layers": 1, "dropout": 0.0, "t_max": None},
        }
    )


@model("rnnt-conformer-streaming")
def _() -> Any:
    made = _transducer(encoder=conformer_settings(**_STREAMING))
    made.set_export_config({"cache_support": True})
    return made


@model("rnnt-fastconformer-streaming")
def _() -> Any:
    made = _transducer(encoder=conformer_settings(**_FAST, **_STREAMING))
    made.set_export_config({"cache_support": True})
    return made


@model("tdt-fastconformer")
def _() -> Any:
    return _transducer(
        encoder=conformer_settings(**_FAST),
        joint={
            "_target_": "nemo.collections.asr.modules.RNNTJoint",
            "log_softmax": None,
            "fuse_loss_wer": False,
            "fused_batch_size": 2,
            "num_classes": len(VOCABULARY),
            "num_extra_outputs": 5,
            "vocabulary": VOCABULARY,
            "jointnet": {"joint_hidden": 20, "activation": "relu", "dropout": 0.0, "encoder_hidden": 32, "pred_hidden": 24},
        },
        decoding={
            "strategy": "greedy_batch",
            "model_type": "tdt",
            "durations": [0, 1, 2, 3, 4],
            "greedy": {"max_symbols": 10},
        },
        loss={"loss_name": "tdt", "tdt_kwargs": {"fastemit_lambda": 0.0, "durations": [0, 1, 2, 3, 4], "sigma": 0.05, "omega": 0.1}},
    )


_AUX_CTC = {
    "ctc_loss_weight": 0.3,
    "decoder": {
        "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
        "feat_in": 32,
        "num_classes": len(VOCABULARY),
        "vocabulary": VOCABULARY,
    },
    "decoding": {"strategy": "greedy"},
}


@model("hybrid-rnnt")
def _() -> Any:
    return _transducer("EncDecHybridRNNTCTCModel", aux_ctc=_AUX_CTC)


@model("hybrid-ctc")
def _() -> Any:
    made = _transducer("EncDecHybridRNNTCTCModel", aux_ctc=_AUX_CTC)
    made.change_decoding_strategy(decoder_type="ctc")
    return made


def _speaker(encoder: dict[str, Any], width: int, **decoder: Any) -> Any:
    from nemo.collections.asr.models import EncDecSpeakerLabelModel

    return EncDecSpeakerLabelModel(
        cfg=_config(
            {
                "sample_rate": 16000,
                "preprocessor": {**_FRONT_END, "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor"},
                "encoder": encoder,
                "decoder": {
                    "_target_": "nemo.collections.asr.modules.SpeakerDecoder",
                    "feat_in": width,
                    "num_classes": 7,
                    "emb_sizes": 24,
                    "angular": False,
                    **decoder,
                },
                "loss": {"_target_": "nemo.collections.common.losses.cross_entropy.CrossEntropyLoss"},
                "optim": {"name": "sgd", "lr": 0.1},
            }
        )
    )


@model("speaker-titanet")
def _() -> Any:
    se = {"se": True, "se_context_size": -1, "separable": True}
    blocks = [_block(32, 3, **se), _block(32, 7, repeat=2, residual=True, **se), _block(48, 1, **se)]
    return _speaker(_convolutional(blocks), 48, pool_mode="attention", attention_channels=16, angular=True)


@model("speaker-speakernet")
def _() -> Any:
    blocks = [_block(32, 3, separable=True), _block(32, 7, repeat=2, residual=True, separable=True), _block(48, 1)]
    return _speaker(_convolutional(blocks), 48, pool_mode="xvector")


@model("speaker-ecapa")
def _() -> Any:
    encoder = {
        "_target_": "nemo.collections.asr.modules.ECAPAEncoder",
        "feat_in": 80,
        "filters": [32, 32, 32, 64],
        "kernel_sizes": [5, 3, 3, 1],
        "dilations": [1, 2, 3, 1],
        "scale": 4,
    }
    return _speaker(encoder, 64, pool_mode="attention", attention_channels=16)


def _classifier(kind: str, **changes: Any) -> Any:
    from nemo.collections.asr import models

    labels = ["yes", "no", "up"]
    settings = {
        "sample_rate": 16000,
        "labels": labels,
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            **{key: value for key, value in _FRONT_END.items() if key != "_target_"},
        },
        "encoder": _convolutional([_block(32, 11, separable=True), _block(32, 7, repeat=2, residual=True, separable=True), _block(48, 1)]),
        "decoder": {
            "_target_": "nemo.collections.asr.modules.ConvASRDecoderClassification",
            "feat_in": 48,
            "return_logits": True,
            "pooling_type": "avg",
            "num_classes": 3,
        },
        "optim": {"name": "sgd", "lr": 0.1},
        **changes,
    }
    return getattr(models, kind)(cfg=_config(settings))


@model("classification-matchboxnet")
def _() -> Any:
    return _classifier("EncDecClassificationModel")


@model("vad-frames")
def _() -> Any:
    return _classifier(
        "EncDecFrameClassificationModel",
        decoder={
            "_target_": "nemo.collections.common.parts.MultiLayerPerceptron",
            "hidden_size": 48,
            "num_classes": 3,
            "num_layers": 1,
            "activation": "relu",
            "log_softmax": False,
        },
    )


def _fastpitch(**changes: Any) -> Any:
    from nemo.collections.tts.models import FastPitchModel

    transformer = {"n_layer": 2, "n_head": 1, "d_model": 24, "d_head": 16, "d_inner": 32, "kernel_size": 3, "dropout": 0.1}
    transformer |= {"dropatt": 0.1, "dropemb": 0.0}
    predictor = {
        "_target_": "nemo.collections.tts.modules.fastpitch.TemporalPredictor",
        "input_size": 24,
        "kernel_size": 3,
        "filter_size": 20,
        "dropout": 0.1,
        "n_layers": 2,
    }
    return FastPitchModel(
        cfg=_config(
            {
                "learn_alignment": False,
                "n_speakers": 1,
                "symbols_embedding_dim": 24,
                "max_token_duration": 75,
                "n_mel_channels": 20,
                "pitch_embedding_kernel_size": 3,
                "sample_rate": 22050,
                "preprocessor": {
                    "_target_": "nemo.collections.asr.parts.preprocessing.features.FilterbankFeatures",
                    "nfilt": 20,
                    "sample_rate": 22050,
                    "n_fft": 512,
                    "n_window_size": 512,
                    "n_window_stride": 256,
                },
                "input_fft": {
                    "_target_": "nemo.collections.tts.modules.transformer.FFTransformerEncoder",
                    "n_embed": 40,
                    "padding_idx": 39,
                    "d_embed": 24,
                    **transformer,
                },
                "output_fft": {"_target_": "nemo.collections.tts.modules.transformer.FFTransformerDecoder", **transformer},
                "duration_predictor": predictor,
                "pitch_predictor": predictor,
                "alignment_module": None,
                "optim": {"name": "sgd", "lr": 0.1},
                **changes,
            }
        )
    )


@model("tts-fastpitch")
def _() -> Any:
    return _fastpitch()


@model("tts-fastpitch-speakers")
def _() -> Any:
    return _fastpitch(n_speakers=5)


@model("tts-fastpitch-volume")
def _() -> Any:
    made = _fastpitch()
    made.set_export_config({"enable_volume": True})
    return made


@model("tts-fastpitch-ragged")
def _() -> Any:
    made = _fastpitch()
    made.set_export_config({"enable_ragged_batches": True})
    return made


@model("tts-hifigan")
def _() -> Any:
    from nemo.collections.tts.models import HifiGanModel

    return HifiGanModel(
        cfg=_config(
            {
                "n_mel_channels": 80,
                "sample_rate": 22050,
                "max_steps": 10,
                "train_ds": {"dataset": {"_target_": "nemo.collections.tts.data.dataset.VocoderDataset"}, "defer_setup": True},
                "preprocessor": {
                    "_target_": "nemo.collections.asr.parts.preprocessing.features.FilterbankFeatures",
                    "nfilt": 80,
                    "sample_rate": 22050,
                    "n_fft": 512,
                    "n_window_size": 512,
                    "n_window_stride": 256,
                },
                "generator": {
                    "_target_": "nemo.collections.tts.modules.hifigan_modules.Generator",
                    "resblock": 1,
                    "upsample_rates": [4, 4],
                    "upsample_kernel_sizes": [8, 8],
                    "upsample_initial_channel": 32,
                    "resblock_kernel_sizes": [3, 5],
                    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
                },
                "optim": {"_target_": "torch.optim.AdamW", "lr": 0.1},
            }
        )
    )


@model("diarization-sortformer")
def _() -> Any:
    from nemo.collections.asr.models import SortformerEncLabelModel

    return SortformerEncLabelModel(
        cfg=_config(
            {
                "sample_rate": 16000,
                "pil_weight": 0.5,
                "ats_weight": 0.5,
                "max_num_of_spks": 4,
                "streaming_mode": False,
                "async_streaming": False,
                "high_resolution": False,
                "num_workers": 0,
                "model_defaults": {"fc_d_model": 32, "tf_d_model": 24},
                "preprocessor": _FRONT_END,
                "sortformer_modules": {
                    "_target_": "nemo.collections.asr.modules.sortformer_modules.SortformerModules",
                    "num_spks": 4,
                    "dropout_rate": 0.1,
                    "fc_d_model": 32,
                    "tf_d_model": 24,
                },
                "encoder": conformer_settings(**_FAST),
                "transformer_encoder": {
                    "_target_": "nemo.collections.asr.modules.transformer.transformer_encoders.TransformerEncoder",
                    "num_layers": 2,
                    "hidden_size": 24,
                    "inner_size": 48,
                    "num_attention_heads": 4,
                    "attn_score_dropout": 0.0,
                    "attn_layer_dropout": 0.0,
                    "ffn_dropout": 0.0,
                    "hidden_act": "relu",
                    "pre_ln": False,
                    "pre_ln_final_layer_norm": True,
                },
                "loss": {"_target_": "nemo.collections.asr.losses.bce_loss.BCELoss", "weight": None, "reduction": "mean"},
                "optim": {"name": "sgd", "lr": 0.1},
            }
        )
    )


def _front_end(**changes: Any) -> Any:
    from nemo.collections.asr.modules import AudioToMelSpectrogramPreprocessor

    return AudioToMelSpectrogramPreprocessor(**{key: value for key, value in {**_FRONT_END, **changes}.items() if key != "_target_"})


@model("front-end")
def _() -> Any:
    return _front_end()


@model("front-end-plain")
def _() -> Any:
    return _front_end(normalize=None, pad_to=16, exact_pad=True, mag_power=1.0)


@model("encoder-conformer")
def _() -> Any:
    return conformer_encoder()


@model("encoder-conformer-streaming")
def _() -> Any:
    made = conformer_encoder(**_STREAMING)
    made.export_cache_support = True
    made.setup_streaming_params()
    return made


def features(made: Any, batch: int, frames: int, seed: int, width: int = 80) -> dict[str, Any]:
    """Spectrograms of ragged lengths, as an encoder takes them; what lies past a length is not zero."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(batch, width, frames, generator=generator)
    lengths = torch.randint(max(1, frames // 3), frames + 1, (batch,), generator=generator)
    lengths[0] = frames
    return {"audio_signal": signal, "length": lengths}


def inputs_for(made: Any, subnet: str, batch: int, size: int, seed: int) -> dict[str, Any]:
    """Inputs of one artifact that neither torchport nor NeMo has seen while exporting."""
    import torch

    generator = torch.Generator().manual_seed(1000 + seed)
    kind = type(made).__name__
    if subnet == "decoder_joint":
        decoder, joint = made.decoder, made.joint
        stateless = not hasattr(decoder, "pred_rnn_layers")
        tokens = torch.randint(0, decoder.blank_idx, (batch, 1 if stateless else 1 + size % 4), generator=generator).to(torch.int32)
        states = decoder.initialize_state(torch.zeros(batch, 1))
        if stateless:
            states = [torch.randint(0, decoder.blank_idx, one.shape, generator=generator) for one in states]
        else:
            states = [torch.tanh(torch.randn(one.shape, generator=generator)) for one in states]
        encoded = torch.randn(batch, joint.encoder_hidden, size, generator=generator)
        lengths = torch.full((batch,), tokens.shape[1], dtype=torch.int32)
        given = {f"input_states_{place + 1}": state for place, state in enumerate(states)}
        return {"encoder_outputs": encoded, "targets": tokens, "target_length": lengths, **given}
    if kind == "FastPitchModel":
        text = torch.randint(0, 39, (batch, size), generator=generator)
        for row in range(1, batch):
            text[row, size - row * size // (2 * batch) :] = 39  # padding
        inputs = {"text": text, "pitch": 0.5 * torch.randn(batch, size, generator=generator)}
        inputs["pace"] = (1 + 0.1 * torch.randn(batch, size, generator=generator)).clamp(min=0.5)
        if made.export_config.get("enable_volume"):
            inputs["volume"] = (1 + 0.1 * torch.randn(batch, size, generator=generator)).clamp(min=0.1)
        if made.fastpitch.speaker_emb is not None:
            inputs["speaker"] = torch.randint(0, 5, (batch,), generator=generator)
        if made.export_config.get("enable_ragged_batches"):
            counts = [size - row * size // (2 * batch) for row in range(batch)]
            flat = {name: torch.cat([one[row, :count] for row, count in enumerate(counts)]) for name, one in inputs.items()}
            return {**flat, "batch_lengths": torch.tensor([0, *counts], dtype=torch.int32).cumsum(0, dtype=torch.int32)}
        return inputs
    if kind == "SortformerEncLabelModel":
        return {
            f"processed_{'signal' if name == 'audio_signal' else 'signal_length'}": one
            for name, one in features(made, batch, size, seed).items()
        }
    if kind == "HifiGanModel":
        return {"spec": torch.randn(batch, 80, size, generator=generator)}
    if kind == "AudioToMelSpectrogramPreprocessor":
        samples = 160 * size + 71
        lengths = torch.randint(samples // 3, samples + 1, (batch,), generator=generator)
        lengths[0] = samples
        return {"input_signal": torch.randn(batch, samples, generator=generator), "length": lengths}
    inputs = features(made, batch, size, seed)
    encoder = getattr(made, "encoder", made)
    if getattr(encoder, "export_cache_support", False):
        channel, time, length = encoder.get_initial_cache_state(batch_size=batch)
        rows = channel.shape[2]
        inputs["cache_last_channel"] = torch.randn(channel.shape, generator=generator).transpose(0, 1).contiguous()
        inputs["cache_last_time"] = torch.randn(time.shape, generator=generator).transpose(0, 1).contiguous()
        inputs["cache_last_channel_len"] = torch.randint(0, rows + 1, length.shape, generator=generator)
    return inputs


def eager(made: Any, subnet: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """What the untouched model answers, by NeMo's own methods for inference; shares no code with either exporter."""
    import torch

    with torch.no_grad():
        return _eager(made, subnet, {name: value.clone() for name, value in inputs.items()})


def _eager(made: Any, subnet: str, inputs: dict[str, Any]) -> dict[str, Any]:
    kind = type(made).__name__
    if subnet == "decoder_joint":
        states = [value for name, value in inputs.items() if name.startswith("input_states_")]
        predicted, after = made.decoder.predict(inputs["targets"].long(), state=states, add_sos=False)
        scores = made.joint.joint(inputs["encoder_outputs"].transpose(1, 2), predicted)
        named = {f"output_states_{place + 1}": state for place, state in enumerate(after)}
        return {"outputs": scores, "prednet_lengths": inputs["target_length"], **named}
    if kind == "FastPitchModel":
        names = ("spect", "num_frames", "durs_predicted", "log_durs_predicted", "pitch_predicted", "volume_aligned")
        ends = inputs.pop("batch_lengths", None)
        if ends is not None:
            import torch

            padding = {"text": 39, "pitch": 1.0, "pace": 1.0, "volume": 1.0}
            rows = {name: flat.split(ends.diff().tolist()) for name, flat in inputs.items()}
            pad = torch.nn.utils.rnn.pad_sequence
            inputs = {name: pad(one, batch_first=True, padding_value=padding[name]) for name, one in rows.items()}
        answer = dict(zip(names, made.fastpitch.infer(**inputs), strict=True))
        return {name: value for name, value in answer.items() if value is not None}
    if kind == "HifiGanModel":
        return {"audio": made(spec=inputs["spec"])}
    if kind == "SortformerEncLabelModel":
        encoded, lengths = made.frontend_encoder(**inputs)
        return {"preds": made.forward_infer(encoded, lengths), "preds_lengths": lengths}
    if kind == "AudioToMelSpectrogramPreprocessor":
        return dict(
            zip(
                ("processed_signal", "processed_length"),
                made(**{"input_signal": inputs["input_signal"], "length": inputs["length"]}),
                strict=True,
            )
        )
    if kind in ("EncDecSpeakerLabelModel", "EncDecClassificationModel", "EncDecFrameClassificationModel"):
        encoded, lengths = made.encoder(audio_signal=inputs["audio_signal"], length=inputs["length"])
        if kind == "EncDecSpeakerLabelModel":
            logits, embeddings = made.decoder(encoder_output=encoded, length=lengths)
            return {"logits": logits, "embs": embeddings}
        if kind == "EncDecClassificationModel":
            return {"logits": made.decoder(encoder_output=encoded)}
        return {"outputs": made.decoder(encoded.transpose(1, 2))}
    encoder = getattr(made, "encoder", made)
    if getattr(encoder, "export_cache_support", False):
        answer = encoder.cache_aware_stream_step(
            processed_signal=inputs["audio_signal"],
            processed_signal_length=inputs["length"],
            cache_last_channel=inputs["cache_last_channel"].transpose(0, 1),
            cache_last_time=inputs["cache_last_time"].transpose(0, 1),
            cache_last_channel_len=inputs["cache_last_channel_len"],
            keep_all_outputs=False,
        )
        encoded, lengths, channel, time, filled = answer
        rest = {
            "encoded_lengths": lengths,
            "cache_last_channel_next": channel.transpose(0, 1),
            "cache_last_time_next": time.transpose(0, 1),
            "cache_last_channel_next_len": filled,
        }
    else:
        encoded, lengths = encoder(audio_signal=inputs["audio_signal"], length=inputs["length"])
        rest = {"encoded_lengths": lengths}
    if made is encoder or subnet == "encoder":
        return {"outputs": encoded, **rest}
    decoder = made.ctc_decoder if hasattr(made, "ctc_decoder") else made.decoder
    return {"logprobs": decoder(encoder_output=encoded), **rest}


def worst_error(expected: dict[str, Any], got: dict[str, Any]) -> float:
    """The largest difference over the outputs that both have, relative to each output's scale; infinite where shapes differ."""
    import numpy as np

    worst = 0.0
    for name, tensor in expected.items():
        if name not in got:
            continue
        want, have = tensor.detach().numpy().astype(np.float64), np.asarray(got[name]).astype(np.float64)
        if want.shape != have.shape or not np.array_equal(np.isfinite(want), np.isfinite(have)):
            return float("inf")
        finite = np.isfinite(want)
        if finite.any():
            worst = max(worst, float(np.abs(want - have)[finite].max() / max(1e-6, np.abs(want[finite]).max())))
    return worst
