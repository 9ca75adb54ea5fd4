"""Neural types: axes by kind and the meaning of the elements, compared by value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torchport.errors import PortTypeError, PortValueError
from torchport.ports.axis import Axis, AxisKind, AxisType, as_axis
from torchport.ports.dtypes import dtype_of
from torchport.ports.element import ElementComparison, ElementType, element_named
from torchport.ports.elements import VoidType
from torchport.ports.port import Port
from torchport.ports.text import parse_axes

__all__ = ["NeuralType", "NeuralTypeComparison", "foreign_neural_type"]

NeuralTypeComparison = ElementComparison
"""The verdict of `NeuralType.compare`."""


class NeuralType:
    """What a port carries: ``NeuralType(("B", "D", "T"), SpectrogramType())``.

    Args:
        axes: The axes, each a short name, an `AxisKind`, an `AxisType` or an `Axis`; ``"BDT"`` and ``"batch 80 time"`` are read too.
            ``None``: any rank; ``()``: a scalar.
        elements_type: The meaning of the elements.
        optional: The input may be left out.
        dtype: Overrides the default dtype of the elements.

    Raises:
        PortValueError: An axis is unknown, or a list axis comes after an axis of the tensor.
        PortTypeError: ``elements_type`` is not an instance of an element type.
    """

    __slots__ = ("axes", "dtype", "elements_type", "optional")

    axes: tuple[AxisType | Axis, ...] | None
    dtype: str | None
    elements_type: ElementType
    optional: bool

    def __init__(
        self,
        axes: Iterable[str | int | AxisKind | AxisType | Axis] | None = None,
        elements_type: ElementType | None = None,
        optional: bool = False,
        *,
        dtype: Any = None,
    ) -> None:
        elements_type = VoidType() if elements_type is None else elements_type
        if not isinstance(elements_type, ElementType):
            raise PortTypeError(
                "elements_type is not an instance of an element type",
                found=repr(elements_type),
                expected="an instance, like SpectrogramType()",
                hint=f"{elements_type.__name__}()" if isinstance(elements_type, type) else None,
            )
        put = object.__setattr__
        if isinstance(axes, str) and not axes.isupper():
            axes = parse_axes(axes)
        put(self, "axes", None if axes is None else tuple(_axis_type(one) for one in axes))
        put(self, "elements_type", elements_type)
        put(self, "optional", bool(optional))
        put(self, "dtype", None if dtype is None else dtype_of(dtype).name)
        lists = [axis.is_list for axis in self.axes or ()]
        if lists != sorted(lists, reverse=True):
            raise PortValueError("a list axis comes after an axis of the tensor", found=repr(self.axes), expected="list axes first")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a neural type cannot be changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a neural type cannot be changed: {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.axes, self.elements_type, self.optional, self.dtype)

    @property
    def list_depth(self) -> int:
        """How many leading axes are Python lists."""
        return sum(axis.is_list for axis in self.axes or ())

    def port(self) -> Port:
        """The port of the graph that this type declares; list axes are no part of it."""
        axes = None if self.axes is None else [as_axis(one) for one in self.axes if not one.is_list]
        return Port(axes, dtype=self.dtype, element=self.elements_type, optional=self.optional)

    def compare(self, other: NeuralType) -> ElementComparison:
        """Compares this declared type with a given one.

        Returns:
            ``SAME`` where the given one fits as it is; ``GREATER`` where it is a special case of the declared one, ``LESS`` the other
            way round; ``TRANSPOSE_SAME`` and ``DIM_INCOMPATIBLE`` where the elements are the same and only the order or the sizes of
            the axes differ; else ``SAME_TYPE_INCOMPATIBLE_PARAMS`` or ``INCOMPATIBLE``.

        Raises:
            PortTypeError: ``other`` is no neural type.
        """
        if not isinstance(other, NeuralType):
            raise PortTypeError("a neural type is compared with another one", found=repr(other)[:120], expected="a NeuralType")
        if self.axes is None and isinstance(self.elements_type, VoidType):
            return ElementComparison.SAME
        elements = self.elements_type.compare(other.elements_type)
        axes = _compare_axes(self.axes, other.axes)
        if axes is ElementComparison.SAME:
            return elements
        return axes if elements is ElementComparison.SAME else ElementComparison.INCOMPATIBLE

    def accepts(self, other: NeuralType) -> bool:
        """Whether a value of the given type may enter a port of this one."""
        return self.compare(other) in (ElementComparison.SAME, ElementComparison.GREATER)

    def _key(self) -> tuple[Any, ...]:
        return self.axes, self.elements_type, self.optional, self.dtype

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, NeuralType) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        axes = (
            "None" if self.axes is None else "(" + ", ".join(_short(one) for one in self.axes) + ("," if len(self.axes) == 1 else "") + ")"
        )
        more = (", optional=True" if self.optional else "") + (f", dtype={self.dtype!r}" if self.dtype else "")
        return f"NeuralType({axes}, {self.elements_type!r}{more})"


def _rebuild(axes: Any, elements_type: ElementType, optional: bool, dtype: str | None) -> NeuralType:
    return NeuralType(axes, elements_type, optional, dtype=dtype)


def foreign_neural_type(found: Any) -> NeuralType:
    """The neural type that another library's object of the same make stands for; its kinds and elements are known by their names.

    Kinds and elements that are not known here become `AxisKind.Any` and `VoidType`.
    """
    axes = found.axes
    if axes is not None:
        kinds = AxisKind.__members__
        axes = [AxisType(kinds.get(getattr(one.kind, "name", ""), AxisKind.Any), one.size, bool(one.is_list)) for one in axes]
    element = found.elements_type
    name, parameters = type(element).__name__, dict(getattr(element, "type_parameters", None) or {})
    try:
        known = element_named(name, parameters)
    except (TypeError, PortValueError):
        known = element_named(name)
    return NeuralType(axes, known, bool(getattr(found, "optional", False)))


def _axis_type(one: object) -> AxisType | Axis:
    if isinstance(one, (AxisType, Axis)):
        return one
    axis = as_axis(one)
    return axis if axis.name else AxisType(axis.kind, axis.size if axis.kind is not AxisKind.Singleton else None)


def _short(axis: AxisType | Axis) -> str:
    return axis.name if isinstance(axis, Axis) and axis.name else repr(axis) if isinstance(axis, AxisType) else axis.kind.word


def _compare_axes(declared: tuple[AxisType | Axis, ...] | None, given: tuple[AxisType | Axis, ...] | None) -> ElementComparison:
    if declared is None and given is None:
        return ElementComparison.SAME
    if declared is None or given is None or len(declared) != len(given):
        return ElementComparison.INCOMPATIBLE
    pairs = list(zip(declared, given, strict=True))
    if any(one.is_list != other.is_list for one, other in pairs):
        return ElementComparison.CONTAINER_SIZE_MISMATCH
    if (by_name := _names_in_another_order(declared, given)) is not None:
        return by_name
    if all(_axis_accepts(one, other) for one, other in pairs):
        return ElementComparison.SAME
    if all(_kind(one) is _kind(other) for one, other in pairs):
        return ElementComparison.DIM_INCOMPATIBLE
    if any(_kind(one) is AxisKind.Any for one in (*declared, *given)):
        return ElementComparison.INCOMPATIBLE
    ordered = [sorted(one, key=lambda axis: (_kind(axis).value, axis.size or 0)) for one in (declared, given)]
    if any(_kind(one) is not _kind(other) for one, other in zip(*ordered, strict=True)):
        return ElementComparison.INCOMPATIBLE
    same = all(one.size == other.size for one, other in zip(*ordered, strict=True))
    return ElementComparison.TRANSPOSE_SAME if same else ElementComparison.DIM_INCOMPATIBLE


def _axis_accepts(declared: AxisType | Axis, given: AxisType | Axis) -> bool:
    if declared.is_list != given.is_list:
        return False
    if declared.kind is AxisKind.Any and declared.size is None:
        return True
    return _kind(declared) is _kind(given) and (declared.size is None or declared.size == given.size)


def _kind(axis: AxisType | Axis) -> AxisKind:
    """The kind as it compares: a plain size in text is a dimension."""
    return AxisKind.Dimension if isinstance(axis, Axis) and axis.kind is AxisKind.Any and axis.size is not None else axis.kind


def _name(axis: AxisType | Axis) -> str:
    """The name, where it says more than the kind."""
    return axis.name if isinstance(axis, Axis) and axis.name != axis.kind.word else ""


def _names_in_another_order(declared: tuple[AxisType | Axis, ...], given: tuple[AxisType | Axis, ...]) -> ElementComparison | None:
    """The verdict where both have the same names, and not at the same places; else ``None``.

    Other names say nothing: a name is that of a size within one signature.
    """
    names = [[_name(axis) for axis in axes] for axes in (declared, given)]
    if names[0] == names[1] or sorted(names[0]) != sorted(names[1]):
        return None
    kinds, sized = [], []
    for axes in (declared, given):
        kinds.append(sorted((_name(axis), _kind(axis).value) for axis in axes))
        sized.append(sorted((_name(axis), _kind(axis).value, -1 if axis.size is None else axis.size) for axis in axes))
    if kinds[0] != kinds[1]:
        return ElementComparison.INCOMPATIBLE
    return ElementComparison.TRANSPOSE_SAME if sized[0] == sized[1] else ElementComparison.DIM_INCOMPATIBLE
