"""Configs of tiny NeMo models, several of each family that torchport rebuilds: what the rebuilt ones are held against."""

from __future__ import annotations

from typing import Any

LETTERS = [*"abcdefghij"]
BANDS = 16
_ASR = "nemo.collections.asr"

FRONT_END: dict[str, Any] = {
    "_target_": f"{_ASR}.modules.AudioToMelSpectrogramPreprocessor",
    "sample_rate": 16000,
    "window_size": 0.025,
    "window_stride": 0.01,
    "features": BANDS,
    "n_fft": 512,
    "normalize": "per_feature",
    "dither": 0.0,
}
OPTIMISER = {"name": "sgd", "lr": 0.1}
WIDTH = 16


def conformer(**changes: Any) -> dict[str, Any]:
    """A Conformer encoder's section."""
    return {
        "_target_": f"{_ASR}.modules.ConformerEncoder",
        "feat_in": BANDS,
        "n_layers": 2,
        "d_model": WIDTH,
        "subsampling_conv_channels": 8,
        "ff_expansion_factor": 2,
        "n_heads": 2,
        "conv_kernel_size": 5,
        **changes,
    }


def block(filters: int, kernel: int, **changes: Any) -> dict[str, Any]:
    """A section of a convolutional encoder's blocks."""
    plain = {"filters": filters, "repeat": 1, "kernel": [kernel], "stride": [1], "dilation": [1], "dropout": 0.1, "residual": False}
    return {**plain, **changes}


