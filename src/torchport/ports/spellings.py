"""Every spelling of a port, read in one place."""

from __future__ import annotations

from torchport.errors import PortError
from torchport.ports.annotations import port_from_annotation
from torchport.ports.dtypes import DTYPES, known_dtype
from torchport.ports.neural_type import NeuralType, foreign_neural_type
from torchport.ports.port import Port

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
    if hasattr(found, "elements_type") and hasattr(found, "axes"):
        return foreign_neural_type(found).port()
    if isinstance(found, str):
        return Port(found)
    if isinstance(found, tuple) and is_port_like(found):
        return Port(found[0], dtype=found[1])
    port = port_from_annotation(found)
    if port is None:
        raise PortError(
            "a declared type cannot be read",
            where=where,
            found=repr(found)[:200],
            expected='a NeuralType, a Port, text like "batch 80 time", (text, dtype), or a jaxtyping annotation',
            hint=f"dtypes are {', '.join(DTYPES)}" if isinstance(found, tuple) and len(found) == 2 else None,
        )
    return port


def is_port_like(found: object) -> bool:
    """Whether a value is one spelling of a port; two texts in a tuple are two ports of a nested input, not one."""
    if isinstance(found, (Port, NeuralType, str)) or hasattr(found, "elements_type"):
        return True
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], str):
        return found[1] is None or known_dtype(found[1]) is not None
    return hasattr(found, "dim_str") or hasattr(found, "__metadata__")
