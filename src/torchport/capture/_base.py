"""The base of every capture strategy: times it, keeps it quiet, turns what goes wrong into a value."""

from __future__ import annotations

import abc
import threading
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch

from torchport._options import ExportOptions
from torchport._registry import Registry
from torchport.capture._advice import compiled_part
from torchport.capture._evidence import Witness
from torchport.capture._quiet import listening
from torchport.capture._reasons import reason_of
from torchport.capture._records import Captured, Evidence, Failure, Form
from torchport.errors import OptionError
from torchport.prepare._records import Prepared
from torchport.prepare.multihead_attention import separate_kernels

__all__ = ["Program", "Strategy", "strategies"]

_ONE_AT_A_TIME = threading.RLock()
"""The exporters keep process-wide state (their own flags, the list of warning filters): captures take turns."""


@dataclass(frozen=True)
class Program:
    """What a strategy's own part gives back.

    Attributes:
        payload: The captured program.
        evidence: What the strategy found by itself; the base adds what it heard.
    """

    payload: Any
    evidence: tuple[Evidence, ...] = field(default=())


class Strategy(abc.ABC):
    """One way to turn a prepared module into a program.

    An author gives ``name``, ``forms`` and ``_capture``. The base refuses a form that the strategy does not have, takes
    captures one at a time, runs them without gradients, without fused attention kernels that no format knows, hears the warnings,
    and turns an exception into a `Failure` with its reason.
    """

    name: ClassVar[str]
    forms: ClassVar[frozenset[Form]]
    keeps_decisions: ClassVar[bool] = False
    """Whether an ``if`` or a loop that depends on values stays one in what is captured."""

    @final
    def capture(self, prepared: Prepared, form: Form, options: ExportOptions) -> Captured | Failure:
        """Captures ``prepared`` as ``form``.

        Args:
            prepared: The module, ready to be captured.
            form: What the format needs.
            options: The options of the export.

        Returns:
            The captured program, or the failure with its reason. ``KeyboardInterrupt`` passes through.
        """
        if form not in self.forms:
            raise OptionError(
                f"the strategy {self.name!r} does not give this form",
                stage="capture",
                where="strategy",
                found=form,
                expected=", ".join(sorted(self.forms)),
            )
        started = time.process_time()
        witness = Witness(inputs=len(prepared.example))
        try:
            with _ONE_AT_A_TIME, separate_kernels(), torch.no_grad(), listening(witness.hear, verbose=options.verbose):
                program = self._capture(prepared, form, options, witness)
        except Exception as error:  # noqa: BLE001 - a failure is a value here, whatever it was
            reason = error.message if isinstance(error, CaptureRefusal) else reason_of(error)
            if form != "script" and (part := compiled_part(prepared.module)) is not None:
                reason = f"{part} is TorchScript already, and an exporter follows Python ({reason})"
            return Failure(self.name, error, reason, time.process_time() - started)
        return Captured(
            strategy=self.name,
            form=form,
            payload=program.payload,
            signature=prepared.signature,
            evidence=(*witness.evidence, *program.evidence),
            cpu_seconds=time.process_time() - started,
            limits=prepared.limits,
        )

    @abc.abstractmethod
    def _capture(self, prepared: Prepared, form: Form, options: ExportOptions, witness: Witness) -> Program:
        """The strategy's own part; it may raise anything. ``with witness:`` around a trace tells sizes from values."""


class CaptureRefusal(Exception):
    """Raised inside a strategy that captured something which is not what was declared."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def keeps_decisions(name: str) -> bool:
    """Whether the strategy of that name keeps what Python decides by values."""
    return strategies[name].keeps_decisions


strategies: Registry[Strategy] = Registry("strategy", group="torchport.strategies")
"""Every capture strategy, by name."""
