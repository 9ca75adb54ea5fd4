"""The signature of a graph: its ports by name, the one truth that names, axes, examples and documents come from."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torchport.errors import PortError
from torchport.ports.axis import Axis, AxisKind
from torchport.ports.port import Port
from torchport.ports.spellings import as_port

__all__ = ["Direction", "Signature"]

Direction = Literal["inputs", "outputs"]


@dataclass(frozen=True, eq=False)
class Signature:
    """Ordered inputs and outputs. Every dynamic axis has a name: its symbol.

    Axes of kind Batch are the one symbol ``batch``; other axes of a plain kind are named after their port (``audio_signal_time``); named
    axes keep their names. Ports and axes are never changed in place: every method returns a new signature.

    Args:
        inputs: Ports by name, in order.
        outputs: Ports by name, in order.

    Raises:
        PortError: Axes of one symbol contradict each other.
    """

    inputs: Mapping[str, Port] = field(default_factory=dict)
    outputs: Mapping[str, Port] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for direction in ("inputs", "outputs"):
            ports = getattr(self, direction)
            named = {name: _named_axes(name, port, direction == "outputs" and name in self.inputs) for name, port in ports.items()}
            object.__setattr__(self, direction, named)
        object.__setattr__(self, "_symbols", _merged(self))

    @classmethod
    def of(cls, inputs: Mapping[str, Any] | None = None, outputs: Mapping[str, Any] | None = None) -> Signature:
        """Makes a signature of ports in any spelling; see `as_port`.

        Example:
            >>> Signature.of(inputs={"mel": "batch 80 time"}, outputs={"score": ("batch", "float32")}).symbols.keys()
            dict_keys(['batch', 'time'])
        """
        for ports in (inputs, outputs):
            if ports is not None and not isinstance(ports, Mapping):
                raise PortError("ports go by name", found=type(ports).__qualname__, expected='a dict: {"x": "batch 80 time"}')
        read = [{name: as_port(one, where=name) for name, one in (ports or {}).items()} for ports in (inputs, outputs)]
        return cls(*read)

    # -- what it says ------------------------------------------------------------------------------------------------------

    def ports(self, direction: Direction | None = None) -> Iterator[tuple[str, Port]]:
        """Names and ports, inputs first."""
        if direction != "outputs":
            yield from self.inputs.items()
        if direction != "inputs":
            yield from self.outputs.items()

    def port(self, name: str) -> Port:
        """The port of a name; an input before an output.

        Raises:
            PortError: There is none; the message names the nearest.
        """
        found = self.inputs.get(name) or self.outputs.get(name)
        if found is None:
            known = [*self.inputs, *self.outputs]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else None
            raise PortError("there is no such port", found=repr(name), expected=", ".join(known), hint=hint)
        return found

    def symbol(self, port: str, axis: int) -> str | None:
        """The symbol of an axis; ``None`` for a static one."""
        axes = self.port(port).axes
        return axes[axis].name if axes is not None and axes[axis].dynamic else None

    @property
    def symbols(self) -> dict[str, Axis]:
        """Every symbol with the sizes that all of its axes allow."""
        symbols: dict[str, Axis] = self._symbols  # type: ignore[attr-defined]  # set by __post_init__
        return dict(symbols)

    def symbols_of(self, direction: Direction) -> tuple[str, ...]:
        """The symbols of the inputs, or of the outputs, in order."""
        return tuple(dict.fromkeys(axis.name for _, port in self.ports(direction) for axis in port.axes or () if axis.dynamic))

    def dynamic_axes(self, direction: Direction | None = None) -> dict[str, dict[int, str]]:
        """``{port: {axis: symbol}}`` of the ports that have a dynamic axis, as ``torch.onnx.export`` reads it."""
        axes = {
            name: {index: axis.name for index, axis in enumerate(port.axes or ()) if axis.dynamic} for name, port in self.ports(direction)
        }
        return {name: found for name, found in axes.items() if found}

    def dims(self) -> dict[str, dict[int, Any]]:
        """``{input: {axis: Dim}}`` for ``torch.export``; one ``Dim`` for each symbol, ``k * Dim`` for multiples of ``k``."""
        from torch.export import Dim

        made: dict[str, Any] = {}
        for symbol in self.symbols_of("inputs"):
            axis = self.symbols[symbol]
            step = axis.multiple_of
            name = symbol if step == 1 else f"{symbol}_by_{step}"
            limits = {"min": axis.smallest // step}
            if axis.largest is not None:
                limits["max"] = axis.largest // step
            dim = Dim(name, **limits)
            made[symbol] = dim if step == 1 else step * dim
        return {name: {index: made[symbol] for index, symbol in axes.items()} for name, axes in self.dynamic_axes("inputs").items()}

    @property
    def is_resolved(self) -> bool:
        """Whether every port knows its dtype and rank, and every axis is dynamic or has a size."""
        return all(
            port.dtype is not None and port.axes is not None and all(axis.dynamic or axis.size is not None for axis in port.axes)
            for _, port in self.ports()
        )

    def length_of(self, port: str) -> tuple[str, int] | None:
        """The data port and the time axis that a length or mask port measures; ``None`` where there is none."""
        from torchport.ports.lengths import measured_axis

        return measured_axis(self, port)

    # -- other signatures made of it ---------------------------------------------------------------------------------------

    def resolved(self, inputs: Mapping[str, Any] | None = None, outputs: Mapping[str, Any] | None = None) -> Signature:
        """Fills in what was not declared (static sizes, ranks, dtypes) from tensors that were seen.

        Args:
            inputs: Tensors by input name.
            outputs: Tensors by output name.

        Raises:
            PortValueError: A tensor has another rank or size than its port, or axes of one symbol differ.
            PortTypeError: A tensor has another dtype than its port.
        """
        from torchport.ports.resolving import resolve

        return resolve(self, inputs or {}, outputs or {})

    def map_axes(self, change: Any) -> Signature:
        """The signature with ``change(name, index, axis)`` in place of each axis."""

        def changed(name: str, port: Port) -> Port:
            return port if port.axes is None else port.with_axes(change(name, index, axis) for index, axis in enumerate(port.axes))

        both = [{name: changed(name, port) for name, port in ports.items()} for ports in (self.inputs, self.outputs)]
        return Signature(*both)

    def renamed_symbols(self, names: Mapping[str, str]) -> Signature:
        """The signature with other symbols; two symbols of one new name become one.

        Raises:
            PortError: The axes that become one contradict each other.
        """
        return self.map_axes(lambda _, __, axis: axis.named(names.get(axis.name, axis.name)) if axis.dynamic else axis)

    def restricted(self, ranges: Mapping[str, tuple[int | None, int | None]]) -> Signature:
        """The signature with narrower ranges: ``{symbol: (min, max)}``; ``None`` leaves an end as it is.

        Raises:
            PortError: A symbol is unknown, or no size is left.
        """
        from torchport.ports.resolving import narrowed

        for symbol in ranges:
            if symbol not in self.symbols:
                raise PortError("there is no such symbol", found=repr(symbol), expected=", ".join(self.symbols) or "none")
        return self.map_axes(lambda _, __, axis: narrowed(axis, *ranges.get(axis.name, (None, None))) if axis.dynamic else axis)

    def fixed(self, sizes: Mapping[str, int]) -> Signature:
        """The signature with some symbols made static: ``{symbol: size}``."""
        return self.map_axes(lambda _, __, axis: axis.fixed(sizes[axis.name]) if axis.dynamic and axis.name in sizes else axis)

    def without(self, names: Collection[str]) -> Signature:
        """The signature without the ports of these names."""
        kept = [{name: port for name, port in ports.items() if name not in names} for ports in (self.inputs, self.outputs)]
        return Signature(*kept)

    def select(self, inputs: Iterable[str] | None = None, outputs: Iterable[str] | None = None) -> Signature:
        """The signature of these ports only, in this order; ``None`` keeps all."""

        def chosen(names: Iterable[str] | None, ports: Mapping[str, Port]) -> dict[str, Port]:
            if names is None:
                return dict(ports)
            return {name: ports[name] if name in ports else self.port(name) for name in names}

        return Signature(chosen(inputs, self.inputs), chosen(outputs, self.outputs))

    def replace_ports(self, inputs: Mapping[str, Port] | None = None, outputs: Mapping[str, Port] | None = None) -> Signature:
        """The signature with some ports replaced or appended."""
        return Signature({**self.inputs, **(inputs or {})}, {**self.outputs, **(outputs or {})})

    def with_dynamic_axes(self, axes: Mapping[str, Mapping[int, str] | Sequence[int]]) -> Signature:
        """The signature with exactly these dynamic axes: the ``dynamic_axes`` of an export.

        Args:
            axes: ``{name: {axis: symbol}}`` or ``{name: [axis]}``; ports that are not named become static. Sizes of axes that become
                static are filled in by `resolved`.

        Raises:
            PortError: A port or axis does not exist, or a port of any rank is named.
        """
        from torchport.ports.resolving import with_dynamic_axes

        return with_dynamic_axes(self, axes)

    # -- plain data and comparison -----------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The signature as plain data for JSON; `from_dict` reads exactly this signature back."""
        return {
            direction: [{"name": name, **port.to_dict()} for name, port in getattr(self, direction).items()]
            for direction in ("inputs", "outputs")
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Signature:
        """Reads what `to_dict` wrote.

        Raises:
            PortError: It is no such entry.
        """
        try:
            ports = [{one["name"]: Port.from_dict(one) for one in entry[direction]} for direction in ("inputs", "outputs")]
        except (KeyError, TypeError) as error:
            raise PortError("a stored signature cannot be read", found=repr(entry)[:200], expected="lists of inputs and outputs") from error
        return cls(*ports)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Signature):
            return NotImplemented
        return list(self.inputs.items()) == list(other.inputs.items()) and list(self.outputs.items()) == list(other.outputs.items())

    def __hash__(self) -> int:
        return hash((tuple(self.inputs.items()), tuple(self.outputs.items())))

    def __str__(self) -> str:
        def listed(ports: Mapping[str, Port]) -> str:
            return ", ".join(f"{name}: {port.dtype or '?'}[{port.text}]" for name, port in ports.items())

        return f"({listed(self.inputs)}) -> ({listed(self.outputs)})"


