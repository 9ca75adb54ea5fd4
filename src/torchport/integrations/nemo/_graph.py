"""The graph that a NeMo module stands for, and what every family needs to say it: ports read, examples named, calls by keyword."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torchport.errors import HookError
from torchport.ports import Axis, AxisKind, AxisType, NeuralType
from torchport.ports.neural_type import foreign_neural_type

if TYPE_CHECKING:
    import torch

__all__ = ["BATCH", "STEPS", "Graph", "by_keyword", "fixed_time", "limited_time", "lengths_of", "named_example", "ports_of", "types_of"]

BATCH = 3
"""The batch of examples."""
STEPS = 61
"""The frames or tokens of examples: odd, and a few frames are left after subsampling by eight."""


@dataclass(frozen=True)
class Graph:
    """What is exported of a NeMo module.

    Attributes:
        forward: A function of keywords.
        inputs: Neural types by name, in order.
        outputs: Neural types by name, in the order of what ``forward`` gives.
        example: Tensors by input name.
    """

    forward: Callable[..., Any]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    example: Mapping[str, Any]


def types_of(module: Any, direction: str) -> dict[str, Any]:
    """A NeMo module's types: those for export where it has them.

    Args:
        module: The module.
        direction: ``input`` or ``output``.

    Raises:
        HookError: It has none.
    """
    found = getattr(module, f"{direction}_types_for_export", None) or getattr(module, f"{direction}_types", None)
    if not found:
        raise HookError(
            f"{type(module).__name__} has no neural types, so its {direction}s have no names",
            where=f"{type(module).__module__}.{type(module).__qualname__}.{direction}_types",
            hint=f"pass {direction}_types={{name: type}} to export",
        )
    return dict(found)


def ports_of(types: Mapping[str, Any], names: Iterable[str]) -> dict[str, NeuralType]:
    """NeMo's neural types as torchport's, of these names and in their order; none is optional, since all are there."""
    read = {}
    for name in names:
        found = foreign_neural_type(types[name])
        read[name] = NeuralType(found.axes, found.elements_type, dtype=found.dtype)
    return read


def fixed_time(port: NeuralType) -> NeuralType:
    """The same with a time axis of one size: that of a cache."""
    axes = [AxisType(AxisKind.Dimension) if getattr(one, "kind", None) is AxisKind.Time else one for one in port.axes or ()]
    return NeuralType(axes, port.elements_type, dtype=port.dtype)


def limited_time(port: NeuralType, most: int | None) -> NeuralType:
    """The same with a time axis of at most ``most``; ``None`` leaves it."""
    if most is None:
        return port
    axes = [Axis(kind=AxisKind.Time, max=most) if getattr(one, "kind", None) is AxisKind.Time else one for one in port.axes or ()]
    return NeuralType(axes, port.elements_type, dtype=port.dtype)


def by_keyword(method: Callable[..., Any], *, names: Mapping[str, str] | None = None) -> Callable[..., Any]:
    """The method as a function of keywords: NeMo's checked methods take nothing else.

    Args:
        method: A bound method.
        names: Other names for some keywords.
    """

    def forward(**inputs: Any) -> Any:
        return method(**{(names or {}).get(name, name): value for name, value in inputs.items()})

    return forward


def named_example(module: Any, types: Mapping[str, Any], disabled: Iterable[str] = (), **sizes: int) -> dict[str, Any]:
    """A NeMo module's own ``input_example`` by name.

    Raises:
        HookError: It gives none, or one of more inputs than it has types.
    """
    import inspect

    asked = {name: size for name, size in sizes.items() if name in inspect.signature(module.input_example).parameters}
    try:
        example = module.input_example(**asked)
    except Exception as error:
        raise HookError(
            f"{type(module).__name__}.input_example raised {type(error).__name__}: {error}",
            where=f"{type(module).__module__}.{type(module).__qualname__}.input_example",
            hint="pass input_example={name: tensor} to export",
        ) from error
    if example is None:
        raise HookError(
            f"{type(module).__name__} gives no example",
            where=f"{type(module).__module__}.{type(module).__qualname__}.input_example",
            hint="pass input_example={name: tensor} to export",
        )
    parts = list(example) if isinstance(example, (list, tuple)) else [example]
    by_name = dict(parts.pop()) if parts and isinstance(parts[-1], Mapping) else {}
    places = [name for name in types if name not in set(disabled)]
    if len(parts) > len(places):
        raise HookError(
            f"{type(module).__name__}.input_example gives more inputs than there are types",
            where=f"{type(module).__module__}.{type(module).__qualname__}.input_example",
            found=len(parts),
            expected=", ".join(places),
        )
    return {**dict(zip(places, parts, strict=False)), **by_name}


def lengths_of(batch: int, full: int, like: torch.Tensor | None = None) -> torch.Tensor:
    """Ragged lengths: the first row is full."""
    import torch

    rows: Sequence[int] = [max(1, full - place * full // (2 * batch)) for place in range(batch)]
    return torch.tensor(rows, dtype=torch.int64 if like is None else like.dtype)
