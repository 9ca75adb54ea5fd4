"""What a capture strategy returns: the captured program, or its failure as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torchport.ports import Signature
from torchport.ports.limits import Limits

__all__ = ["Captured", "Evidence", "Failure", "Form"]

Form = Literal["onnx", "script", "exported"]
"""``onnx``: an ``onnx_ir.Model``; ``script``: a ``torch.jit.ScriptModule``; ``exported``: a ``torch.export.ExportedProgram``."""


@dataclass(frozen=True)
class Evidence:
    """A warning of the exporter that bears on whether the capture is right.

    Attributes:
        message: The warning's text, without third-party noise.
        file: The model's source file that caused it, if known.
        line: The line in ``file``.
        decisive: No example can settle it (control flow that depends on values).
        told: The user should know of it, though nothing hangs on it.
    """

    message: str
    file: str | None = None
    line: int | None = None
    decisive: bool = False
    told: bool = False


@dataclass(frozen=True)
class Captured:
    """A program captured from a prepared module.

    Attributes:
        strategy: The strategy's name.
        form: What ``payload`` is.
        payload: The captured program.
        signature: The graph's ports, in graph order.
        evidence: What the exporter warned of.
        cpu_seconds: CPU time of the capture.
        limits: Sizes outside of which what is written from it must fail.
    """

    strategy: str
    form: Form
    payload: Any
    signature: Signature
    evidence: tuple[Evidence, ...] = ()
    cpu_seconds: float = 0.0
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Failure:
    """A strategy that failed: never a silent fallback, always with its reason."""

    strategy: str
    error: BaseException
    reason: str
    cpu_seconds: float = 0.0
