"""What the answered cases say of the output axes: which vary, which equal an input's, which break their declaration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torchport.errors import PortValueError, ReferenceRunError
from torchport.ports import Axis, Port, Signature
from torchport.verification._records import Case, sizes_text

__all__ = ["settle_outputs"]


def settle_outputs(signature: Signature, cases: Sequence[Case]) -> tuple[Signature, list[str]]:
    """Names every output axis by what it does.

    An axis that always has the size of an input symbol takes its name; one that varies otherwise is a symbol of its own; a static
    one that varies becomes dynamic, and that is noted.

    Args:
        signature: The resolved ports, input symbols settled.
        cases: The traced example first, then the others.

    Returns:
        The ports, and what changed, in words.

    Raises:
        ReferenceRunError: An output comes and goes, or changes its rank or dtype from case to case.
        PortValueError: An output axis that is declared equal to an input axis is not.
    """
    ports: dict[str, Port] = {}
    notes: list[str] = []
    seen: dict[tuple[int, ...], str] = {}
    for name, port in signature.outputs.items():
        _check_stable(name, cases)
        axes: list[Axis] = []
        declared = port.axes or tuple(Axis(size=size) for size in cases[0].outputs[name].shape)
        for index, axis in enumerate(declared):
            sizes = tuple(case.outputs[name].shape[index] for case in cases)
            axes.append(_settled(signature, name, index, axis, sizes, cases, seen, notes if port.axes is not None else []))
        ports[name] = port.with_axes(axes)
    return signature.replace_ports(outputs=ports), notes


def _settled(
    signature: Signature,
    name: str,
    index: int,
    axis: Axis,
    sizes: tuple[int, ...],
    cases: Sequence[Case],
    seen: dict[tuple[int, ...], str],
    notes: list[str],
) -> Axis:
    inputs = cases[0].sizes
    if axis.dynamic and axis.name in inputs:
        for case, size in zip(cases, sizes, strict=True):
            if axis.name in case.sizes and size != case.sizes[axis.name]:
                raise PortValueError(
                    f"output {name!r} has another size on axis {index} than its port declares",
                    where=f"{name}, axis {index} ({axis.words()})",
                    found=f"{size} at {sizes_text(case.sizes)}",
                    expected=f"{case.sizes[axis.name]}, the size of `{axis.name}`",
                    hint="an axis of another length needs a name of its own",
                )
        return axis
    varies = len(set(sizes)) > 1
    if not varies:
        return axis if axis.dynamic or axis.size is not None else axis.fixed(sizes[0])
    twin = _twin(inputs, sizes, cases)
    symbol = twin or (axis.name if axis.dynamic and axis.name else seen.get(sizes) or f"{name}_axis{index}")
    if not axis.dynamic:
        notes.append(f"output `{name}` axis {index} is not fixed at {sizes[0]}: it varies with the inputs, named `{symbol}`")
    if twin:
        return signature.symbols[twin].named(twin)
    if sizes in seen and axis.dynamic:
        symbol = seen[sizes]
    seen.setdefault(sizes, symbol)
    return Axis(symbol, min=0 if 0 in sizes else 1, kind=axis.kind)


def _twin(inputs: Mapping[str, int], sizes: tuple[int, ...], cases: Sequence[Case]) -> str | None:
    """The input symbol that always has these sizes."""
    for symbol in inputs:
        if all(case.sizes.get(symbol) == size for case, size in zip(cases, sizes, strict=True)):
            return symbol
    return None


def _check_stable(name: str, cases: Sequence[Case]) -> None:
    first = cases[0]
    for case in cases[1:]:
        where = sizes_text(case.sizes)
        if name not in case.outputs:
            raise ReferenceRunError(
                f"output {name!r} is missing at other sizes", where=where, found=", ".join(case.outputs), expected=", ".join(first.outputs)
            )
        expected, found = first.outputs[name], case.outputs[name]
        if expected.dtype != found.dtype:
            raise ReferenceRunError(
                f"the model gives output {name!r} another dtype at other sizes", where=where, found=found.dtype, expected=expected.dtype
            )
        if expected.ndim != found.ndim:
            ones = ", ".join(symbol for symbol, size in case.sizes.items() if size == 1)
            raise ReferenceRunError(
                f"the model gives output {name!r} another rank at other sizes",
                where=where,
                found=list(found.shape),
                expected=f"{expected.ndim} axes, as in {list(expected.shape)} at {sizes_text(first.sizes)}",
                hint=f"squeeze() without a dim drops an axis of size 1: name the dim, or declare min=2 for {ones}" if ones else None,
            )
