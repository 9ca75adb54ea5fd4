"""Capture by ``torch.export``: symbolic sizes and guards instead of a recorded example; dearer, and it refuses what it cannot prove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import onnx_ir as ir
import torch
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from torchport._options import ExportOptions
from torchport.capture._base import CaptureRefusal, Program, Strategy
from torchport.capture._evidence import Witness
from torchport.capture._limits import asserted, limits_checked, unchecked
from torchport.capture._opset import asked_opset
from torchport.capture._reasons import reason_of
from torchport.capture._records import Evidence, Form
from torchport.capture._weights import mark_weights, named_tensors
from torchport.ports.limits import Limits
from torchport.prepare._records import Prepared

__all__ = ["TorchExport"]

_NATIVE_OPSET = 18
"""Below it the exporter of PyTorch 2.13 converts with a copy of every weight, and keeps 18 in silence where it cannot: the emitter does."""


class TorchExport(Strategy):
    """``torch.export.export(strict=False)``, and PyTorch's own translation of its program to ONNX.

    Named ``Dim``s come first: they keep shared names shared. Where their constraints are violated, the sizes are left to torch, and every
    declared axis is checked to be symbolic still.
    """

    name: ClassVar[str] = "torch_export"
    forms: ClassVar[frozenset[Form]] = frozenset({"exported", "onnx"})

    def _capture(self, prepared: Prepared, form: Form, options: ExportOptions, witness: Witness) -> Program:
        program = _export(prepared, form)
        evidence = _fixed_outputs(program, prepared)
        if form == "exported":
            return Program(program, evidence)
        return Program(_onnx(program, prepared, options), evidence)


def _export(prepared: Prepared, form: Form) -> ExportedProgram:
    limits = prepared.limits if form == "exported" else Limits()  # an ONNX file gets its checks where it is written
    named = {name: dims for name, dims in prepared.signature.dims().items() if name in prepared.signature.inputs}
    _refuse_example_of_one(prepared, named)
    try:
        with limits_checked(prepared, unchecked(limits), asserted):
            program = _run(prepared, named)
    except Exception as first:
        if not any(named.values()):
            raise
        try:
            with limits_checked(prepared, limits, asserted):
                program = _run(prepared, {name: dict.fromkeys(dims, Dim.AUTO) for name, dims in named.items()})
        except Exception:  # noqa: BLE001 - the first error is the one about the declared axes
            raise first from None
        if fixed := _fixed_inputs(program, prepared):
            raise CaptureRefusal(f"{fixed} ({reason_of(first)})") from first
        return program
    if fixed := _fixed_inputs(program, prepared):
        raise CaptureRefusal(fixed)
    return program


def _run(prepared: Prepared, dims: Mapping[str, Mapping[int, Any]]) -> ExportedProgram:
    shapes = {name: dict(dims.get(name, {})) or None for name in prepared.example}
    return torch.export.export(prepared.module, tuple(prepared.example.values()), dynamic_shapes=shapes, strict=False)


def _refuse_example_of_one(prepared: Prepared, dims: Mapping[str, Mapping[int, Any]]) -> None:
    for name, axes in dims.items():
        for place in axes:
            if prepared.example[name].shape[place] < 2:
                symbol = prepared.signature.symbol(name, place)
                raise CaptureRefusal(
                    f"the example has size {prepared.example[name].shape[place]} on {symbol!r} (axis {place} of {name!r}), "
                    "which torch.export takes for fixed: give an example with 2 or more"
                )


def _fixed_inputs(program: ExportedProgram, prepared: Prepared) -> str | None:
    """What became of declared axes that are no longer symbolic; ``None`` when all are."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    places = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    fixed: dict[str, int] = {}
    for port, place in zip(prepared.signature.inputs, places, strict=True):
        for axis, symbol in prepared.signature.dynamic_axes("inputs").get(port, {}).items():
            value = values[place]
            if value is not None and isinstance(value.shape[axis], int):
                fixed.setdefault(symbol, value.shape[axis])
    if not fixed:
        return None
    return "torch.export fixed " + ", ".join(f"{symbol} at {size}" for symbol, size in fixed.items())


def _fixed_outputs(program: ExportedProgram, prepared: Prepared) -> tuple[Evidence, ...]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    places = [spec.arg.name for spec in program.graph_signature.output_specs if spec.kind is OutputKind.USER_OUTPUT]
    found = []
    for port, place in zip(prepared.signature.outputs, places, strict=False):
        for axis, symbol in prepared.signature.dynamic_axes("outputs").get(port, {}).items():
            value = values.get(place)
            if not isinstance(value, torch.Tensor) or not isinstance(value.shape[axis], int):
                continue
            if symbol in prepared.signature.symbols_of("inputs"):
                raise CaptureRefusal(f"torch.export fixed {symbol} at {value.shape[axis]} in the output {port!r} (axis {axis})")
            found.append(Evidence(f"torch.export fixed {symbol} at {value.shape[axis]} in the output {port!r} (axis {axis})"))
    return tuple(found)


def _onnx(program: ExportedProgram, prepared: Prepared, options: ExportOptions) -> ir.Model:
    exported = torch.onnx.export(
        program,
        dynamo=True,
        input_names=list(prepared.signature.inputs),
        output_names=list(prepared.signature.outputs),
        opset_version=max(asked_opset(options.onnx_opset_version), _NATIVE_OPSET),
        # The optimizer folds small weights: where weights are to stay inputs it must not run.
        optimize=options.do_constant_folding and options.export_params,
        verify=False,
        verbose=options.verbose,
    )
    if exported is None:
        raise CaptureRefusal("the exporter returned no program")
    model = exported.model
    mark_weights(model, named_tensors(prepared.module))
    return model
