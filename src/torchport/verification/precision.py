"""Runs a model in double precision without a second copy of its weights: each operation widens what it needs, then lets go of it.

Outside, every tensor keeps the dtype that the model expects (``x.dtype == torch.float32`` stays true); inside, the numbers are float64.
Tensors that only lie there (weights, buffers) stay float32 until an operation computes with them; moving them about costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._mode_utils import no_dispatch  # as torch's own wrapper subclasses do, until wrapping is public API
from torch.utils._pytree import tree_any, tree_leaves, tree_map  # until torch.utils.pytree is stable

from torchport.verification._mode import Mode

__all__ = ["DoublePrecision", "run_in_double"]

aten = torch.ops.aten

_WIDER = {torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.float32: torch.float64, torch.complex64: torch.complex128}
_NARROWER = {torch.float64: torch.float32, torch.complex128: torch.complex64}

_MOVES = {
    "alias", "as_strided", "detach", "diagonal", "embedding", "expand", "gather", "index", "index_select", "narrow", "permute", "select",
    "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "_unsafe_view", "clone",
    "chunk", "flip", "roll", "repeat", "real", "imag", "view_as_real", "view_as_complex", "lift_fresh", "lift_fresh_copy",
}  # fmt: skip
"""Operations that only move numbers: on plain tensors they run as they are, exactly."""

_LARGE = 4_000_000
"""Weights of more elements are widened in slabs…"""

_SLAB = 500_000
"""… of about this many, which fit a processor's cache."""


class _Wide(torch.Tensor):
    """A tensor that says float32 (or another narrow dtype) and holds float64."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor, dtype: torch.dtype) -> _Wide:
        tensor: _Wide = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=dtype, device=inner.device
        )
        tensor.held = inner
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as torch's own wrapper subclasses do

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(func, args, kwargs or {})


class DoublePrecision(Mode):  # type: ignore[no-untyped-call]
    """Within this context every floating-point operation of torch computes in float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one operation wide."""
        return _run(func, args, kwargs or {})


def run_in_double(
    call: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]], inputs: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What the model answers in double precision.

    Args:
        call: The model.
        inputs: Its inputs, narrow.

    Returns:
        The outputs; floating-point ones as float64 (complex ones as complex128).

    Raises:
        Exception: Whatever the model or torch raises: some code reads a tensor's memory and cannot run so.
    """
    wide = {
        name: _Wide(tensor.to(_WIDER[tensor.dtype]), tensor.dtype) if tensor.dtype in _WIDER else tensor for name, tensor in inputs.items()
    }
    with DoublePrecision():
        outputs = dict(call(wide))
    return {name: _inner(tensor) for name, tensor in outputs.items()}


def _inner(tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, _Wide):
        return tensor.held
    return tensor.to(_WIDER[tensor.dtype]) if tensor.dtype in _WIDER else tensor


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.split("::")[-1]
    wide = tree_any(lambda leaf: isinstance(leaf, _Wide), (args, kwargs))
    if name in _MOVES and not wide:
        return func(*args, **kwargs)
    if name == "embedding" or (name in ("index", "index_select", "gather") and not isinstance(args[0], _Wide)):
        return func(*args, **kwargs)
    if name == "mkldnn_rnn_layer":
        return _lstm_layer(*args, **kwargs)
    if name in ("mm", "addmm") and _is_slab(args[-1]):
        return _wrap(_slabbed(name, args, kwargs), _dtype_of(args))
    if name == "view" and func._overloadname == "dtype":
        raise NotImplementedError("the model reinterprets the bits of a tensor")
    asked = _asked_dtype(func, args, kwargs)
    outer = asked if asked is not None else _dtype_of((args, kwargs))
    doubles = tree_any(
        lambda leaf: isinstance(leaf, torch.Tensor) and not isinstance(leaf, _Wide) and leaf.dtype in _NARROWER, (args, kwargs)
    )
    mutable = func._schema.is_mutable
    written: list[tuple[torch.Tensor, torch.Tensor]] = []

    def widen(leaf: Any) -> Any:
        if isinstance(leaf, _Wide):
            return leaf.held
        if isinstance(leaf, torch.Tensor) and leaf.dtype in _WIDER:
            inner = leaf.to(_WIDER[leaf.dtype])
            if mutable:
                written.append((leaf, inner))
            return inner
        return _WIDER.get(leaf, leaf) if isinstance(leaf, torch.dtype) else leaf

    inner_args, inner_kwargs = tree_map(widen, (args, kwargs))
    factory = asked is None and not any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves((args, kwargs)))
    if factory and "dtype" in {argument.name for argument in func._schema.arguments} and _makes_floats(name, args):
        outer = torch.get_default_dtype()
        inner_kwargs["dtype"] = _WIDER.get(outer, outer)
    results = func(*inner_args, **inner_kwargs)
    if mutable:
        for leaf, inner in written:  # a plain tensor of the model itself (a cache) takes the rounded result
            if not torch.equal(leaf, inner.to(leaf.dtype)):
                leaf.copy_(inner)
        if isinstance(results, torch.Tensor) and _is_inplace(func):
            if torch.Tag.inplace_view in func.tags:  # transpose_ and its like: the outer tensor's sizes change with the inner one's
                with no_dispatch():
                    func(*args, **kwargs)
            return args[0]
    keep = asked in _NARROWER or (asked is None and doubles)
    return tree_map(lambda leaf: leaf if keep or not isinstance(leaf, torch.Tensor) else _wrap(leaf, outer), results)


