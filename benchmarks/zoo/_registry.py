"""What a planted fault is, and the decorator that registers one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["FAULTS", "Fault", "Kind", "Sizes", "fault"]

Kind = Literal["capture", "unservable", "rows", "artifact", "trap"]
"""Where a fault lies.

- ``capture``: the model is right in PyTorch, an ordinary export of it is wrong at some legal input;
- ``unservable``: the model itself has no one answer (random, keeps state, another rank at size 1): no artifact of it can be right;
- ``rows``: the answer to a row depends on its neighbours or on their padding: right as a function, wrong behind a server that batches;
- ``artifact``: the artifact was made from a near twin of the model, or edited;
- ``trap``: looks like a fault and is none: the exporters that were tried get it right, and refusing it is a false alarm.
"""

Sizes = Mapping[str, int]

_TRACED = {"batch": 3, "time": 12}
_HIDDEN = (
    {"batch": 1, "time": 1},
    {"batch": 2, "time": 5},
    {"batch": 4, "time": 13},
    {"batch": 1, "time": 24},
    {"batch": 7, "time": 37},
    {"batch": 17, "time": 12},
    {"batch": 2, "time": 101},
)

FAULTS: dict[str, Fault] = {}
"""Every fault by name, family by family."""


@dataclass(frozen=True)
class Fault:
    """A planted fault and its correct twin.

    Attributes:
        name: Its name: the class's, in words.
        family: The file that it stands in.
        says: What goes wrong.
        kind: Where it lies.
        faulty: The model at fault; for ``artifact``, what the artifact is made from.
        twin: The correct one; for ``artifact``, the model itself.
        inputs: Ports of the inputs, as `torchport.export` takes them.
        outputs: Ports of the outputs.
        traced: The sizes of the example.
        hidden: Sizes that only the judge knows.
        draw: Makes inputs of given sizes.
        values: Further inputs that only the judge knows, chosen by value.
        tamper: For ``artifact``: edits the file.
        arguments: Further arguments of ``export``.
        formats: The formats it is run through.
        tolerance: How far the judge lets an artifact be off, over the output's largest magnitude.
    """

    name: str
    family: str
    says: str
    kind: Kind
    faulty: type[nn.Module] = field(repr=False)
    twin: type[nn.Module] = field(repr=False)
    inputs: Mapping[str, Any] = field(repr=False)
    outputs: Mapping[str, Any] = field(repr=False)
    traced: Sizes
    hidden: tuple[Sizes, ...] = field(repr=False)
    draw: Callable[[Sizes, torch.Generator], Sequence[Tensor]] = field(repr=False)
    values: Callable[[torch.Generator], Sequence[Sequence[Tensor]]] | None = field(repr=False)
    tamper: Callable[[Path], None] | None = field(repr=False)
    arguments: Mapping[str, Any]
    formats: tuple[str, ...]
    tolerance: float

    def model(self, which: Literal["faulty", "twin"], seed: int) -> nn.Module:
        """A fresh model; both have the same weights at the same seed."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = (self.faulty if which == "faulty" else self.twin)()
        return module.train(not self.arguments.get("set_eval", True))

    def example(self, seed: int) -> tuple[Tensor, ...]:
        """The example that is exported."""
        return tuple(self.draw(self.traced, torch.Generator().manual_seed(1000 + seed)))

    def hidden_inputs(self, seed: int) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
        """The judge's inputs, each with what it is."""
        generator = torch.Generator().manual_seed(2000 + seed)
        yield "the example", self.example(seed)
        for sizes in self.hidden:
            yield ", ".join(f"{name} {size}" for name, size in sizes.items()), tuple(self.draw(sizes, generator))
        if self.values is not None:
            for index, inputs in enumerate(self.values(generator)):
                yield f"values {index}", tuple(inputs)


def fault(
    *,
    kind: Kind = "capture",
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    traced: Sizes = _TRACED,
    hidden: Sequence[Sizes] = _HIDDEN,
    also: Sequence[Sizes] = (),
    arguments: Mapping[str, Any] | None = None,
    formats: Sequence[str] = ("onnx", "ts"),
    tolerance: float = 1e-4,
) -> Callable[[type], type]:
    """Registers a class that holds a ``Faulty`` and a ``Twin`` module; its docstring says what goes wrong.

    It may also hold ``draw(sizes, generator)``, ``values(generator)`` and ``tamper(path)``.
    """

    def register(cls: type) -> type:
        name = "-".join(part.lower() for part in re.findall(r"[A-Z][a-z0-9]*", cls.__name__))
        assert name not in FAULTS, name
        ports = inputs or {"x": "batch time 4"}
        FAULTS[name] = Fault(
            name=name,
            family=cls.__module__.rpartition(".")[2],
            says=" ".join((cls.__doc__ or "").split()),
            kind=kind,
            faulty=cls.Faulty,  # type: ignore[attr-defined]
            twin=cls.Twin,  # type: ignore[attr-defined]
            inputs=ports,
            outputs=outputs or {"y": "batch time 4"},
            traced=traced,
            hidden=(*hidden, *also),
            draw=getattr(cls, "draw", _drawer(ports)),
            values=getattr(cls, "values", None),
            tamper=getattr(cls, "tamper", None),
            arguments=arguments or {},
            formats=tuple(formats),
            tolerance=tolerance,
        )
        return cls

    return register


def _drawer(ports: Mapping[str, Any]) -> Callable[[Sizes, torch.Generator], list[Tensor]]:
    """Normal floats, small whole numbers, and truth values, in the shapes that the ports' texts say."""

    def draw(sizes: Sizes, generator: torch.Generator) -> list[Tensor]:
        tensors = []
        for port in ports.values():
            text, dtype = port if isinstance(port, tuple) else (port, "float32")
            shape = [int(axis) if axis.isdigit() else sizes[axis] for axis in re.sub(r"\{[^}]*\}", "", text).split()]
            if dtype == "bool":
                tensors.append(torch.rand(shape, generator=generator) > 0.3)
            elif dtype.startswith("int"):
                tensors.append(torch.randint(-9, 10, shape, generator=generator).to(getattr(torch, dtype)))
            else:
                tensors.append(torch.randn(shape, generator=generator).to(getattr(torch, dtype)))
        return tensors

    return draw
