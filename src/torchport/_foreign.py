"""The ports of a file that says nothing about itself, as its runtime shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torchport.errors import PortError
from torchport.ports import Axis, Port, Signature
from torchport.verification import PortInFile

__all__ = ["as_port", "shown_signature"]


def shown_signature(inputs: Sequence[PortInFile], outputs: Sequence[PortInFile], *, smallest: int) -> Signature:
    """The ports of a foreign file; without their axes where these make no signature.

    Args:
        inputs: The inputs that the file shows.
        outputs: Its outputs.
        smallest: The least size of an input's dynamic axis.
    """
    try:
        return Signature(
            {port.name: as_port(port, smallest=smallest) for port in inputs}, {port.name: as_port(port, smallest=0) for port in outputs}
        )
    except PortError:
        return Signature({port.name: Port(dtype=port.dtype) for port in inputs}, {port.name: Port(dtype=port.dtype) for port in outputs})


def as_port(port: PortInFile, *, smallest: int = 0) -> Port:
    """A port as a foreign file shows it: every axis that it does not fix is dynamic."""
    if port.dims is None:
        return Port(dtype=port.dtype)
    axes = [
        Axis(size=dim) if isinstance(dim, int) else Axis(_symbol(dim or f"{port.name}_axis{index}"), min=smallest, dynamic=True)
        for index, dim in enumerate(port.dims)
    ]
    return Port(axes, dtype=port.dtype)


def _symbol(text: str) -> str:
    """A dimension's text (``2*time``) as the name of an axis."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII)
    return name if not name[:1].isdigit() else f"_{name}"
