"""Feature settings of speech models: the config of a mel front end under the names of the schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["feature_settings"]


def feature_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``preprocessor`` section says, as the metadata's ``features``; what it leaves out is what the front end does then.

    Both spellings are read: ``features``, ``window_size`` in seconds (``AudioToMelSpectrogramPreprocessor``), and ``nfilt``,
    ``n_window_size`` in samples (``FilterbankFeatures``).

    Args:
        config: The section, as plain values.

    Example:
        >>> settings = feature_settings({"sample_rate": 16000, "window_size": 0.025, "window_stride": 0.01, "features": 80})
        >>> settings["window_length"], settings["hop_length"], settings["fft_length"]
        (400, 160, 512)
    """
    rate = int(config.get("sample_rate") or 16000)
    window = _samples(config, rate, "window_size", 0.02)
    hop = _samples(config, rate, "window_stride", 0.01)
    mfcc = "n_mfcc" in config or "MFCC" in str(config.get("_target_", ""))
    bins = config.get("n_mfcc", 64) if mfcc else config.get("features", config.get("nfilt", 64))
    if mfcc:
        return {"kind": "mfcc", "bins": int(bins), "window_length": window, "hop_length": hop}
    return {
        "kind": "mel",
        "bins": int(bins),
        "fft_length": int(config.get("n_fft") or 2 ** math.ceil(math.log2(window))),
        "window": str(config.get("window") or "hann"),
        "window_length": window,
        "hop_length": hop,
        "centered": not config.get("exact_pad", False),
        "preemphasis": config.get("preemph", 0.97),
        "power": float(config.get("mag_power", 2.0)),
        "low_frequency": float(config.get("lowfreq") or 0),
        "high_frequency": float(config.get("highfreq") or rate / 2),
        "mel_norm": config.get("mel_norm", "slaney"),
        "log": bool(config.get("log", True)),
        "log_guard": str(config.get("log_zero_guard_type", "add")),
        "log_guard_value": config.get("log_zero_guard_value", 2**-24),
        "normalize": _named(config.get("normalize", "per_feature")),
        "pad_to": config.get("pad_to", 16),
        "pad_value": float(config.get("pad_value", 0)),
        "stacked_frames": int(config.get("frame_splicing", 1)),
    }


def _samples(config: Mapping[str, Any], rate: int, name: str, usual: float) -> int:
    """A length in samples, where the section gives it in seconds or in samples."""
    if config.get(f"n_{name}"):
        return int(config[f"n_{name}"])
    return int((config.get(name) or usual) * rate)


def _named(value: Any) -> str | None:
    """How features are normalised; a config may say it by statistics of its own, which have no name."""
    if not value or value == "NA":
        return None
    return value if isinstance(value, str) else "fixed"
