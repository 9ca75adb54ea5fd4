"""The dynamic axes that a caller, or the model itself, asks for by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchport._hooks import Hooks
from torchport._options import ExportOptions
from torchport.ports import Signature
from torchport.ports.structure import flat_declarations

__all__ = ["axes_of", "explicit_names", "names_asked", "with_asked_axes"]


def _is_axes(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, int) for key in value)
    return isinstance(value, (list, tuple)) and all(isinstance(one, int) for one in value)


def axes_of(value: Any) -> dict[int, str] | list[int]:
    """One port's explicit dynamic axes as ``{axis: symbol}`` or ``[axis]``; ``torch.export`` dims are read by name."""
    if not isinstance(value, Mapping):
        return list(value)
    named: dict[int, str] = {}
    plain: list[int] = []
    for axis, symbol in value.items():
        if symbol is None:
            continue
        name = symbol if isinstance(symbol, str) else getattr(symbol, "__name__", None)
        if isinstance(name, str):
            named[axis] = name
        else:
            plain.append(axis)
    return named if not plain else {**named, **{axis: f"axis_{axis}" for axis in plain}}


def _ends(given: Mapping[str, Any]) -> dict[str, tuple[int, int | None]]:
    """The ``min`` and ``max`` of ``torch.export`` dims among explicit axes, by symbol."""
    ends: dict[str, tuple[int, int | None]] = {}
    for axes in flat_declarations(given, _is_axes).values():
        for dim in axes.values() if isinstance(axes, Mapping) else ():
            least, most, name = getattr(dim, "min", None), getattr(dim, "max", None), getattr(dim, "__name__", None)
            if isinstance(name, str) and (isinstance(least, int) or isinstance(most, int)):
                ends[name] = (max(1, least) if isinstance(least, int) else 1, most if isinstance(most, int) else None)
    return ends


def explicit_names(options: ExportOptions) -> set[str]:
    """The flat port names that the caller's ``dynamic_axes`` name."""
    return set(flat_declarations(options.dynamic_axes or {}, _is_axes))


def _asked_axes(options: ExportOptions, hooks: Hooks) -> Mapping[str, Any] | None:
    """The explicit dynamic axes: the caller's, else the model's own."""
    return options.dynamic_axes if options.dynamic_axes is not None else hooks.dynamic_axes


def with_asked_axes(signature: Signature, options: ExportOptions, hooks: Hooks) -> Signature:
    """The signature with the dynamic axes that were asked for, within the ends of their dims; as it is where nobody asked."""
    if not options.use_dynamic_axes:
        return signature.with_dynamic_axes({})
    given = _asked_axes(options, hooks)
    if given is None:
        return signature
    flat = {name: axes_of(axes) for name, axes in flat_declarations(given, _is_axes).items()}
    known = {*signature.inputs, *signature.outputs}
    if flat and known.isdisjoint(flat):
        return signature  # axes of another subnet's ports
    signature = signature.with_dynamic_axes({name: axes for name, axes in flat.items() if name in known})
    return signature.restricted({symbol: ends for symbol, ends in _ends(given).items() if symbol in signature.symbols})


def names_asked(options: ExportOptions, hooks: Hooks) -> set[str]:
    """The flat port names that the caller's explicit axes name, or the model's own."""
    return set(flat_declarations(_asked_axes(options, hooks) or {}, _is_axes))
