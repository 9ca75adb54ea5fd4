"""Every spelling of a port, read in one place."""

from __future__ import annotations

from typing import Any

from torchport.errors import PortError, PortTypeError
from torchport.ports._misread import hint_on_type, is_no_nest
from torchport.ports.annotations import port_from_annotation
from torchport.ports.dtypes import DTYPES, known_dtype, like_a_dtype, nearest_dtypes
from torchport.ports.element import ElementType, is_an_elements_name
from torchport.ports.neural_type import NeuralType, foreign_neural_type
from torchport.ports.port import Port
from torchport.ports.text import parse_axes

__all__ = ["as_port", "is_port_like"]


def as_port(found: object, *, where: str | None = None) -> Port:
    """Reads any spelling of a port: a `Port`, a `NeuralType`, text, a pair of text and dtype, a jaxtyping annotation, ``None``.

    Raises:
        PortError: It is none of these.
    """
    if isinstance(found, Port):
        return found
    if isinstance(found, NeuralType):
        return found.port()
    if found is None:
        return Port()
    if hasattr(found, "elements_type") and hasattr(found, "axes") and not isinstance(found, type):
        return foreign_neural_type(found).port()
    if isinstance(found, str):
        return Port(parse_axes(found, where=where))
    if isinstance(found, tuple) and _is_pair(found):
        return _of_a_pair(found, where)
    port = port_from_annotation(found)
    if port is None:
        pair = isinstance(found, tuple) and len(found) == 2
        raise PortError(
            "a declared type cannot be read",
            where=where,
            found=" ".join(repr(found).split())[:120],
            expected='a NeuralType, a Port, text like "batch 80 time", (text, dtype), or a jaxtyping annotation',
            hint=hint_on_type(found) or (f"dtypes are {', '.join(DTYPES)}" if pair else None),
        )
    return port


def _of_a_pair(found: tuple[Any, ...], where: str | None) -> Port:
    """Axes and a dtype; what stands in the dtype's place and is none is refused as that."""
    axes, second = found
    if second is None or known_dtype(second) is not None:
        return Port(parse_axes(axes, where=where), dtype=second)
    if not isinstance(second, str) or is_an_elements_name(second):
        written = second if isinstance(second, str) else (second if isinstance(second, type) else type(second)).__name__
        raise PortTypeError(
            "an element type stands where the dtype does",
            where=where,
            found=repr(found),
            expected='(text, dtype), like ("batch 80 time", "float32")',
            hint=f'Port("{axes}", element=torchport.types.{written}())',
        )
    near = nearest_dtypes(second)
    raise PortTypeError(
        f"unknown element type {second!r}",
        where=where,
        found=repr(found),
        expected=f"(text, dtype); dtypes are {', '.join(DTYPES)}",
        hint=f"did you mean {near}?" if near else None,
    )


def is_port_like(found: object) -> bool:
    """Whether a value is meant as one port; two texts in a tuple are two ports of a nested input, not one."""
    if isinstance(found, (Port, NeuralType, str)) or hasattr(found, "elements_type"):
        return True
    if isinstance(found, tuple) and _is_pair(found):
        return True
    return hasattr(found, "dim_str") or hasattr(found, "__metadata__") or is_no_nest(found)


def _is_pair(found: tuple[Any, ...]) -> bool:
    return len(found) == 2 and isinstance(found[0], str) and _in_place_of_a_dtype(found[1])


def _in_place_of_a_dtype(second: Any) -> bool:
    """Whether the second of a pair is meant as a dtype: one, a misspelt one, or an element type in its place."""
    if isinstance(second, int):
        return False  # a size; the numbers of ONNX are no spelling of a pair
    if second is None or known_dtype(second) is not None:
        return True
    if isinstance(second, str):
        return like_a_dtype(second) or is_an_elements_name(second)
    return isinstance(second, ElementType) or (isinstance(second, type) and issubclass(second, ElementType))
