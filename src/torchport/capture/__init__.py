"""Capture: one strategy a file; each turns a prepared module into a program, or says why it cannot."""

from __future__ import annotations

from torchport._options import ExportOptions
from torchport.capture._advice import advice_on, advice_on_decision
from torchport.capture._base import CaptureRefusal, Program, Strategy, keeps_decisions, strategies
from torchport.capture._evidence import Witness, is_only_a_check
from torchport.capture._opset import asked_opset
from torchport.capture._records import Captured, Evidence, Failure, Form
from torchport.capture.script import Script
from torchport.capture.torch_export import TorchExport
from torchport.capture.trace import Trace

__all__ = [
    # what a strategy takes and gives
    "ExportOptions",
    "asked_opset",
    "Captured",
    "Evidence",
    "Failure",
    "Form",
    "advice_on",
    "advice_on_decision",
    "is_only_a_check",
    "keeps_decisions",
    # writing one
    "CaptureRefusal",
    "Program",
    "Strategy",
    "Witness",
    # those that are there
    "strategies",
]

for _strategy in (Trace(), TorchExport(), Script()):
    strategies.add(_strategy.name, _strategy)
del _strategy
