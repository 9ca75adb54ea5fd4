"""Capture by compiling the model's source: keeps branches and loops, understands a part of Python only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

from torchport._options import ExportOptions
from torchport.capture._base import CaptureRefusal, Program, Strategy
from torchport.capture._evidence import Witness
from torchport.capture._records import Form
from torchport.prepare._records import Prepared

__all__ = ["Script"]


class Script(Strategy):
    """``torch.jit.script`` of the model's own forward, or of ``forward_for_export``.

    The compiled method keeps its own parameters. It stands for the signature only where those parameters are the declared inputs and its
    answer is tensors in the declared order; otherwise this is a failure, and tracing is the way.
    """

    name: ClassVar[str] = "script"
    forms: ClassVar[frozenset[Form]] = frozenset({"script"})
    keeps_decisions: ClassVar[bool] = True

    def _capture(self, prepared: Prepared, form: Form, options: ExportOptions, witness: Witness) -> Program:
        with _native(prepared):
            scripted = torch.jit.script(prepared.module)
        _check_inputs(scripted, prepared)
        _check_outputs(scripted, prepared)
        return Program(scripted)


@contextmanager
def _native(prepared: Prepared) -> Iterator[None]:
    """The module with its own forward as *the* forward, not the flat one.

    The compiler caches what it compiled by the Python class. A forward that is not the class's own gets a class of its own, so that neither
    compiles as the other.
    """
    module = prepared.module
    function = getattr(prepared.native_forward, "__func__", None)
    if function is None or getattr(prepared.native_forward, "__self__", None) is not module:
        raise CaptureRefusal("scripting compiles a method of the model, and this forward is not one")
    kind = type(module)
    flat = module.__dict__.pop("forward", None)
    try:
        if function is not kind.forward:
            module.__class__ = type(kind.__name__, (kind,), {"forward": function, "__module__": kind.__module__})
        yield
    finally:
        if module.__class__ is not kind:
            module.__class__ = kind
        if flat is not None:
            module.__dict__["forward"] = flat


def _check_inputs(scripted: torch.jit.ScriptModule, prepared: Prepared) -> None:
    arguments = scripted.forward.schema.arguments[1:]  # type: ignore[attr-defined]  # a compiled method has it, the hints do not
    declared = list(prepared.signature.inputs)
    names = [one.name for one in arguments]
    if unknown := [name for name in declared if name not in names]:
        raise CaptureRefusal(f"a scripted forward takes {', '.join(names)}, not {', '.join(unknown)}: nested inputs need tracing")
    if needed := [one.name for one in arguments if one.name not in declared and not one.has_default_value()]:
        raise CaptureRefusal(f"a scripted forward needs {', '.join(needed)} too, which is no input of the graph")
    order = [name for name in names if name in declared]
    if order != declared or names[: len(order)] != order:
        raise CaptureRefusal(f"a scripted forward takes its inputs as {', '.join(names)}, declared is {', '.join(declared)}")


def _check_outputs(scripted: torch.jit.ScriptModule, prepared: Prepared) -> None:
    answer = scripted(**prepared.example)
    found, wanted = len(_tensors(answer)), len(prepared.signature.outputs)
    if found != wanted:
        raise CaptureRefusal(
            f"a scripted forward answers with {found} tensors, declared are {wanted}: {', '.join(prepared.signature.outputs)}"
        )


def _tensors(answer: Any) -> list[torch.Tensor]:
    if isinstance(answer, torch.Tensor):
        return [answer]
    if isinstance(answer, dict):
        return [one for value in answer.values() for one in _tensors(value)]
    if isinstance(answer, (tuple, list)):
        return [one for value in answer for one in _tensors(value)]
    return []
