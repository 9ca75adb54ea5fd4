"""Ports read from annotations of ``forward``: ``Float[Tensor, "batch 80 time"]``.

The annotation classes of jaxtyping are recognised by their attributes, so that nothing here imports it.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torchport.errors import PortError
from torchport.ports.axis import Axis, kind_of_name
from torchport.ports.dtypes import DTypeKind, known_dtype
from torchport.ports.element import ElementType
from torchport.ports.elements import BoolType, FloatType, IntType, VoidType
from torchport.ports.neural_type import NeuralType
from torchport.ports.port import Port

__all__ = ["port_from_annotation", "signature_from_annotations"]

_PLAIN: dict[DTypeKind, type[ElementType]] = {"float": FloatType, "int": IntType, "uint": IntType, "bool": BoolType}


def signature_from_annotations(forward: Callable[..., Any]) -> tuple[dict[str, Port], dict[str, Port]]:
    """Reads the ports that the annotations of a method declare.

    Args:
        forward: The method; parameters without an annotation of a tensor are left out.

    Returns:
        Inputs and outputs by name. The outputs of a ``NamedTuple`` or ``TypedDict`` have the names of its fields, one output is ``output``,
        the parts of a tuple ``output_0``, ``output_1``; nested parts get flat names.

    Raises:
        PortError: An annotation of a tensor cannot become a port.
    """
    hints = _hints(forward)
    inputs: dict[str, Port] = {}
    for name in inspect.signature(forward).parameters if hints else ():  # what is written in C has neither
        if name in hints:
            _collect(name, hints[name], inputs)
    outputs: dict[str, Port] = {}
    answer = hints.get("return")
    fields = _fields(answer)
    parts = fields or _tuple_parts(answer)
    if parts is None:
        _collect("output", answer, outputs)
    else:
        for name, part in parts.items():
            _collect(name if fields else f"output_{name}", part, outputs)
    return inputs, outputs


def _hints(forward: Callable[..., Any]) -> dict[str, Any]:
    function = inspect.unwrap(getattr(forward, "__func__", forward))
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError):
        # A name that only type checkers see: read what can be read one by one.
        found: dict[str, Any] = {}
        scope = getattr(function, "__globals__", {})
        for name, hint in getattr(function, "__annotations__", {}).items():
            if not isinstance(hint, str):
                found[name] = hint
                continue
            try:
                # Exactly what get_type_hints does with the author's own source, one annotation at a time.
                found[name] = eval(hint, scope)
            except Exception:  # noqa: BLE001  # whatever it raises, the annotation cannot be read here
                continue
        return found


def _collect(name: str, hint: Any, ports: dict[str, Port]) -> None:
    hint, optional = _without_none(hint)
    parts = _fields(hint) or _tuple_parts(hint)
    if parts is not None:
        for key, part in parts.items():
            _collect(f"{name}_{key}", part, ports)
        return
    port = port_from_annotation(hint, where=name)
    if port is not None:
        ports[name] = replace(port, optional=True) if optional else port


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [one for one in typing.get_args(hint) if one is not type(None)]
        if len(parts) == 1:
            return parts[0], len(typing.get_args(hint)) > 1
    return hint, False


def _fields(hint: Any) -> Mapping[str, Any] | None:
    """The fields of a NamedTuple, a TypedDict or a dataclass."""
    if isinstance(hint, type) and (hasattr(hint, "_fields") or typing.is_typeddict(hint) or hasattr(hint, "__dataclass_fields__")):
        hints = _hints_of_class(hint)
        names = getattr(hint, "_fields", None) or tuple(hints)
        return {name: hints[name] for name in names if name in hints}
    return None


def _hints_of_class(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):
        return {name: hint for name, hint in getattr(cls, "__annotations__", {}).items() if not isinstance(hint, str)}


def _tuple_parts(hint: Any) -> dict[str, Any] | None:
    if typing.get_origin(hint) is tuple:
        args = typing.get_args(hint)
        if args and args[-1] is not Ellipsis:
            return {str(index): one for index, one in enumerate(args)}
    return None


def port_from_annotation(hint: Any, *, where: str | None = None) -> Port | None:
    """The port that one annotation declares; ``None`` where it declares none.

    Reads jaxtyping's classes, and ``Annotated[Tensor, Port(...)]`` or ``Annotated[Tensor, NeuralType(...)]``.

    Raises:
        PortError: The annotation stands for tensors of more than one rank.
    """
    if isinstance(hint, (Port, NeuralType)):
        return hint if isinstance(hint, Port) else hint.port()
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, (Port, NeuralType)):
            return port_from_annotation(extra)
    if typing.get_origin(hint) is typing.Annotated:
        return port_from_annotation(typing.get_args(hint)[0], where=where)
    text, dtypes = getattr(hint, "dim_str", None), getattr(hint, "dtypes", None)
    if not isinstance(text, str) or dtypes is None:
        return None
    dtype, element = _dtype(dtypes)
    tokens = text.split()
    if tokens == ["..."]:
        return Port(None, dtype=dtype, element=element)
    return Port([_axis(token, text, where) for token in tokens], dtype=dtype, element=element)


def _dtype(dtypes: Any) -> tuple[str | None, ElementType]:
    """A dtype where the annotation allows one only; else the element type of its family."""
    if not isinstance(dtypes, (tuple, list)):
        return None, VoidType()
    found = [one for name in dtypes if (one := known_dtype(name)) is not None]
    names = {one.name for one in found}
    if len(names) == 1:
        return found[0].name, VoidType()
    kinds: set[DTypeKind] = {"int" if one.kind == "uint" else one.kind for one in found}
    kind = kinds.pop() if len(kinds) == 1 else None
    return None, _PLAIN[kind]() if kind in _PLAIN else VoidType()


def _axis(token: str, text: str, where: str | None) -> Axis:
    """One axis in jaxtyping's notation: a size, a name, ``name=size``, ``_``, or an expression, whose size is only known when it runs."""
    token = token.lstrip("?") or "_"
    if token.startswith("*") or token == "..." or token.startswith("#"):
        raise PortError(
            "the annotation stands for tensors of more than one shape, a graph has one",
            where=where,
            found=repr(text),
            expected='an axis for each, like "batch 80 time"',
        )
    name, _, rest = token.rpartition("=")
    if rest.isdigit():
        return Axis(name if name.isidentifier() else "", size=int(rest))
    if token == "_":
        return Axis()
    if token.isidentifier():
        if token.startswith("_"):
            return Axis()
        return Axis(token, kind=kind_of_name(token))
    return Axis(dynamic=True)
