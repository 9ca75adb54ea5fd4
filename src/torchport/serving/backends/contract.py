"""What Triton's native backends check before they serve a model: names, dtypes, ranks and dims of its configuration.

Sources: ``ValidateInputs`` and ``ValidateOutputs`` of https://github.com/triton-inference-server/onnxruntime_backend and
https://github.com/triton-inference-server/pytorch_backend, and ``CompareDimsSupported`` of
https://github.com/triton-inference-server/backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Found", "Refused", "argument_order", "check_found", "dtype_in_config", "output_order"]

_INDEXED = re.compile(r".*?__(\d*)")
_VALUES = {"int32_false_true": "TYPE_INT32", "fp32_false_true": "TYPE_FP32", "bool_false_true": "TYPE_BOOL"}


class Refused(Exception):
    """The model cannot be served with this configuration."""


@dataclass(frozen=True)
class Found:
    """A port as the model has it.

    Attributes:
        dtype: The name in a configuration, ``TYPE_FP32``.
        dims: Sizes, -1 where any is taken; empty for a scalar.
    """

    dtype: str
    dims: tuple[int, ...]


def dtype_in_config(numpy_name: str) -> str:
    """How a configuration calls a dtype of numpy.

    Example:
        >>> dtype_in_config("float32"), dtype_in_config("uint8"), dtype_in_config("object")
        ('TYPE_FP32', 'TYPE_UINT8', 'TYPE_STRING')
    """
    if numpy_name in ("object", "str", "bytes"):
        return "TYPE_STRING"
    name = "BF16" if numpy_name == "bfloat16" else re.sub(r"^float(?=\d+$)", "fp", numpy_name).upper()
    return f"TYPE_{name}"


def check_found(
    config: Mapping[str, Any], inputs: Mapping[str, Found], outputs: Mapping[str, Found], optional: Mapping[str, Found] | None = None
) -> None:
    """Holds a configuration against the ports of a model that knows them, as an ONNX file does.

    Args:
        config: The configuration.
        inputs: Inputs that have to be given.
        outputs: What comes back.
        optional: Inputs that have a value already.

    Raises:
        Refused: It does not fit; the message is worded as the native backend's.
    """
    name = config["name"]
    expected = _input_count(config)
    if len(inputs) != expected:
        raise Refused(f"unable to load model '{name}', configuration expects {expected} inputs, model provides {len(inputs)}")
    most = int(config["max_batch_size"])
    for port in config.get("input") or ():
        if port.get("optional") and most:
            raise Refused(
                f"unable to load model '{name}', optional input '{port['name']}' is not supported for models that support batching"
            )
        _check_port(name, port, {**inputs, **(optional or {})}, "input", most, exact=False)
    for port in config.get("output") or ():
        _check_port(name, port, outputs, "output", most, exact=True)
    for control, kind in _controls(config).items():
        if control not in inputs:
            raise Refused(f"configuration specified sequence control '{control}', but model does not provide that input")
        dims = inputs[control].dims[1 if most else 0 :]
        if dims != (1,):
            raise Refused(
                f"unable to load model '{name}', sequence control '{control}' in model has dims {_text(dims)} but dims [1] is expected"
            )
        if inputs[control].dtype != kind:
            raise Refused(
                f"unable to load model '{name}', sequence control '{control}', the model expects data-type {inputs[control].dtype} but the "
                f"model configuration specifies data-type {kind}"
            )
    for state in _states(config):
        for key, known, kind in (("input_name", inputs, "input"), ("output_name", outputs, "output")):
            if state[key] not in known:
                raise Refused(f"unable to load model '{name}', state {kind} '{state[key]}' is not in the model")
            if known[state[key]].dtype != state["data_type"]:
                raise Refused(_datatype(name, state["data_type"], f"{kind} state", state[key], known[state[key]].dtype))


def _input_count(config: Mapping[str, Any]) -> int:
    required = sum(not port.get("optional") for port in config.get("input") or ())
    return required + len(config.get("batch_input") or ()) + len(_controls(config)) + len(_states(config))


def _controls(config: Mapping[str, Any]) -> dict[str, str]:
    """The inputs that the server's sequence batcher fills, with their data_types."""
    return {
        one["name"]: next((_VALUES[field] for field in _VALUES if control.get(field)), control.get("data_type", ""))
        for one in (config.get("sequence_batching") or {}).get("control_input") or ()
        for control in one["control"]
    }


