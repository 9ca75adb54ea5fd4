"""What an artifact promises to those who call it: ports, sizes, meaning, and what its file needs to be opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["AxisTerm", "Contract", "PortTerm", "SizeRange"]


@dataclass(frozen=True)
class AxisTerm:
    """One axis of a port.

    Attributes:
        size: The fixed size; ``None`` where the size varies.
        symbol: The name of a size that varies; the same name is the same size. ``None`` where it is fixed, or varies without a name.
    """

    size: int | None = None
    symbol: str | None = None


@dataclass(frozen=True)
class PortTerm:
    """One input or output.

    Attributes:
        name: Its name.
        dtype: Its dtype; ``None`` where the file does not state it.
        axes: Its axes; ``None`` where the file does not state them.
        element: What its numbers mean: the element type with its parameters; ``None`` where nothing is stated.
        optional: Whether it may be left out.
    """

    name: str
    dtype: str | None = None
    axes: tuple[AxisTerm, ...] | None = None
    element: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class SizeRange:
    """The sizes that a symbol may have.

    Attributes:
        min: The smallest; 0 where none is stated.
        max: The largest; ``None`` where there is no limit.
        multiple_of: Sizes are multiples of this.
    """

    min: int = 0
    max: int | None = None
    multiple_of: int = 1

    @property
    def smallest(self) -> int:
        """The smallest size that fits all of it."""
        return -(-self.min // self.multiple_of) * self.multiple_of

    @property
    def largest(self) -> int | None:
        """The largest size that fits all of it, or ``None``."""
        return None if self.max is None else self.max // self.multiple_of * self.multiple_of

    def allows(self, size: int) -> bool:
        """Whether a symbol may have this size."""
        return size >= self.min and (self.max is None or size <= self.max) and size % self.multiple_of == 0

    def within(self, other: SizeRange) -> bool:
        """Whether ``other`` allows every size of this one.

        Example:
            >>> SizeRange(8, 64, 8).within(SizeRange(4, None, 4)), SizeRange(1, 64).within(SizeRange(1, 32))
            (True, False)
        """
        if self.largest is not None and self.largest <= self.smallest:
            return self.largest < self.smallest or other.allows(self.smallest)
        below = other.largest is None or (self.largest is not None and self.largest <= other.largest)
        return below and self.smallest >= other.smallest and self.multiple_of % other.multiple_of == 0

    def __str__(self) -> str:
        text = f"{self.min} or more" if self.max is None else f"{self.min} to {self.max}"
        return text if self.multiple_of == 1 else f"{text}, a multiple of {self.multiple_of}"


@dataclass(frozen=True)
class Contract:
    """The whole promise of one artifact.

    Attributes:
        format: The format's name.
        inputs: The inputs, in order.
        outputs: The outputs, in order.
        symbols: The sizes of every symbol, by name.
        opsets: ONNX: the version of each operator domain; the standard one is ``ai.onnx``. Empty for other formats.
        ir_version: ONNX: the version of the file's own layout.
        model: The model's class, where it is stated.
        strategy: The strategy that captured it, where it is stated.
        writer: The versions that wrote it, by library.
        digests: ``weights``, ``graph``, ``artifact``; see `torchport.emit.ContentDigests`. One that the format cannot give is missing.
    """

    format: str
    inputs: tuple[PortTerm, ...]
    outputs: tuple[PortTerm, ...]
    symbols: Mapping[str, SizeRange] = field(default_factory=dict)
    opsets: Mapping[str, int] = field(default_factory=dict)
    ir_version: int | None = None
    model: str | None = None
    strategy: str | None = None
    writer: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    def range_of(self, symbol: str | None) -> SizeRange:
        """The sizes of a symbol; without a name, or without a stated range, there are no limits."""
        return SizeRange() if symbol is None else self.symbols.get(symbol, SizeRange())
