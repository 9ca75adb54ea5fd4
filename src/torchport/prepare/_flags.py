"""The process-wide and thread-wide switches that an export must leave alone: one table of getters and setters."""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

__all__ = ["Flag", "flags", "read_flags", "write_flags"]


class Flag(NamedTuple):
    """One switch: its name, how it is read, how it is set."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _attribute(name: str) -> Flag:
    """A flag that is an attribute of a module below ``torch``."""
    path, _, attribute = name.rpartition(".")

    def owner() -> Any:
        value: Any = torch
        for part in path.split(".")[1:]:
            value = getattr(value, part)
        return value

    return Flag(name, lambda: getattr(owner(), attribute), lambda value: setattr(owner(), attribute, value))


def _numpy() -> Any:
    return sys.modules.get("numpy")


def _set_numpy(state: Any) -> None:
    if state is not None:
        _numpy().random.set_state(state)


def _numpy_state() -> Any:
    return _numpy().random.get_state() if _numpy() else None


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _set_anomaly(value: tuple[bool, bool]) -> None:
    torch.autograd.set_detect_anomaly(*value)


def _cuda_state() -> Any:
    cuda: Any = torch.cuda
    return cuda.get_rng_state_all() if cuda.is_available() and cuda.is_initialized() else None


def _set_cuda_state(state: Any) -> None:
    if state is not None:
        torch.cuda.set_rng_state_all(state)


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _jit_flags() -> list[Flag]:
    """The fuser switches of TorchScript; torch has no public getter for them. They go when torch.jit goes."""
    private: Any = torch._C
    pairs = {
        "jit.can_fuse_on_cpu": ("_jit_can_fuse_on_cpu", "_jit_override_can_fuse_on_cpu"),
        "jit.can_fuse_on_gpu": ("_jit_can_fuse_on_gpu", "_jit_override_can_fuse_on_gpu"),
        "jit.texpr_fuser": ("_jit_texpr_fuser_enabled", "_jit_set_texpr_fuser_enabled"),
        "jit.inline_everything": ("_jit_get_inline_everything_mode", "_jit_set_inline_everything_mode"),
        "jit.tracer_warn": ("_jit_get_tracer_state_warn", "_jit_set_tracer_state_warn"),
        "jit.graph_executor_optimize": ("_get_graph_executor_optimize", "_set_graph_executor_optimize"),
    }
    return [
        Flag(name, getattr(private, read), getattr(private, write))
        for name, (read, write) in pairs.items()
        if hasattr(private, read) and hasattr(private, write)
    ]


def _autocast_flags() -> list[Flag]:
    found = [Flag("autocast.cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled)]
    for kind in ("cpu", "cuda"):
        found.append(Flag(f"autocast.{kind}", partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind)))
        found.append(Flag(f"autocast.{kind}.dtype", partial(torch.get_autocast_dtype, kind), partial(torch.set_autocast_dtype, kind)))
    return found


_OURS = ("TORCH", "PYTORCH", "TRITON", "ONNX")
"""How the variables of the environment begin that exporters set; others are no business of an export."""


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_OURS)}


def _set_environment(values: dict[str, str]) -> None:
    for name in _environment().keys() - values.keys():
        del os.environ[name]
    os.environ.update(values)


def flags() -> list[Flag]:
    """Every switch that an export puts back. The random states come last: reading the others never draws."""
    backends = torch.backends
    return [
        Flag("default_dtype", torch.get_default_dtype, torch.set_default_dtype),
        Flag("default_device", torch.get_default_device, _set_default_device),
        Flag("grad_enabled", torch.is_grad_enabled, torch.set_grad_enabled),
        Flag("anomaly", lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()), _set_anomaly),
        Flag(
            "deterministic_algorithms",
            lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
            _set_deterministic,
        ),
        _attribute("torch.utils.deterministic.fill_uninitialized_memory"),
        Flag("warn_always", torch.is_warn_always_enabled, torch.set_warn_always),
        Flag("num_threads", torch.get_num_threads, torch.set_num_threads),
        Flag("float32_matmul_precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        *_autocast_flags(),
        *map(
            _attribute,
            (
                "torch.backends.cudnn.enabled",
                "torch.backends.cudnn.benchmark",
                "torch.backends.cudnn.deterministic",
                "torch.backends.cudnn.allow_tf32",
                "torch.backends.cuda.matmul.allow_tf32",
                "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
                "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
                "torch.backends.mkldnn.enabled",
                "torch.backends.mkldnn.deterministic",
                "torch.backends.mkldnn.allow_tf32",
                "torch.backends.opt_einsum.enabled",
                "torch.backends.opt_einsum.strategy",
                "torch.backends.quantized.engine",
            ),
        ),
        Flag("sdp.flash", backends.cuda.flash_sdp_enabled, backends.cuda.enable_flash_sdp),
        Flag("sdp.mem_efficient", backends.cuda.mem_efficient_sdp_enabled, backends.cuda.enable_mem_efficient_sdp),
        Flag("sdp.math", backends.cuda.math_sdp_enabled, backends.cuda.enable_math_sdp),
        Flag("sdp.cudnn", backends.cuda.cudnn_sdp_enabled, backends.cuda.enable_cudnn_sdp),
        Flag("mha.fastpath", backends.mha.get_fastpath_enabled, backends.mha.set_fastpath_enabled),
        *_jit_flags(),
        Flag("recursion_limit", sys.getrecursionlimit, sys.setrecursionlimit),
        Flag("environment", _environment, _set_environment),
        Flag("gc", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        Flag("random.python", random.getstate, random.setstate),
        Flag("random.numpy", _numpy_state, _set_numpy),
        Flag("random.cuda", _cuda_state, _set_cuda_state),
        Flag("random.torch", torch.get_rng_state, torch.set_rng_state),
    ]


def read_flags() -> dict[str, Any]:
    """The value of every switch that this build of torch knows."""
    values: dict[str, Any] = {}
    for flag in flags():
        try:
            values[flag.name] = flag.read()
        except (AttributeError, RuntimeError):
            continue  # not in this build, or torch refuses to mix its old and new TF32 switches
    return values


def write_flags(values: dict[str, Any]) -> list[str]:
    """Puts back the switches that differ from ``values``; names those that torch refused."""
    refused: list[str] = []
    for flag in flags():
        if flag.name not in values:
            continue
        try:
            if not _same(flag.read(), values[flag.name]):
                flag.write(values[flag.name])
        except Exception as error:  # noqa: BLE001 - one refusing switch must not keep the others from being put back
            refused.append(f"{flag.name}: {error}")
    return refused


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    numpy = _numpy()
    if numpy is not None and isinstance(one, numpy.ndarray):
        return bool(numpy.array_equal(one, other))
    return bool(one == other)
