"""The base of a format's mutations: a workshop holds one working copy of an artifact and says what can be changed in it."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torchport._registry import Registry
from torchport.verification._records import Array
from torchport.verification.power._weights import Weight, weight_mutations

if TYPE_CHECKING:
    import random

    from torchport.emit import Artifact

__all__ = ["Mutation", "Plan", "Workshop", "workshops"]


@dataclass(frozen=True)
class Plan:
    """What a workshop needs to know of the export.

    Attributes:
        artifact: The artifact, which stays as it is.
        directory: An empty directory for working copies.
        traced: The traced sizes, by symbol.
        inputs: Inputs at the traced sizes, with the constant feeds.
        random: The one source of choices.
    """

    artifact: Artifact
    directory: Path
    traced: Mapping[str, int]
    inputs: Mapping[str, Array]
    random: random.Random


@dataclass(frozen=True)
class Mutation:
    """One change that can be made.

    Attributes:
        kind: What sort of change.
        where: What it changes.
        change: How, in words.
        made: Makes the changed files and gives their paths, the one to open first; leaving the context undoes the change.
    """

    kind: str
    where: str
    change: str
    made: Callable[[], AbstractContextManager[Sequence[Path]]]


class Workshop(ABC):
    """The mutations of one artifact. An author writes the three methods; weights are changed in place by their ranges of bytes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    @abstractmethod
    def unchanged(self) -> Sequence[Path]:
        """The working copy as it is: it must prove, or the mutants tell nothing."""

    @property
    @abstractmethod
    def weights(self) -> Sequence[Weight]:
        """Floating-point tensors of more than one element, as ranges of bytes of the working copy."""

    @abstractmethod
    def graph_mutations(self) -> Iterator[Mutation]:
        """Every change of the graph that can be made, in graph order."""

    def mutations(self) -> list[Mutation]:
        """Every change that can be made."""
        weights = [
            Mutation(kind, where, change, partial(_in_place, made, self.unchanged))
            for kind, where, change, made in weight_mutations(self.weights, self.plan.random)
        ]
        return [*weights, *self.graph_mutations()]


@contextlib.contextmanager
def _in_place(change: Callable[[], AbstractContextManager[None]], paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """A change of the working copy, as the paths to open."""
    with change():
        yield paths


workshops: Registry[type[Workshop]] = Registry("workshop")
"""The workshop of each format, by the format's name."""
