"""The proof: an artifact is held against the untouched model, in its real runtime, at sizes it was not traced with."""

from __future__ import annotations

from torchport.verification._records import Case, CaseResult, Finding, Refusal
from torchport.verification.comparison import Difference, compare
from torchport.verification.proof import prove
from torchport.verification.record import Proof
from torchport.verification.reference import Reference, take_reference
from torchport.verification.runtimes import PortInFile, Runtime, Session, open_artifact, runtime_for, runtimes
from torchport.verification.sizes import cover
from torchport.verification.smallest import smallest_failure
from torchport.verification.tolerance import tolerance_of

__all__ = [
    # what a proof is held against, and what it says
    "take_reference",
    "Reference",
    "prove",
    "Proof",
    "smallest_failure",
    "Case",
    "CaseResult",
    "Finding",
    "Refusal",
    # its parts
    "cover",
    "compare",
    "Difference",
    "tolerance_of",
    # runtimes
    "open_artifact",
    "runtime_for",
    "runtimes",
    "Runtime",
    "Session",
    "PortInFile",
]