def _is_double(leaf: Any) -> bool:
    """Whether the model itself computes in double precision here."""
    return isinstance(leaf, torch.Tensor) and not isinstance(leaf, _Wide) and leaf.dtype in _NARROWER


def _wrap(tensor: torch.Tensor, outer: torch.dtype | None) -> torch.Tensor:
    """Hides a double result behind the narrow dtype that the model expects."""
    if tensor.dtype not in _NARROWER:
        return tensor
    narrow = _NARROWER[tensor.dtype]
    if outer is not None and _WIDER.get(outer) == tensor.dtype:
        narrow = outer
    return _Wide(tensor, narrow)


def _dtype_of(tree: Any) -> torch.dtype | None:
    """The narrow dtype that the operands promote to."""
    found = [leaf.dtype for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor) and leaf.dtype in _WIDER]
    if not found:
        return None
    result = found[0]
    for dtype in found[1:]:
        result = torch.promote_types(result, dtype)
    return result


def _asked_dtype(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.dtype | None:
    """The dtype that the operation was asked to give."""
    if isinstance(kwargs.get("dtype"), torch.dtype):
        return kwargs["dtype"]  # type: ignore[no-any-return]
    for argument, value in zip(func._schema.arguments, args, strict=False):
        if argument.name == "dtype" and isinstance(value, torch.dtype):
            return value
    return None


def _makes_floats(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a factory without a dtype gives the default float dtype (``arange`` and ``full`` of integers do not)."""
    if name in ("arange", "full", "scalar_tensor", "range"):
        return any(isinstance(leaf, float) for leaf in tree_leaves(args))
    return name not in ("randint", "randperm", "tril_indices", "triu_indices")


def _is_inplace(func: Any) -> bool:
    return bool(func._schema.name.endswith("_"))


def _is_slab(weight: Any) -> bool:
    return isinstance(weight, torch.Tensor) and not isinstance(weight, _Wide) and weight.dtype in _WIDER and weight.numel() > _LARGE


def _slabbed(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """A matrix product with a large weight, some columns at a time."""
    left, weight = _inner(args[-2]), args[-1]
    rows, columns = weight.shape
    width = max(1, _SLAB // rows)
    product = torch.empty(left.shape[0], columns, dtype=left.dtype)
    # One buffer for all slabs: allocated anew each, they lie side by side in a heap whose holes just do not fit the next one.
    buffer = torch.empty(width, rows, dtype=_WIDER[weight.dtype])
    for start in range(0, columns, width):
        part = weight[:, start : start + width]
        product[:, start : start + width] = left @ buffer[: part.shape[1]].t().copy_(part)
    if name == "mm":
        return product
    total: torch.Tensor = kwargs.get("beta", 1) * _inner(args[0]) + kwargs.get("alpha", 1) * product
    return total


def _lstm_layer(
    source: torch.Tensor, w0: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, w3: torch.Tensor, hx: torch.Tensor, cx: torch.Tensor,
    reverse: bool, batch_sizes: list[int], mode: int, hidden_size: int, num_layers: int, has_biases: bool, *rest: Any,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """``aten::mkldnn_rnn_layer``, one direction of one LSTM layer, time first; its kernel knows no float64."""
    if mode != 2 or batch_sizes:
        raise NotImplementedError("a recurrent layer of an unknown kind")
    outer = _dtype_of(source)
    steps, state, cell = _inner(source), _inner(hx), _inner(cx)
    weights = [_inner(w) for w in ((w0, w1, w2, w3) if has_biases else (w0, w1))]
    steps = steps.flip(0) if reverse else steps
    shape = state.shape
    state, cell = state.reshape(1, *shape[-2:]), cell.reshape(1, *shape[-2:])
    output, state, cell = torch.lstm(steps, [state, cell], weights, has_biases, 1, 0.0, False, False, False)
    output = output.flip(0) if reverse else output
    results = (_wrap(tensor, outer) for tensor in (output, state.reshape(shape), cell.reshape(shape)))
    return (*results, torch.empty(0))
