"""What an export hands over: every artifact with its signature, its strategy, its digests, its timings and its proof."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torchport._counted import counted
from torchport.errors import UnusablePathError
from torchport.ports import Signature

if TYPE_CHECKING:
    import torch

    from torchport._options import ExportOptions
    from torchport.check import Signer
    from torchport.emit import Artifact
    from torchport.packaging import Golden, Packaged
    from torchport.prepare import Swap
    from torchport.verification import Proof, Reference

__all__ = ["Attempt", "ExportResult", "Exported", "Rejected"]


@dataclass(frozen=True)
class Attempt:
    """One strategy that was tried.

    Attributes:
        strategy: Its name.
        outcome: ``proved``; ``unproved`` (``verify=False``); ``rejected`` by the proof; ``refused`` on the exporter's evidence; ``failed``.
        reason: Why it was not taken; empty where it was.
        cpu_seconds: CPU time of its capture, writing and proof.
    """

    strategy: str
    outcome: Literal["proved", "unproved", "rejected", "refused", "failed"]
    reason: str = ""
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Exported:
    """One artifact of an export.

    Attributes:
        name: The subnet's name; ``self`` for the whole model.
        model: The model's class.
        artifact: The files.
        attempts: Every strategy that was tried, with its outcome.
        proof: The proof; ``None`` where ``verify=False`` opted out.
        swaps: The modules that were swapped.
        notes: What the user should know.
        timings: CPU seconds by stage.
        goldens: A few cases with the untouched model's answers, for `package`.
    """

    name: str
    model: str
    artifact: Artifact
    attempts: tuple[Attempt, ...]
    proof: Proof | None
    swaps: tuple[Swap, ...] = ()
    notes: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    goldens: tuple[Golden, ...] = field(default=(), repr=False)

    @property
    def description(self) -> str:
        """One sentence: what became what, by which strategy, proved how."""
        proved = f"proved at {counted(len(self.proof.cases), 'size')}" if self.proof is not None else "NOT PROVED (verify=False)"
        return f"{self.model} exported to {self.artifact.path.name} ({self.artifact.format}, {self.artifact.strategy}): {proved}"

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, for JSON; ``content_digests`` is ``None`` where the files were moved or changed since."""
        return {
            "name": self.name,
            "model": self.model,
            "format": self.artifact.format,
            "paths": [str(path) for path in self.artifact.paths],
            "strategy": self.artifact.strategy,
            "opset": self.artifact.opset,
            "signature": self.artifact.signature.to_dict(),
            "digests": dict(self.artifact.digests),
            "content_digests": self._content_digests(),
            "unused_inputs": list(self.artifact.unused_inputs),
            "attempts": [vars(attempt) for attempt in self.attempts],
            "swaps": [vars(swap) for swap in self.swaps],
            "proof": None if self.proof is None else self.proof.to_dict(),
            "notes": list(self.notes),
            "cpu_seconds": {stage: round(seconds, 4) for stage, seconds in self.timings.items()},
        }

    def _content_digests(self) -> dict[str, str | None] | None:
        try:
            return self.artifact.content_digests().to_dict()
        except UnusablePathError:
            return None


@dataclass(frozen=True)
class ExportResult:
    """The result of one export.

    Unpacks as two lists, as callers of NeMo's ``export`` expect::

        paths, descriptions = model.export("m.onnx")

    Attributes:
        parts: One record an artifact: one for the model, or one for each subnet.
    """

    parts: tuple[Exported, ...]

    def __iter__(self) -> Iterator[list[str]]:
        yield [str(path) for path in self.paths]
        yield self.descriptions

    @property
    def paths(self) -> list[Path]:
        """The file to open of each artifact."""
        return [part.artifact.path for part in self.parts]

    @property
    def path(self) -> Path:
        """The file to open of the first artifact."""
        return self.paths[0]

    @property
    def descriptions(self) -> list[str]:
        """One sentence for each artifact."""
        return [part.description for part in self.parts]

    @property
    def signature(self) -> Signature:
        """The ports of the first artifact."""
        return self.parts[0].artifact.signature

    @property
    def strategy(self) -> str:
        """The strategy that captured the first artifact."""
        return self.parts[0].artifact.strategy

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The strategies that were tried for the first artifact."""
        return self.parts[0].attempts

    @property
    def proof(self) -> Proof | None:
        """The proof of the first artifact; ``None`` where ``verify=False`` opted out."""
        return self.parts[0].proof

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, over all artifacts."""
        return tuple(note for part in self.parts for note in part.notes)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, for JSON."""
        return {"artifacts": [part.to_dict() for part in self.parts]}

    def package(
        self,
        directory: str | os.PathLike[str],
        *,
        target: str = "bundle",
        overwrite: bool = False,
        metadata: Mapping[str, str] | None = None,
        signer: Signer | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Packaged:
        """Packages the artifacts with their proof and with answers of the untouched model; see `torchport.package`."""
        from torchport._package import package

        return package(self, directory, target=target, overwrite=overwrite, metadata=metadata, signer=signer, options=options)


@dataclass(frozen=True)
class Rejected:
    """An artifact that failed its proof and was kept, with all that it takes to hold it against the model again.

    Attributes:
        module: The model, or the subnet.
        artifact: The files, where they were kept.
        reference: What the untouched model answers; its ``call`` is the model, put back.
        options: The options of the export.
        feeds: Weights that the artifact takes as inputs.
    """

    module: torch.nn.Module
    artifact: Artifact
    reference: Reference
    options: ExportOptions
    feeds: Mapping[str, Any] = field(default_factory=dict, repr=False)