def _states(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (config.get("sequence_batching") or {}).get("state") or ()


def _check_port(model: str, port: Mapping[str, Any], known: Mapping[str, Found], kind: str, most: int, *, exact: bool) -> None:
    name = port["name"]
    if name not in known:
        allowed = ", ".join(sorted(known))
        raise Refused(f"unexpected inference {kind} '{name}', allowed {kind}s are: {allowed}")
    found = known[name]
    if found.dtype != port["data_type"]:
        raise Refused(_datatype(model, port["data_type"], kind, name, found.dtype))
    dims = _dims(port)
    if port.get("allow_ragged_batch"):
        if found.dims != (-1,):
            raise Refused(
                f"unable to load model '{model}', configuration expects model provides input with shape [-1] for ragged input '{name}', "
                f"model provides {_text(found.dims)}"
            )
        return
    if not found.dims:
        if any(size != 1 for size in dims):
            raise Refused(
                f"unable to load model '{model}', scalar tensor '{name}', should only provide 1 in the model configuration when the model "
                f"doesn't support batching. Model configuration provided: {_text(dims)}."
            )
        return
    if most and found.dims[0] != -1:
        raise Refused(
            f"model '{model}', tensor '{name}': for the model to support batching the shape should have at least 1 dimension and the first "
            f"dimension must be -1; but shape expected by the model is {_text(found.dims)}"
        )
    full = (-1, *dims) if most else dims
    same = len(full) == len(found.dims) and all(
        here == there or (not exact and there == -1) for here, there in zip(full, found.dims, strict=True)
    )
    if not same:
        batch = "an initial batch dimension because max_batch_size > 0 followed by " if most else ""
        raise Refused(
            f"model '{model}', tensor '{name}': the model expects {len(found.dims)} dimensions (shape {_text(found.dims)}) but the model "
            f"configuration specifies {len(full)} dimensions ({batch}the explicit tensor shape {_text(dims)})"
        )


def _datatype(model: str, expected: str, kind: str, name: str, found: str) -> str:
    return f"unable to load model '{model}', configuration expects datatype {expected} for {kind} '{name}', model provides {found}"


def _dims(port: Mapping[str, Any]) -> tuple[int, ...]:
    """The model's own dims: those of a reshape, where there is one."""
    reshape = port.get("reshape")
    return tuple(int(size) for size in (port["dims"] if reshape is None else reshape.get("shape") or ()))


def _text(dims: Sequence[int]) -> str:
    return f"[{','.join(map(str, dims))}]"


def argument_order(config: Mapping[str, Any], arguments: Sequence[str]) -> list[str]:
    """The inputs of a TorchScript model in the order of its arguments.

    A configuration names them after the arguments, or ``<name>__<index>``; else their order in the configuration counts.

    Args:
        config: The configuration.
        arguments: The names of the arguments of ``forward``, without ``self``.

    Raises:
        Refused: There are more or fewer inputs than arguments, or an index is missing.
    """
    name, expected = config["name"], _input_count(config)
    if len(arguments) != expected:
        raise Refused(f"unable to load model '{name}', configuration expects {expected} inputs, model provides {len(arguments)}")
    states = [one["input_name"] for one in _states(config)]
    names = [*(port["name"] for port in config["input"]), *_controls(config), *states]
    if set(names) == set(arguments) and not states:
        return list(arguments)
    return _ordered(names, name, "input", needs_index=bool(states))


def output_order(config: Mapping[str, Any]) -> list[str]:
    """The outputs of a TorchScript model in the order of what it returns; see `argument_order`."""
    states = [one["output_name"] for one in _states(config)]
    names = [port["name"] for port in config["output"]]
    return _ordered([*names, *(one for one in states if one not in names)], config["name"], "output", needs_index=bool(states))


def _ordered(names: Sequence[str], model: str, kind: str, *, needs_index: bool) -> list[str]:
    found = [_INDEXED.fullmatch(name) for name in names]
    if all(found):
        by_index = {int(match[1] or 0): name for match, name in zip(found, names, strict=True) if match}
        if sorted(by_index) != list(range(len(names))):
            raise Refused(f"unable to load model '{model}', the {kind}s {', '.join(names)} do not count from 0 to {len(names) - 1}")
        return [by_index[index] for index in range(len(names))]
    if needs_index:
        raise Refused(
            f"PyTorch model '{model}' is using sequence batching with state but not all inputs and outputs follow the <name>__<index> "
            "naming convention."
        )
    return list(names)
