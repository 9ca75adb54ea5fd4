"""What a target takes and what it gives: proved artifacts with their goldens, the order, and what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torchport.check import Signer
from torchport.emit import Artifact
from torchport.verification import Proof
from torchport.verification._records import Array

__all__ = ["Golden", "Order", "Packaged", "Part"]


@dataclass(frozen=True)
class Golden:
    """Inputs, and the outputs that belong to them.

    Attributes:
        name: What the case is: ``traced``, ``ragged``, ``other``, ``zeros``, …
        sizes: Symbol to size.
        inputs: Arrays by input name.
        outputs: Arrays by output name.
        tolerances: What each output is held to, relative to its scale.
    """

    name: str
    sizes: Mapping[str, int]
    inputs: Mapping[str, Array] = field(repr=False)
    outputs: Mapping[str, Array] = field(repr=False)
    tolerances: Mapping[str, float] = field(repr=False)


@dataclass(frozen=True)
class Part:
    """One artifact that is to be packaged.

    Attributes:
        name: The subnet's name; ``self`` for the whole model.
        model: The model's class, where it is known.
        artifact: The files, unchanged since they were written.
        proof: How it was proved; ``None``: it was not, or nobody knows any more.
        goldens: At least one case.
        goldens_from: Who gave the golden outputs: the untouched ``model``, or only the ``artifact`` itself.
        notes: What its user should know.
    """

    name: str
    model: str | None
    artifact: Artifact
    proof: Proof | None
    goldens: tuple[Golden, ...]
    goldens_from: Literal["model", "artifact"]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """What a caller of a target asks for.

    Attributes:
        directory: Where the package shall be.
        overwrite: Replace an older package of the same target there.
        metadata: What shall be written down beside everything else.
        signer: Who vouches for it, for targets that can be signed.
        options: What this kind of package takes beside that, by name, as texts.
    """

    directory: Path
    overwrite: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    signer: Signer | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Packaged:
    """What was written.

    Attributes:
        target: The target's name.
        directory: The package.
        files: Its files, relative to the directory, in order.
        notes: What its user should know.
    """

    target: str
    directory: Path
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, for JSON."""
        return {"target": self.target, "directory": str(self.directory), "files": list(self.files), "notes": list(self.notes)}
