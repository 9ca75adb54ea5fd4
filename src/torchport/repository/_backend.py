"""Which backend serves a model, and whether the configuration says so rightly.

Source: https://github.com/triton-inference-server/backend and the server's model configuration manual.
"""

from __future__ import annotations

import difflib
import re

from torchport.repository._folder import Model, Notes, exists

__all__ = ["COMPILED", "ENSEMBLE", "ONNX", "TORCH", "check_backend"]

ONNX = "onnxruntime"
TORCH = "pytorch"
ENSEMBLE = "ensemble"
COMPILED = "torch_aoti"
"""A platform of newer servers: what AOTInductor compiled, which the backend ``pytorch`` runs without TorchScript."""

_USUAL = re.compile(r"[A-Za-z0-9_.-]+")

_PLATFORMS = {
    "onnxruntime_onnx": ONNX,
    "pytorch_libtorch": TORCH,
    "tensorrt_plan": "tensorrt",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}
_FILENAMES = {
    ONNX: "model.onnx",
    TORCH: "model.pt",
    "tensorrt": "model.plan",
    "openvino": "model.xml",
    "python": "model.py",
}
_PAIRED = {ONNX, TORCH, "tensorrt", "tensorflow"}
"""Backends whose platform has to fit, where one is given."""

_OTHERS = {"dali", "fil", "identity", "repeat", "square", "tensorflow", "tensorrtllm", "vllm"}
_MISSPELT = {
    "onnx": ONNX,
    "onnx_runtime": ONNX,
    "onnxrt": ONNX,
    "ort": ONNX,
    "torch": TORCH,
    "libtorch": TORCH,
    "torchscript": TORCH,
    **_PLATFORMS,
}


def check_backend(notes: Notes, model: Model) -> None:
    """Finds the backend and the file's name, as the server completes them."""
    if not _USUAL.fullmatch(model.name):
        notes.say("model/name-letters", model, "a name with unusual letters", file=model.path, found=model.name)
    if model.config is None:
        _guess(model)
        return
    config = model.message
    if config.name and config.name != model.name:
        notes.say("model/name", model, "the name is not that of the folder", at=("name",), found=config.name, expected=model.name)
    if config.max_batch_size < 0:
        notes.say("model/batch-size", model, "max_batch_size is negative", at=("max_batch_size",), found=config.max_batch_size)
    model.filename = config.default_model_filename
    if config.platform == ENSEMBLE or config.HasField("ensemble_scheduling"):
        model.backend = ENSEMBLE
        return
    if config.platform == COMPILED and config.backend in ("", TORCH):
        notes.say("model/platform-new", model, "a platform of newer servers", at=("platform",), found=config.platform)
        model.backend, model.filename = COMPILED, model.filename or "model.pt2"
        return
    if not config.backend and not config.platform:
        _guess(model)
    else:
        model.backend = config.backend or _PLATFORMS.get(config.platform, "")
    if not model.backend:
        if config.platform:
            near = difflib.get_close_matches(config.platform, _PLATFORMS, n=1, cutoff=0.5)
            notes.say(
                "model/platform-unknown",
                model,
                "there is no such platform",
                at=("platform",),
                found=config.platform,
                expected=f'backend: "{_PLATFORMS[near[0]]}"' if near else "",
            )
        else:
            notes.say("model/backend-missing", model, "nothing says which backend serves the model")
        return
    _check_names(notes, model)
    model.filename = model.filename or _FILENAMES.get(model.backend, "")


def _check_names(notes: Notes, model: Model) -> None:
    config = model.message
    known = {*_FILENAMES, *_OTHERS}
    if model.backend in _MISSPELT:
        right = _MISSPELT[model.backend]
        notes.say("model/backend-misspelt", model, "that is not the backend's name", at=("backend",), found=model.backend, expected=right)
    elif model.backend not in known:
        near = difflib.get_close_matches(model.backend, known, n=1)
        expected = near[0] if near else ""
        notes.say("model/backend-unknown", model, "no such backend", at=("backend",), found=model.backend, expected=expected)
    elif model.backend in _PAIRED and config.platform and _PLATFORMS.get(config.platform) != model.backend:
        notes.say(
            "model/platform-mismatch",
            model,
            "platform and backend do not belong together",
            at=("platform",),
            found=f"{config.platform}, {model.backend}",
            expected=next(platform for platform, backend in _PLATFORMS.items() if backend == model.backend),
        )


def _guess(model: Model) -> None:
    """What the server takes a model for whose configuration names no backend: it goes by the file."""
    if model.filename:
        model.backend = next((backend for backend, filename in _FILENAMES.items() if filename == model.filename), "")
        return
    folders = sorted(str(version) for version in model.versions)
    for backend, filename in _FILENAMES.items():
        if folders and exists(model.path / folders[0] / filename):
            model.backend, model.filename = backend, filename
            return
