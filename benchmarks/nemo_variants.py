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


_APART: dict[str, Any] = {"separable": True}
_GATED: dict[str, Any] = {"separable": True, "se": True, "se_context_size": -1, "se_reduction_ratio": 2}
_DENSE: dict[str, Any] = {"residual": True, "residual_dense": True}

VARIANTS: dict[str, dict[str, Any]] = {
    "ctc-conformer": ctc(conformer(subsampling="striding", dropout=0.1, pos_emb_max_len=5000)),
    "ctc-conformer-plain": ctc(conformer(subsampling_factor=1, xscaling=False, n_heads=1)),
    "ctc-conformer-absolute": ctc(conformer(self_attention_model="abs_pos", conv_norm_type="layer_norm", subsampling_factor=2)),
    "ctc-conformer-stacking": ctc(conformer(subsampling="stacking", subsampling_factor=3, untie_biases=False)),
    "ctc-conformer-stacking-norm": ctc(conformer(subsampling="stacking_norm", conv_norm_type="group_norm4", feat_out=12), 12),
    "ctc-conformer-window": ctc(conformer(att_context_size=[3, 1], conv_context_size=[3, 1], conv_norm_type="layer_norm")),
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
}
"""By name. The part before the first dash says how the model is called."""
