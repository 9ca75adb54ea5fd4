"""One port of a graph: its axes, its dtype, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torchport.errors import PortError, PortTypeError
from torchport.ports.axis import Axis, as_axis
from torchport.ports.dtypes import dtype_of
from torchport.ports.element import ElementType, element_named
from torchport.ports.elements import VoidType
from torchport.ports.text import format_axes, parse_axes

if TYPE_CHECKING:
    import torch

__all__ = ["Port"]


@dataclass(frozen=True)
class Port:
    """One input or output.

    Args:
        axes: Text (``"batch 80 time"``), or axes in any spelling; ``None``: any rank.
        dtype: The canonical name (``"float32"``), or any library's name for it; ``None``: as seen.
        element: What the numbers mean.
        optional: An input that may be left out.

    Example:
        >>> Port("batch 80 time", dtype="float32")
        Port('batch 80 time', dtype='float32')
    """

    axes: tuple[Axis, ...] | None = None
    dtype: str | None = None
    element: ElementType = field(default_factory=VoidType)
    optional: bool = False

    if TYPE_CHECKING:

        def __init__(
            self,
            axes: str | Iterable[Axis | str | int | object] | None = None,
            dtype: str | torch.dtype | object | None = None,
            element: ElementType = ...,
            optional: bool = False,
        ) -> None:
            """Every spelling is taken; the fields hold the canonical one."""

    def __post_init__(self) -> None:
        axes: Any = self.axes
        if isinstance(axes, str):
            axes = parse_axes(axes)
        elif axes is not None:
            axes = tuple(_text_or_axis(one) for one in axes)
        object.__setattr__(self, "axes", axes)
        element: Any = self.element
        if isinstance(element, type) and issubclass(element, ElementType):
            element = element()
        if not isinstance(element, ElementType):
            raise PortTypeError("a port's element is an element type", found=repr(element), expected="an instance, like AudioSignal()")
        object.__setattr__(self, "element", element)
        if self.dtype is not None:
            object.__setattr__(self, "dtype", dtype_of(self.dtype).name)
        object.__setattr__(self, "optional", bool(self.optional))

    @property
    def rank(self) -> int | None:
        """The number of axes; ``None`` for any."""
        return None if self.axes is None else len(self.axes)

    @property
    def text(self) -> str:
        """The axes as text."""
        return format_axes(self.axes)

    @property
    def typed(self) -> bool:
        """Whether the element type says what values are valid."""
        return self.element.values != "plain" or hasattr(self.element, "sample")

    @property
    def shape(self) -> tuple[int | str | None, ...] | None:
        """The sizes: a number, the name of a dynamic axis, or ``None`` where nothing is known yet."""
        if self.axes is None:
            return None
        return tuple((axis.name or None) if axis.dynamic else axis.size for axis in self.axes)

    def with_axes(self, axes: Iterable[Axis] | None) -> Port:
        """The same port with other axes."""
        return replace(self, axes=None if axes is None else tuple(axes))

    def with_dtype(self, dtype: str | None) -> Port:
        """The same port with another dtype."""
        return replace(self, dtype=dtype)

    def to_dict(self) -> dict[str, Any]:
        """The port as plain data for JSON."""
        entry: dict[str, Any] = {"axes": self.text}
        if self.dtype is not None:
            entry["dtype"] = self.dtype
        if self.element != VoidType():
            entry["element"] = type(self.element).__name__
            parameters = {name: value for name, value in self.element.type_parameters.items() if value is not None}
            if parameters:
                entry["parameters"] = parameters
        if self.optional:
            entry["optional"] = True
        return entry

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> Port:
        """Reads what `to_dict` wrote.

        Raises:
            PortError: It is no such entry.
        """
        try:
            element = element_named(entry["element"], entry.get("parameters")) if "element" in entry else VoidType()
            return cls(entry["axes"], dtype=entry.get("dtype"), element=element, optional=entry.get("optional", False))
        except (KeyError, TypeError, AttributeError) as error:
            raise PortError("a stored port cannot be read", found=repr(entry)[:200], expected="axes, dtype, element, optional") from error

    def __repr__(self) -> str:
        more = [f"dtype={self.dtype!r}"] if self.dtype else []
        more += [repr(self.element)] if self.element != VoidType() else []
        more += ["optional=True"] if self.optional else []
        return f"Port({', '.join([repr(self.text), *more])})"


def _text_or_axis(one: object) -> Axis:
    """An axis inside a tuple; a text is read as text, not as a kind: Port(("batch", 80, "time"))."""
    if isinstance(one, str):
        axes = parse_axes(one)
        if axes is not None and len(axes) == 1:
            return axes[0]
    return as_axis(one)