def _named_axes(name: str, port: Port, name_taken: bool) -> Port:
    """Gives every dynamic axis its symbol."""
    if port.axes is None or all(axis.name or not axis.dynamic for axis in port.axes):
        return port
    owner = f"{name}_out" if name_taken else name
    owner = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in owner)
    owner = owner if not owner[:1].isdigit() else f"_{owner}"
    taken = {axis.name for axis in port.axes}
    axes: list[Axis] = []
    for index, axis in enumerate(port.axes):
        if axis.dynamic and not axis.name:
            if axis.kind is AxisKind.Batch:
                symbol = "batch"
            else:
                symbol = f"{owner}_{axis.kind.name.lower()}" if axis.kind.varies else f"{owner}_dim{index}"
                step = 0
                while (symbol if step == 0 else f"{symbol}_{step}") in taken:
                    step += 1
                symbol = symbol if step == 0 else f"{symbol}_{step}"
            taken.add(symbol)
            axis = axis.named(symbol)
        axes.append(axis)
    return port.with_axes(axes)


def _merged(signature: Signature) -> dict[str, Axis]:
    symbols: dict[str, Axis] = {}
    first: dict[str, str] = {}
    for name, port in signature.ports():
        for axis in port.axes or ():
            if not axis.dynamic:
                continue
            known = symbols.get(axis.name)
            if known is None:
                symbols[axis.name], first[axis.name] = axis, name
                continue
            limits = [one for one in (known.max, axis.max) if one is not None]
            try:
                symbols[axis.name] = Axis(
                    axis.name,
                    min=max(known.min, axis.min),
                    max=min(limits) if limits else None,
                    multiple_of=math.lcm(known.multiple_of, axis.multiple_of),
                    kind=known.kind if known.kind is not AxisKind.Any else axis.kind,
                    dynamic=True,
                )
            except PortError as error:
                raise PortError(
                    f"two ports contradict each other about {axis.name!r}",
                    where=f"{first[axis.name]} and {name}",
                    found=f"{known.sizes_in_words()}; {axis.sizes_in_words()}",
                    expected="one range of sizes for one name",
                ) from error
    return symbols
