"""Limits that a file keeps itself: sizes outside them were found to be refused by the model, so the file refuses them, too."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torchport.ports.signature import Signature

__all__ = [
    "AtMost",
    "Limit",
    "Limits",
    "SizeLimit",
    "SumAtMost",
    "as_name",
    "limit_said_in",
    "limits_found",
    "limits_named_in",
    "places_of",
]


@dataclass(frozen=True)
class SizeLimit:
    """What was found of the sizes of one symbol; what its port declared is not repeated here.

    Attributes:
        symbol: The symbol.
        least: The least size that is answered.
        most: The greatest.
        multiple_of: The factor.

    Example:
        >>> SizeLimit("time", 9, 5000).sentence
        'time must be 9 to 5000'
    """

    symbol: str
    least: int | None = None
    most: int | None = None
    multiple_of: int = 1

    @property
    def sentence(self) -> str:
        """The limit in words."""
        said = []
        if self.least is not None and self.most is not None:
            said.append(f"{self.least} to {self.most}")
        elif self.least is not None or self.most is not None:
            said.append(f"{self.most} or less" if self.least is None else f"{self.least} or more")
        if self.multiple_of > 1:
            said.append(f"a multiple of {self.multiple_of}")
        return f"{self.symbol} must be {' and '.join(said)}"


@dataclass(frozen=True)
class AtMost:
    """One symbol is never greater than another, or than a multiple of it and some more: ``divisor * small <= factor * large + offset``.

    Attributes:
        small: The symbol that is bounded.
        large: The symbol that bounds it.
        factor: What the greater one is taken times.
        offset: What is added to that.
        divisor: What the lesser one is taken times; one of the two is 1.

    Example:
        >>> AtMost("picks", "frames").sentence, AtMost("picks", "frames", 2, -1).sentence
        ('picks must be at most frames', 'picks must be at most 2 times frames minus 1')
    """

    small: str
    large: str
    factor: int = 1
    offset: int = 0
    divisor: int = 1

    @property
    def bound(self) -> str:
        """What bounds the lesser one, in words."""
        times = f"{self.factor} times " if self.factor > 1 else ""
        more = f" {'plus' if self.offset > 0 else 'minus'} {abs(self.offset)}" if self.offset else ""
        return f"{times}{self.large}{more}" + (f" over {self.divisor}" if self.divisor > 1 else "")

    @property
    def symbols(self) -> tuple[str, str]:
        """Both symbols."""
        return self.small, self.large

    @property
    def sentence(self) -> str:
        """The limit in words."""
        return f"{self.small} must be at most {self.bound}"

    def greatest(self, large: int) -> int:
        """The greatest size of the lesser one beside a size of the greater one."""
        return (self.factor * large + self.offset) // self.divisor

    def holds(self, small: int, large: int) -> bool:
        """Whether two sizes are within it."""
        return small <= self.greatest(large)


@dataclass(frozen=True)
class SumAtMost:
    """Two symbols share one room: new steps and those in a cache together take the rows of one table.

    Attributes:
        one: A symbol.
        other: Another.
        most: The greatest sum of their sizes.

    Example:
        >>> SumAtMost("past", "time", 200).sentence
        'past + time must be at most 200'
    """

    one: str
    other: str
    most: int

    @property
    def symbols(self) -> tuple[str, str]:
        """Both symbols."""
        return self.one, self.other

    @property
    def sentence(self) -> str:
        """The limit in words."""
        return f"{self.one} + {self.other} must be at most {self.most}"

    def renamed(self, names: Mapping[str, str]) -> SumAtMost:
        """The same room under other symbols."""
        return SumAtMost(names.get(self.one, self.one), names.get(self.other, self.other), self.most)

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether these sizes keep it."""
        return sizes[self.one] + sizes[self.other] <= self.most


Limit = SizeLimit | AtMost | SumAtMost


