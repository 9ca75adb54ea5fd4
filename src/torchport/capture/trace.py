"""Capture by running the example and recording what happens: cheapest, blind to branches and to sizes read as Python numbers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import onnx
import onnx_ir as ir
import torch

from torchport._options import ExportOptions
from torchport.capture._base import Program, Strategy
from torchport.capture._evidence import Witness
from torchport.capture._limits import compiled, limits_checked
from torchport.capture._native import quiet_native_warnings
from torchport.capture._opset import TRACE_MAX_OPSET, asked_opset
from torchport.capture._packed import PaddedToLongest, is_about_packing, outputs_in_use
from torchport.capture._pools import PoolsBySize, is_about_pools
from torchport.capture._records import Evidence, Form
from torchport.capture._shapes import shapes_without_weights
from torchport.capture._weights import bind_weights, named_tensors
from torchport.ports import Direction
from torchport.prepare._records import Prepared

__all__ = ["Trace"]

_DIRECTIONS: dict[str, Direction] = {"in": "inputs", "out": "outputs"}


_POOLS = "adaptive pools that the exporter knows no operator for are computed by a matrix of their size"


class Trace(Strategy):
    """``torch.jit.trace`` for TorchScript; the trace-based exporter with lifted weights for ONNX.

    The exporter copies every weight several times. Exported with ``export_params=False`` it leaves them as inputs of the graph, which are
    then bound by name to the module's own storage.
    """

    name: ClassVar[str] = "trace"
    forms: ClassVar[frozenset[Form]] = frozenset({"onnx", "script"})

    def _capture(self, prepared: Prepared, form: Form, options: ExportOptions, witness: Witness) -> Program:
        if form == "script":
            return Program(_script(prepared, options, witness))
        try:
            return Program(_onnx(prepared, options, witness))
        except RuntimeError as error:
            if is_about_pools(error):
                with PoolsBySize():
                    return Program(_onnx(prepared, options, witness), (Evidence(_POOLS, told=True),))
            if not is_about_packing(error):
                raise
            return _with_packed_outputs(prepared, options, witness, error)


def _with_packed_outputs(prepared: Prepared, options: ExportOptions, witness: Witness, error: RuntimeError) -> Program:
    """The program with the outputs of packed sequences read beside their last states: of as few layers as the exporter is content with."""
    for every in (False, True):
        with outputs_in_use(prepared, every=every) as layers:
            if not layers:
                continue
            said = f"the outputs of {', '.join(layers)}, which nobody reads, are read in the file, with nothing added to the last state"
            try:
                return Program(_onnx(prepared, options, witness), (Evidence(said, told=True),))
            except RuntimeError as another:
                if every or not is_about_packing(another):
                    raise
    raise error


def _onnx(prepared: Prepared, options: ExportOptions, witness: Witness) -> ir.Model:
    module, signature = prepared.module, prepared.signature
    training = any(one.training for one in module.modules())
    buffer = io.BytesIO()
    # Names of our own while exporting: a weight may be called as a port is, and the exporter would rename it.
    private = {**_private(signature.inputs, "in"), **_private(signature.outputs, "out")}
    with contextlib.ExitStack() as stack:
        stack.enter_context(quiet_native_warnings(verbose=options.verbose))
        stack.enter_context(_quiet_graph_log(module, options.verbose))
        stack.enter_context(shapes_without_weights())
        stack.enter_context(PaddedToLongest())
        stack.enter_context(witness)
        torch.onnx.export(
            module,
            tuple(prepared.example.values()),
            buffer,  # type: ignore[arg-type]  # a stream is what the trace-based exporter takes, only the hint is narrower
            dynamo=False,
            export_params=False,
            # Equal but different weights stay different: without this the exporter merges them by value.
            keep_initializers_as_inputs=True,
            # Folding weights that have no value yet leaves inputs without a name; the emitter folds.
            do_constant_folding=False,
            input_names=[private["in", name] for name in signature.inputs],
            output_names=[private["out", name] for name in signature.outputs],
            dynamic_axes={
                private[way, name]: axes for way in ("in", "out") for name, axes in signature.dynamic_axes(_DIRECTIONS[way]).items()
            },
            opset_version=min(asked_opset(options.onnx_opset_version), TRACE_MAX_OPSET),
            training=torch.onnx.TrainingMode.PRESERVE if training else torch.onnx.TrainingMode.EVAL,
            # Only then the exporter keeps, beside each node, the source lines that it comes from.
            verbose=options.verbose or options.debug_map is not None,
        )
    model = ir.from_proto(onnx.load_from_string(buffer.getvalue()))
    bind_weights(model, named_tensors(module), {private["in", name] for name in signature.inputs})
    public = {name: key[1] for key, name in private.items()}
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.name = public[str(value.name)]
    return model


@contextmanager
def _quiet_graph_log(module: torch.nn.Module, verbose: bool) -> Iterator[None]:
    """Keeps the exporter from printing its whole graph to the process's stdout when it fails.

    PyTorch 2.13 switches that log on at every export, never off again, whatever ``verbose`` says. It is written from C++, out of reach of
    ``contextlib.redirect_stdout``. The first thing that runs after it was switched on is the model: there it is switched off. Needed until
    the trace-based exporter is removed, or tests the log's state instead of the function that reads it.
    """
    before = torch._C._jit_is_onnx_log_enabled()

    def switch(*_: object) -> None:
        torch._C._jit_set_onnx_log_enabled(verbose)

    hook = module.register_forward_pre_hook(switch)
    try:
        yield
    finally:
        hook.remove()
        torch._C._jit_set_onnx_log_enabled(before)


def _private(names: Iterable[str], way: str) -> dict[tuple[str, str], str]:
    return {(way, name): f"torchport_{way}_{place}" for place, name in enumerate(names)}


def _script(prepared: Prepared, options: ExportOptions, witness: Witness) -> torch.jit.ScriptModule:
    with limits_checked(prepared, prepared.limits, compiled), witness:
        return torch.jit.trace(  # type: ignore[no-any-return, no-untyped-call]
            prepared.module, tuple(prepared.example.values()), check_trace=bool(options.check_trace)
        )