def convolutional(*blocks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A convolutional encoder's section."""
    return {"_target_": f"{_ASR}.modules.ConvASREncoder", "feat_in": BANDS, "activation": "relu", "jasper": list(blocks), **changes}


def recurrent(**changes: Any) -> dict[str, Any]:
    """A recurrent encoder's section."""
    sizes = {"feat_in": BANDS, "n_layers": 2, "d_model": 12, "proj_size": WIDTH, "subsampling_conv_channels": 8}
    return {"_target_": f"{_ASR}.modules.RNNEncoder", **sizes, **changes}


def ctc_decoder(width: int = WIDTH) -> dict[str, Any]:
    """A CTC decoder's section."""
    return {"_target_": f"{_ASR}.modules.ConvASRDecoder", "feat_in": width, "num_classes": len(LETTERS), "vocabulary": LETTERS}


def ctc(encoder: dict[str, Any], width: int = WIDTH) -> dict[str, Any]:
    """A CTC model's config."""
    return {
        "target": f"{_ASR}.models.ctc_models.EncDecCTCModel",
        "sample_rate": 16000,
        "labels": LETTERS,
        "preprocessor": FRONT_END,
        "encoder": encoder,
        "decoder": ctc_decoder(width),
        "optim": OPTIMISER,
    }


def transducer(
    encoder: dict[str, Any],
    kind: str = "rnnt_models.EncDecRNNTModel",
    *,
    width: int = WIDTH,
    joint: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A transducer's config."""
    prediction = {"pred_hidden": 12, "pred_rnn_layers": 2, "dropout": 0.1, "t_max": None}
    return {
        "target": f"{_ASR}.models.{kind}",
        "sample_rate": 16000,
        "labels": LETTERS,
        "model_defaults": {"enc_hidden": width, "pred_hidden": 12, "joint_hidden": 10},
        "preprocessor": FRONT_END,
        "encoder": encoder,
        "decoder": {"_target_": f"{_ASR}.modules.RNNTDecoder", "blank_as_pad": True, "vocab_size": len(LETTERS), "prednet": prediction},
        "joint": {
            "_target_": f"{_ASR}.modules.RNNTJoint",
            "log_softmax": None,
            "fuse_loss_wer": False,
            "fused_batch_size": 2,
            "num_classes": len(LETTERS),
            "vocabulary": LETTERS,
            "jointnet": {"joint_hidden": 10, "activation": "relu", "dropout": 0.0, "encoder_hidden": width, "pred_hidden": 12},
            **(joint or {}),
        },
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "default"},
        "optim": OPTIMISER,
        **changes,
    }


def speaker(encoder: dict[str, Any], width: int, **decoder: Any) -> dict[str, Any]:
    """A speaker model's config."""
    head = {"_target_": f"{_ASR}.modules.SpeakerDecoder", "feat_in": width, "num_classes": 5, "emb_sizes": 12, **decoder}
    return {
        "target": f"{_ASR}.models.label_models.EncDecSpeakerLabelModel",
        "sample_rate": 16000,
        "preprocessor": FRONT_END,
        "encoder": encoder,
        "decoder": head,
        "loss": {"_target_": "nemo.collections.common.losses.cross_entropy.CrossEntropyLoss"},
        "optim": OPTIMISER,
    }


def classifier(kind: str, decoder: dict[str, Any], encoder: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A classifier's config."""
    return {
        "target": f"{_ASR}.models.classification_models.{kind}",
        "sample_rate": 16000,
        "labels": ["yes", "no", "up"],
        "preprocessor": FRONT_END,
        "encoder": encoder,
        "decoder": decoder,
        "optim": OPTIMISER,
        **changes,
    }


def row_head(**changes: Any) -> dict[str, Any]:
    """The decoder of a classifier of rows."""
    return {"_target_": f"{_ASR}.modules.ConvASRDecoderClassification", "feat_in": 16, "num_classes": 3, **changes}


def frame_head(**changes: Any) -> dict[str, Any]:
    """The decoder of a classifier of frames."""
    return {"_target_": "nemo.collections.common.parts.MultiLayerPerceptron", "hidden_size": 16, "num_classes": 3, **changes}


MELS, TOKENS = 12, 20
_TTS = "nemo.collections.tts"
_MEL_FILTERS = {
    "_target_": f"{_ASR}.parts.preprocessing.features.FilterbankFeatures",
    "nfilt": MELS,
    "sample_rate": 22050,
    "n_fft": 512,
    "n_window_size": 512,
    "n_window_stride": 256,
}


def predictor(**changes: Any) -> dict[str, Any]:
    """A section of a predictor of one number a token."""
    kind = f"{_TTS}.modules.fastpitch.TemporalPredictor"
    return {"_target_": kind, "input_size": 16, "kernel_size": 3, "filter_size": 10, "dropout": 0.1, "n_layers": 2, **changes}


def fastpitch(tokens: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A FastPitch model's config; ``tokens`` replaces what the encoder's section says of them."""
    layers = {
        "n_layer": 1,
        "n_head": 2,
        "d_model": 16,
        "d_head": 6,
        "d_inner": 12,
        "kernel_size": 3,
        "dropout": 0.1,
        "dropatt": 0.1,
        "dropemb": 0.0,
    }
    tokens = {"n_embed": TOKENS, "padding_idx": TOKENS - 1, "d_embed": 16} if tokens is None else tokens
    return {
        "target": f"{_TTS}.models.fastpitch.FastPitchModel",
        "learn_alignment": False,
        "n_speakers": 1,
        "symbols_embedding_dim": 16,
        "max_token_duration": 5,
        "n_mel_channels": MELS,
        "pitch_embedding_kernel_size": 3,
        "sample_rate": 22050,
        "preprocessor": _MEL_FILTERS,
        "input_fft": {"_target_": f"{_TTS}.modules.transformer.FFTransformerEncoder", **layers, **tokens},
        "output_fft": {"_target_": f"{_TTS}.modules.transformer.FFTransformerDecoder", **layers},
        "duration_predictor": predictor(),
        "pitch_predictor": predictor(n_layers=1),
        "alignment_module": None,
        "optim": OPTIMISER,
        **changes,
    }


_LEARNT: dict[str, Any] = {
    "learn_alignment": True,
    "bin_loss_warmup_epochs": 10,
    "train_ds": {"dataset": {"_target_": f"{_TTS}.data.dataset.TTSDataset"}, "defer_setup": True},
    "text_tokenizer": {"_target_": "nemo.collections.common.tokenizers.text_to_speech.tts_tokenizers.EnglishCharsTokenizer"},
    "alignment_module": {"_target_": f"{_TTS}.modules.aligner.AlignmentEncoder", "n_text_channels": 16, "n_mel_channels": MELS},
}
"""A voice that learnt its alignment: how many tokens there are is with its tokenizer."""


def hifigan(**changes: Any) -> dict[str, Any]:
    """A HiFi-GAN's config."""
    generator = {
        "_target_": f"{_TTS}.modules.hifigan_modules.Generator",
        "resblock": 1,
        "upsample_rates": [3, 2],
        "upsample_kernel_sizes": [7, 4],
        "upsample_initial_channel": 16,
        "resblock_kernel_sizes": [3, 5],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 2, 4]],
        **changes,
    }
    return {
        "target": f"{_TTS}.models.hifigan.HifiGanModel",
        "n_mel_channels": 80,
        "sample_rate": 22050,
        "max_steps": 10,
        "train_ds": {"dataset": {"_target_": f"{_TTS}.data.dataset.VocoderDataset"}, "defer_setup": True},
        "preprocessor": {**_MEL_FILTERS, "nfilt": generator.get("initial_input_size", 80)},
        "generator": generator,
        "optim": {"_target_": "torch.optim.AdamW", "lr": 0.1},
    }


_DURATIONS = [0, 1, 2, 4]
_TDT: dict[str, Any] = {
    "joint": {"num_extra_outputs": len(_DURATIONS)},
    "decoding": {"strategy": "greedy_batch", "model_type": "tdt", "durations": _DURATIONS, "greedy": {"max_symbols": 7}},
    "loss": {"loss_name": "tdt", "tdt_kwargs": {"fastemit_lambda": 0.0, "durations": _DURATIONS, "sigma": 0.05, "omega": 0.1}},
}
_STATELESS: dict[str, Any] = {
    "_target_": f"{_ASR}.modules.StatelessTransducerDecoder",
    "context_size": 3,
    "normalization_mode": "layer",
    "vocab_size": len(LETTERS),
    "prednet": {"pred_hidden": 12, "pred_rnn_layers": 1, "dropout": 0.0, "t_max": None},
}
_HYBRID = "hybrid_rnnt_ctc_models.EncDecHybridRNNTCTCModel"

_APART: dict[str, Any] = {"separable": True}
_GATED: dict[str, Any] = {"separable": True, "se": True, "se_context_size": -1, "se_reduction_ratio": 2}
_DENSE: dict[str, Any] = {"residual": True, "residual_dense": True}

_STREAMING: dict[str, Any] = {
    "att_context_size": [4, 1],
    "att_context_style": "chunked_limited",
    "causal_downsampling": True,
    "conv_context_size": "causal",
    "conv_norm_type": "layer_norm",
}
_SMALL = convolutional(block(12, 5, **_APART), block(12, 3, repeat=2, residual=True, **_APART), block(16, 1))
_SMALL_GATED = convolutional(block(12, 3, **_GATED), block(12, 3, repeat=2, residual=True, **_GATED), block(16, 1, **_GATED))

VARIANTS: dict[str, dict[str, Any]] = {
    "ctc-conformer": ctc(conformer(subsampling="striding", dropout=0.1, pos_emb_max_len=5000)),
    "ctc-conformer-plain": ctc(conformer(subsampling_factor=1, xscaling=False, n_heads=1)),
    "ctc-conformer-absolute": ctc(conformer(self_attention_model="abs_pos", conv_norm_type="layer_norm", subsampling_factor=2)),
    "ctc-conformer-stacking": ctc(conformer(subsampling="stacking", subsampling_factor=3, untie_biases=False)),
    "ctc-conformer-stacking-norm": ctc(conformer(subsampling="stacking_norm", conv_norm_type="group_norm4", feat_out=12), 12),
    "ctc-conformer-window": ctc(conformer(att_context_size=[3, 1], conv_context_size=[3, 1], conv_norm_type="layer_norm")),
    "ctc-conformer-local": ctc(conformer(self_attention_model="rel_pos_local_attn", att_context_size=[5, 3], n_heads=4)),
    "ctc-conformer-local-before": ctc(conformer(self_attention_model="rel_pos_local_attn", att_context_size=[6, 0], untie_biases=False)),
    "ctc-conformer-reduction": ctc(conformer(reduction="striding", reduction_position=0, reduction_factor=2)),
    "ctc-conformer-reduction-last": ctc(conformer(reduction="pooling", reduction_position=-1, reduction_factor=2)),
    "ctc-fastconformer": ctc(conformer(subsampling="dw_striding", subsampling_factor=8, xscaling=False, use_bias=False)),
    "ctc-fastconformer-causal": ctc(
        conformer(
            subsampling="dw_striding",
            subsampling_factor=4,
            causal_downsampling=True,
            att_context_size=[[4, 1], [4, 0]],
            att_context_style="chunked_limited",
            conv_context_size="causal",
            conv_norm_type="layer_norm",
        )
    ),
    "ctc-jasper": ctc(
        convolutional(
            block(12, 5, stride=[2]), block(12, 3, repeat=2, **_DENSE), block(8, 3, repeat=2, **_DENSE), block(8, 3), block(16, 1)
        )
    ),
    "ctc-quartznet": ctc(
        convolutional(
            block(12, 5, stride=[2], **_APART),
            block(12, 3, repeat=3, residual=True, **_APART),
            block(16, 5, dilation=[2], **_APART),
            block(16, 1),
            conv_mask=True,
        )
    ),
    "ctc-quartznet-layer-norm": ctc(
        convolutional(
            block(12, 4, stride=[2], repeat=2, kernel_size_factor=1.5),
            block(12, 7, residual=True, future_context=1, **_APART),
            block(12, 3, residual=True, residual_mode="max", **_APART),
            block(16, 3, dilation=[2], future_context=1),
            activation="swish",
            normalization_mode="layer",
        )
    ),
    "ctc-parallel": ctc(
        convolutional(
            block(16, 5, stride=[2]),
            block(16, 3, repeat=2, separable=True, residual=True, parallel_residual_mode="sum") | {"kernel": [3, 7]},
            block(20, 3, aggregation_mode="dropout", block_dropout=0.1, parallel_residual_mode="conv") | {"kernel": [3, 5, 9]},
        )
        | {"_target_": f"{_ASR}.modules.ParallelConvASREncoder"},
        20,
    ),
    "ctc-recurrent": ctc(recurrent()),
    "ctc-recurrent-one-way": ctc(recurrent(bidirectional=False, d_model=20, subsampling="stacking", subsampling_factor=2, n_layers=1)),
    "ctc-citrinet": ctc(
        convolutional(
            block(12, 3, **_GATED),
            block(12, 5, repeat=3, stride=[2], stride_last=True, residual=True, residual_mode="stride_add", **_GATED),
            block(16, 3, repeat=2, residual=True, **_GATED),
            block(16, 1, se=True, se_reduction_ratio=4),
        )
    ),
    "ctc-citrinet-window": ctc(
        convolutional(
            block(16, 3, stride=[2], separable=True, se=True, se_context_size=8),
            block(16, 3, residual=True),
            activation="hardtanh",
            normalization_mode="group",
            norm_groups=4,
        )
    ),
    "rnnt-conformer": transducer(conformer()),
    "rnnt-fastconformer": transducer(
        conformer(subsampling="dw_striding", subsampling_factor=8),
        joint={
            "log_softmax": False,
            "jointnet": {"joint_hidden": 10, "activation": "tanh", "dropout": 0.2, "encoder_hidden": WIDTH, "pred_hidden": 12},
        },
    ),
    "rnnt-citrinet": transducer(
        convolutional(block(12, 3, stride=[2], **_GATED), block(16, 3, residual=True, **_GATED)), joint={"log_softmax": True}
    ),
    "rnnt-stateless": transducer(conformer(n_layers=1), decoder=_STATELESS),
    "tdt-fastconformer": transducer(conformer(subsampling="dw_striding", subsampling_factor=4), **_TDT),
    "hybrid-fastconformer": transducer(
        conformer(subsampling="dw_striding", subsampling_factor=4),
        _HYBRID,
        aux_ctc={"ctc_loss_weight": 0.3, "decoder": ctc_decoder(), "decoding": {"strategy": "greedy"}},
        **_TDT,
    ),
    "ctc-streaming": ctc(conformer(**_STREAMING)),
    "ctc-streaming-window": ctc(
        conformer(att_context_size=[6, 0], conv_context_size=[3, 1], subsampling="dw_striding", subsampling_factor=8)
    ),
    "ctc-streaming-stacking": ctc(conformer(**{**_STREAMING, "subsampling": "stacking", "conv_context_size": None})),
    "rnnt-streaming": transducer(conformer(**{**_STREAMING, "xscaling": False, "untie_biases": False})),
    "hybrid-streaming": transducer(
        conformer(**_STREAMING), _HYBRID, aux_ctc={"ctc_loss_weight": 0.3, "decoder": ctc_decoder(), "decoding": {"strategy": "greedy"}}
    ),
    "speaker-titanet": speaker(_SMALL_GATED, 16, pool_mode="attention", attention_channels=8, angular=True),
    "speaker-speakernet": speaker(_SMALL, 16, pool_mode="xvector", emb_sizes=[12, 10]),
    "speaker-averages": speaker(_SMALL, 16, pool_mode="tap"),
    "speaker-ecapa": speaker(
        {
            "_target_": f"{_ASR}.modules.ECAPAEncoder",
            "feat_in": BANDS,
            "filters": [8, 8, 8, 16],
            "kernel_sizes": [5, 3, 3, 1],
            "dilations": [1, 2, 3, 1],
            "scale": 4,
        },
        16,
        pool_mode="attention",
        attention_channels=8,
    ),
    "classification-matchboxnet": classifier("EncDecClassificationModel", row_head(return_logits=True, pooling_type="avg"), _SMALL),
    "classification-greatest": classifier("EncDecClassificationModel", row_head(return_logits=False, pooling_type="max"), _SMALL_GATED),
    "classification-conformer": classifier("EncDecClassificationModel", row_head(), conformer(n_layers=1)),
    "vad-frames": classifier("EncDecFrameClassificationModel", frame_head(num_layers=1, log_softmax=False), _SMALL),
    "vad-frames-deeper": classifier("EncDecFrameClassificationModel", frame_head(num_layers=3, activation="tanh"), _SMALL_GATED),
    "vad-frames-conformer": classifier("EncDecFrameClassificationModel", frame_head(), conformer(n_layers=1)),
    "tts-fastpitch": fastpitch(),
    "tts-fastpitch-volume": fastpitch(min_token_duration=1),
    "tts-fastpitch-speakers": fastpitch(n_speakers=3, speaker_emb_condition_prosody=True, speaker_emb_condition_decoder=True),
    "tts-fastpitch-aligned": fastpitch({}, **_LEARNT, energy_predictor=predictor(), energy_embedding_kernel_size=3),
    "tts-hifigan": hifigan(),
    "tts-hifigan-singles": hifigan(resblock=2, initial_input_size=MELS, resblock_dilation_sizes=[[1, 3], [2, 4]]),
    "tts-hifigan-one-stage": hifigan(upsample_rates=[4], upsample_kernel_sizes=[8], apply_weight_init_conv_pre=True),
}
"""By name. The part before the first dash says how the model is called."""
