"""The base of element types: what the numbers of a port mean, compared by type, parameters and fields."""

from __future__ import annotations

import enum
import re
from typing import Any, ClassVar

from torchport.errors import PortTypeError
from torchport.ports.dtypes import DTypeKind

__all__ = ["ElementComparison", "ElementType", "element_named", "is_an_elements_name"]


class ElementComparison(enum.Enum):
    """The verdict of comparing a declared type with a given one."""

    SAME = 0
    LESS = 1
    """The declared type is a special case of the given one."""
    GREATER = 2
    """The declared type includes the given one: it can be used there."""
    DIM_INCOMPATIBLE = 3
    TRANSPOSE_SAME = 4
    CONTAINER_SIZE_MISMATCH = 5
    INCOMPATIBLE = 6
    SAME_TYPE_INCOMPATIBLE_PARAMS = 7


_KNOWN: dict[str, type[ElementType]] = {}


class ElementType:
    """The meaning of a tensor's elements; compared by type, parameters and fields.

    A subclass may set the class attributes below, take parameters in ``__init__`` and give them back in `type_parameters`, and
    define ``sample(shape, dtype, generator)`` (returning a tensor) where no kind of values that is known here fits.
    """

    dtype: ClassVar[str | None] = None
    """The dtype unless the port says otherwise."""
    kinds: ClassVar[frozenset[DTypeKind] | None] = None
    """Kinds of dtypes that such a port can have; ``None``: any."""
    values: ClassVar[str] = "plain"
    """What examples look like; `torchport.ports.examples` lists the kinds of values. ``plain`` says nothing about them."""

    accepts_anything: ClassVar[bool] = False
    """Compatible with every given type."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _KNOWN.setdefault(cls.__name__, cls)

    @property
    def type_parameters(self) -> dict[str, Any]:
        """Parameters of the type; two types are the same only where they are equal."""
        return {}

    @property
    def fields(self) -> tuple[str, ...] | None:
        """Names of the parts of a structure (``("x", "y", "w", "h")``), laid out along the last axis."""
        return None

    def compare(self, other: ElementType) -> ElementComparison:
        """Compares this declared type with a given one.

        Raises:
            PortTypeError: ``other`` is no element type.
        """
        if not isinstance(other, ElementType):
            raise PortTypeError(
                "an element type is compared with another one", found=repr(other)[:120], expected="an instance, like VoidType()"
            )
        if self.accepts_anything:
            return ElementComparison.SAME
        if type(self) is not type(other):
            if isinstance(self, type(other)):
                return ElementComparison.LESS
            return ElementComparison.GREATER if isinstance(other, type(self)) else ElementComparison.INCOMPATIBLE
        theirs = other.type_parameters
        said = [(value, theirs.get(name)) for name, value in self.type_parameters.items()]
        if any(one is not None and two is not None and one != two for one, two in said):  # what is not said fits everything
            return ElementComparison.SAME_TYPE_INCOMPATIBLE_PARAMS
        return ElementComparison.SAME if self.fields == other.fields else ElementComparison.INCOMPATIBLE

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ElementType):
            return NotImplemented
        return type(self) is type(other) and self.type_parameters == other.type_parameters and self.fields == other.fields

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(self.type_parameters))))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.type_parameters.items() if value is not None)
        return f"{type(self).__name__}({given})"


_KNOWN["ElementType"] = ElementType


def is_an_elements_name(name: str) -> bool:
    """Whether a name can only be meant as an element type of torchport's: ``AudioSignal``; not ``Length``, which an axis may be called."""
    found = _KNOWN.get(name)
    return found is not None and found.__module__.startswith("torchport.ports.") and re.search("[a-z][A-Z]", name) is not None


def element_named(name: str, parameters: dict[str, Any] | None = None) -> ElementType:
    """The element type of a name, for reading back what was written.

    A type that is not defined in this process comes back as ``VoidType``: reading an artifact's ports never needs the author's code.

    Example:
        >>> import torchport.types
        >>> element_named("AudioSignal", {"freq": 16000})
        AudioSignal(freq=16000)
    """
    found = _KNOWN.get(name)
    return _KNOWN["VoidType"]() if found is None else found(**(parameters or {}))