@dataclass(frozen=True)
class Limits:
    """The limits of a file.

    Attributes:
        sizes: One for each symbol that has any.
        at_most: Relations between two symbols.
        sums: Two symbols that share one room.
    """

    sizes: tuple[SizeLimit, ...] = ()
    at_most: tuple[AtMost, ...] = ()
    sums: tuple[SumAtMost, ...] = ()

    def __iter__(self) -> Iterator[Limit]:
        yield from self.sizes
        yield from self.relations

    def __bool__(self) -> bool:
        return bool(self.sizes or self.at_most or self.sums)

    @property
    def relations(self) -> tuple[AtMost | SumAtMost, ...]:
        """The limits that hold between two symbols."""
        return (*self.at_most, *self.sums)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The limits in words."""
        return tuple(one.sentence for one in self)


def limits_found(declared: Signature, settled: Signature, at_most: Collection[AtMost] = (), sums: Collection[SumAtMost] = ()) -> Limits:
    """What a settled signature has that the declared one does not, of the symbols of the inputs.

    Args:
        declared: As declared, under the symbols of ``settled``.
        settled: With what was found.
        at_most: Relations that were found.
        sums: Pairs of symbols that share one room.

    Example:
        >>> ports = Signature.of(inputs={"x": "batch time{min=2}"})
        >>> limits_found(ports, ports.restricted({"time": (9, None)})).sentences
        ('time must be 9 or more',)
    """
    before, after = declared.symbols, settled.symbols
    sizes = []
    for symbol in settled.symbols_of("inputs"):
        was, axis = before.get(symbol), after[symbol]
        if was is None:
            continue
        least = axis.smallest if axis.smallest > was.smallest and axis.min > was.min else None
        most = axis.max if axis.max is not None and (was.max is None or axis.max < was.max) else None
        factor = axis.multiple_of if axis.multiple_of != was.multiple_of else 1
        if least is not None or most is not None or factor > 1:
            sizes.append(SizeLimit(symbol, least, most, factor))
    return Limits(tuple(sizes), tuple(at_most), tuple(sums))


def places_of(signature: Signature, symbol: str, inputs: Collection[str]) -> tuple[str, tuple[int, ...]] | None:
    """The first of these inputs that has the symbol, and its axes of that symbol; ``None`` where none has it."""
    for port, axes in signature.dynamic_axes("inputs").items():
        found = tuple(axis for axis, name in axes.items() if name == symbol)
        if port in inputs and found:
            return port, found
    return None


def as_name(limit: Limit) -> str:
    """The limit as the name of a node, which runtimes show when it fails.

    Example:
        >>> as_name(SizeLimit("time", 9, 5000))
        'time_must_be_9_to_5000'
    """
    return re.sub(r"\W+", "_", limit.sentence.replace(" + ", _PLUS))


_PLUS = "_plus_"


def limits_named_in(error: str, symbols: Collection[str]) -> tuple[str, ...]:
    """The limits that a runtime's error shows by the name of the node that failed, in words; none where another node did.

    Args:
        error: The runtime's text.
        symbols: The names of the file's axes.

    Example:
        >>> limits_named_in("while running Reshape node. Name:'time_must_be_9_to_5000' Status …", ["batch", "time"])
        ('time must be 9 to 5000',)
    """
    name = re.search(r"Name:'(\w+_must_be_\w+)'", error)
    if name is None:
        return ()
    known = "|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True)) or r"\w+?"
    of = rf"(?:{known})(?:{_PLUS}(?:{known}))?_must_be_"
    said = re.findall(rf"({known})(?:{_PLUS}({known}))?_must_be_(\w+?)(?=_and_{of}|$)", name[1])
    return tuple(f"{f'{one} + {other}' if other else one} must be {_in_words(rest)}" for one, other, rest in said)


_BOUND = re.compile(r"at_most_(?:(\d+)_times_)?(\w+?)(?:_(plus|minus)_(\d+))?(?:_over_(\d+))?")


def _in_words(rest: str) -> str:
    bound = _BOUND.fullmatch(rest)
    if bound is None:
        return rest.replace("_", " ")
    times, large, sign, more, over = bound.groups()
    offset = 0 if more is None else int(more) if sign == "plus" else -int(more)
    return f"at most {AtMost('', large, int(times or 1), offset, int(over or 1)).bound}"


_SAID = re.compile(
    r"(?:Value|Runtime)Error: (\w+(?: \+ \w+)? must be "
    r"(?:\d+ to \d+|\d+ or (?:more|less)|a multiple of \d+|at most [\w ]+?)(?: and a multiple of \d+)?)"
    r"(?:, not ([\w ]+))?\s*\Z"
)


def limit_said_in(error: str) -> tuple[str, str | None] | None:
    """The limit that a program of torch says at the end of its error, and the sizes where it says them; ``None`` for any other error.

    Example:
        >>> limit_said_in("Traceback … builtins.ValueError: time must be 9 to 5000, not 3")
        ('time must be 9 to 5000', '3')
    """
    found = _SAID.search(error)
    return None if found is None else (found[1], found[2])
