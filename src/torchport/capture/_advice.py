"""What a strategy is known not to take, said in place of the exporter's own words, and what to try instead."""

from __future__ import annotations

import ast
import linecache

import torch
from torch import nn

from torchport.capture._records import Evidence, Failure

__all__ = ["advice_on", "advice_on_decision", "compiled_part"]


def compiled_part(module: nn.Module) -> str | None:
    """The first part of the model that is TorchScript already, in words; ``None`` where there is none."""
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            return f"`{path}`, a part of the model," if path else "the model"
    return None


def advice_on(failure: Failure, module: nn.Module, others: str, keeping: str) -> str | None:
    """What to try after a strategy failed.

    Args:
        failure: What it failed with.
        module: The model.
        others: The extensions of formats that are captured in other ways, in words; empty where there are none.
        keeping: Those of formats that keep what Python decides by values.
    """
    if compiled_part(module) is not None:
        return "export the Python module that it was compiled from, or write a TorchScript file (.ts)"
    optimized = next((path for path, part in module.named_modules() if hasattr(part, "_orig_mod")), None)  # as torch.compile names it
    if optimized is not None and failure.strategy != "torch_export":
        whose = optimized or "the model"
        return f"torch.compile made {whose}: export what it was made from ({whose}._orig_mod){f', or write {others}' if others else ''}"
    recurrent = [(path, part) for path, part in module.named_modules() if isinstance(part, nn.RNNBase)]
    if failure.strategy == "torch_export" and recurrent and others:
        path, part = recurrent[0]
        limits = "fixes its steps at those of the example, and does not follow packed sequences"
        return f"torch.export looks into nn.{type(part).__name__}{f' `{path}`' if path else ''}, {limits}: write {others}"
    if ".numpy() is not supported" in str(failure.error):
        return _without_numpy()
    if any(one.__name__ == "GuardOnDataDependentSymNode" for one in type(failure.error).__mro__):  # torch gives it no public name
        return advice_on_decision(keeping)
    return f"a file of another kind is captured in other ways: {others}" if others else None


def _without_numpy(file: str | None = None, line: int | None = None) -> str:
    calls = _numpy_calls(file, line)
    known = ", ".join(f"torch.{name} for {call}" for call, name in calls.items() if hasattr(torch, name))
    return f"no format holds what NumPy computes: compute it with torch{f' ({known})' if known else ''}, and leave the tensor a tensor"


def _numpy_calls(file: str | None, line: int | None) -> dict[str, str]:
    """The functions of NumPy that are called in the function of that line, as they are written, with their own names."""
    try:
        tree = ast.parse("".join(linecache.getlines(file or "")))
    except (SyntaxError, ValueError):
        return {}
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.lineno <= (line or 0) <= (node.end_lineno or 0)
    ]
    calls: dict[str, str] = {}
    for node in ast.walk(around[-1]) if around else ():
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in ("np", "numpy"):
            calls[ast.unparse(called)] = called.attr
    return calls


def advice_on_decision(keeping: str, evidence: Evidence | None = None) -> str:
    """What to try where Python decides by values, or takes a number from them.

    Args:
        keeping: The extensions of other formats that keep such decisions, in words; empty where there are none.
        evidence: What the tracer saw; NumPy is kept by no format.
    """
    if evidence is not None and any(word in evidence.message.partition(":")[0] for word in ("NumPy array", "__dlpack__")):
        return _without_numpy(evidence.file, evidence.line)
    said = "keep the value a tensor: a decision is torch.where, or torch.cond for torch.export"
    return f"{said}; or write {keeping}: scripting keeps what Python decides by values" if keeping else said
