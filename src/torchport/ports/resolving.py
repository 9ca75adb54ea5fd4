"""Signatures made more definite: by tensors that were seen, by explicit dynamic axes, by narrower ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torchport.errors import PortError, PortTypeError, PortValueError
from torchport.ports.axis import Axis, kind_of_name
from torchport.ports.dtypes import dtype_of
from torchport.ports.port import Port
from torchport.ports.signature import Signature

__all__ = ["narrowed", "resolve", "with_dynamic_axes"]


def resolve(signature: Signature, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Signature:
    """See `Signature.resolved`."""
    seen: dict[str, tuple[int, str]] = {}
    resolved: list[dict[str, Port]] = []
    for ports, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        resolved.append({name: _resolved(name, port, tensors[name], seen) if name in tensors else port for name, port in ports.items()})
    return Signature(*resolved)


def _resolved(name: str, port: Port, tensor: Any, seen: dict[str, tuple[int, str]]) -> Port:
    shape = tuple(int(size) for size in tensor.shape)
    dtype = dtype_of(tensor.dtype).name
    if port.dtype is not None and port.dtype != dtype:
        raise PortTypeError("a tensor has another dtype than its port", where=name, found=dtype, expected=port.dtype)
    if port.axes is None:
        return port.with_dtype(dtype).with_axes(Axis(size=size) for size in shape)
    if len(shape) != len(port.axes):
        raise PortValueError(
            "a tensor has another rank than its port",
            where=name,
            found=f"{len(shape)} axes: {list(shape)}",
            expected=f"{len(port.axes)} axes: {port.text or 'a scalar'}",
        )
    axes = []
    for index, (axis, size) in enumerate(zip(port.axes, shape, strict=True)):
        where = f"{name}, axis {index}"
        if not axis.allows(size):
            raise PortValueError(
                f"a tensor has a size that its {axis.words()} does not take", where=where, found=size, expected=axis.sizes_in_words()
            )
        if axis.dynamic:
            known, first = seen.setdefault(axis.name, (size, where))
            if known != size:
                raise PortValueError(
                    f"axes of one name, {axis.name!r}, have different sizes",
                    where=f"{first}; {where}",
                    found=f"{known}; {size}",
                    expected="one size",
                    hint="give axes of different sizes different names",
                )
        axes.append(axis if axis.dynamic else axis.fixed(size))
    return port.with_dtype(dtype).with_axes(axes)


def narrowed(axis: Axis, low: int | None, high: int | None) -> Axis:
    """The axis with a narrower range."""
    limits = [one for one in (axis.max, high) if one is not None]
    return replace(axis, min=axis.min if low is None else max(axis.min, low), max=min(limits) if limits else None)


def with_dynamic_axes(signature: Signature, axes: Mapping[str, Mapping[int, str] | Sequence[int]]) -> Signature:
    """See `Signature.with_dynamic_axes`."""
    wanted: dict[str, dict[int, str | None]] = {}
    for name, found in axes.items():
        port = signature.port(name)
        if port.axes is None:
            raise PortError(
                "dynamic axes of a port of unknown rank", where=name, found=repr(found), hint="declare its axes, or give an input_example"
            )
        pairs = found.items() if isinstance(found, Mapping) else ((index, None) for index in found)
        for index, symbol in pairs:
            if isinstance(index, bool) or not isinstance(index, int) or not -len(port.axes) <= index < len(port.axes):
                raise PortError(
                    "dynamic_axes names an axis that the port does not have",
                    where=name,
                    found=repr(index),
                    expected=f"one of 0 to {len(port.axes) - 1}",
                )
            wanted.setdefault(name, {})[index % len(port.axes)] = symbol

    def change(name: str, index: int, axis: Axis) -> Axis:
        if index not in wanted.get(name, {}):
            return axis.fixed() if axis.dynamic else axis
        symbol = wanted[name][index]
        if symbol is not None and not symbol.isidentifier():
            raise PortError(
                "the symbol of an axis is a name of letters, digits and underscores",
                where=f"{name}, axis {index}",
                found=repr(symbol),
                hint="".join(letter if letter.isalnum() else "_" for letter in symbol),
            )
        if axis.dynamic:
            return axis if symbol is None else axis.named(symbol)
        symbol = symbol or axis.name or f"{name}_axis{index}"
        told = kind_of_name(symbol)
        smallest = 0 if axis.size == 0 else axis.min  # an example of size 0 is an answer to whether the axis may be empty
        return Axis(symbol, min=smallest, max=axis.max, multiple_of=axis.multiple_of, kind=told if axis.name else axis.kind, dynamic=True)

    return signature.map_axes(change)
