"""What a failed assertion says: for each format the error, and the smallest sizes at which the artifact fails."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from torchport._own_words import own_words_only
from torchport.emit import Artifact
from torchport.errors import BrokenContractError, NotExportableError, ProofError, RuntimeFailure, TorchportError
from torchport.pipeline import one_at_a_time
from torchport.prepare import kept_as_found, watched
from torchport.result import Rejected
from torchport.verification import Proof, smallest_failure

__all__ = ["FormatFailure", "not_exportable", "shrunk"]


@dataclass(frozen=True)
class FormatFailure:
    """Why a model cannot be exported to one format.

    Attributes:
        format: The extension (``".onnx"``).
        error: The error of the export, or of the contract.
        smallest: The proof of the one case with the smallest sizes that fail; ``None`` where the failure does not come from sizes.
        notes: What else there is to say: other strategies that were tried.
        instance: Which instance of a class it is about, where there are several.
    """

    format: str
    error: TorchportError
    smallest: Proof | None = None
    notes: tuple[str, ...] = ()
    instance: str = ""

    @property
    def sizes(self) -> dict[str, int] | None:
        """The smallest failing sizes, by symbol; ``None`` where the failure does not come from sizes."""
        return None if self.smallest is None else dict(self.smallest.cases[0].sizes)

    def __str__(self) -> str:
        error = self.error
        notes = [f"  {note}" for note in self.notes]
        about = f"{self.instance}: {self.format}" if self.instance else self.format
        if self.smallest is None:
            return "\n".join([f"{about}: {error}", *notes])
        sizes = ", ".join(f"{name}={size}" for name, size in (self.sizes or {}).items()) or "no axis is dynamic"
        lines = [f"{about}: {error.stage}: {error.message}", f"  smallest failing sizes: {sizes}"]
        lines.extend(f"    {line}" for line in self.smallest.table().splitlines())
        lines.extend(f"  also tried {one}" for one in error.also_tried)
        return "\n".join([*lines, *notes])


def not_exportable(name: str, failures: Sequence[FormatFailure], passed: Sequence[str] = ()) -> NotExportableError:
    """The error of an assertion.

    Args:
        name: What was asserted: the model's class.
        failures: What failed.
        passed: The formats that did not.
    """
    kept = all(isinstance(one.error, BrokenContractError) for one in failures)
    what = "does not keep its contract in" if kept else "cannot be exported to"
    also = f" ({', '.join(passed)} passes)" if passed else ""
    error = NotExportableError(f"{name} {what} {', '.join(dict.fromkeys(one.format for one in failures))}{also}")
    error.failures = tuple(failures)
    return error


def shrunk(format: str, model: torch.nn.Module, error: TorchportError) -> FormatFailure:
    """The failure of an export that kept what it rejected, with its sizes made as small as they go.

    Args:
        format: The extension.
        model: The model, put back.
        error: What the export raised.
    """
    rejected = error.rejected if isinstance(error, ProofError) else None
    said = getattr(error, "__notes__", ())
    if not isinstance(error, ProofError) or not isinstance(rejected, Rejected) or not isinstance(error.proof, Proof):
        return FormatFailure(format, error, notes=tuple(said))
    gone = str(rejected.artifact.path.parent)  # where the file is kept: only until this returns
    notes = tuple(note for note in said if gone not in note)
    artifact, options = _named_back(rejected), rejected.options
    try:
        with contextlib.ExitStack() as found:
            found.enter_context(one_at_a_time())
            found.enter_context(own_words_only())
            for module in (model, rejected.module):
                found.enter_context(kept_as_found(module))
                if options.set_eval:
                    module.eval()
            found.enter_context(watched())
            smallest = smallest_failure(error.proof, artifact, rejected.reference, options, feeds=rejected.feeds)
    except RuntimeFailure as failure:
        return FormatFailure(format, error, notes=(*notes, f"the sizes could not be shrunk: {failure.message}"))
    return FormatFailure(format, error, smallest, notes)


def _named_back(rejected: Rejected) -> Artifact:
    """The artifact under names that its runtime opens."""
    paths = tuple(path.rename(path.with_name(path.name.removesuffix(".rejected"))) for path in rejected.artifact.paths)
    return replace(rejected.artifact, paths=paths)
