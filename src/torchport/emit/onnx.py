"""ONNX: one clean file up to 2 GB, above that one data file beside it; the ports exactly as declared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import onnx_ir as ir
from onnx_ir.passes import common

from torchport._options import ExportOptions
from torchport.capture import Captured, Form
from torchport.capture._opset import asked_opset
from torchport.capture._weights import WEIGHT
from torchport.emit._base import Format, Written
from torchport.emit._content import Content
from torchport.emit._onnx_canonical import declare_ports, merge_constants, name_everything, strip, tidy
from torchport.emit._onnx_content import onnx_content
from torchport.emit._onnx_file import EXTERNAL_FROM, read_properties, write_model
from torchport.emit._onnx_fold import fold_constants
from torchport.emit._onnx_limits import keep_limits
from torchport.emit._onnx_nearest import gather_nearest
from torchport.emit._onnx_opset import convert, ir_version_for
from torchport.emit._onnx_powers import multiply_powers
from torchport.emit._onnx_ramp import count_from_both_ends
from torchport.emit._onnx_rounding import round_in_double
from torchport.emit._origins import keep_origins, origins_of_graph, take_origins

__all__ = ["Onnx"]


class Onnx(Format):
    """An ``.onnx`` file.

    Args:
        external_from: From this total size in bytes on, weights go to ``<name>.onnx.data``.
    """

    name: ClassVar[str] = "onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    form: ClassVar[Form] = "onnx"
    strategies: ClassVar[tuple[str, ...]] = ("trace", "torch_export")
    runtime: ClassVar[str] = "onnxruntime"
    can_lift_weights: ClassVar[bool] = True

    def __init__(self, external_from: int = EXTERNAL_FROM) -> None:
        self._external_from = external_from

    def _write(self, captured: Captured, path: Path, options: ExportOptions, metadata: Mapping[str, str]) -> Written:
        opset = asked_opset(options.onnx_opset_version)
        model: ir.Model = captured.payload.clone()
        origins = take_origins(model) if options.debug_map is not None else {}
        tidy(model)
        model = convert(model, opset)
        multiply_powers(model)
        round_in_double(model)
        gather_nearest(model)
        count_from_both_ends(model)
        keep_origins(model, origins)
        weights = {name for name, value in model.graph.initializers.items() if WEIGHT in value.meta}
        unused = declare_ports(model, captured.signature)
        strip(model)
        merge_constants(model, weights)
        if not options.export_params:
            _lift(model, weights)
        elif options.do_constant_folding:
            fold_constants(model, opset)
        common.RemoveUnusedNodesPass()(model)
        name_everything(model, captured.signature, weights)
        if captured.limits:
            keep_limits(model, captured.signature, captured.limits)
        if options.keep_initializers_as_inputs:
            common.AddInitializersToInputsPass()(model)
        model.ir_version = ir_version_for(model)
        model.metadata_props.update(sorted(metadata.items()))
        origins = origins_of_graph(model) if origins else {}
        return Written(write_model(model, path, external_from=self._external_from), opset, unused, origins)

    def read_metadata(self, path: Path) -> dict[str, str]:
        """The model's ``metadata_props``."""
        return read_properties(path)

    def read_content(self, path: Path) -> Content:
        """The initializers of the main graph, and everything else; weights beside the file count as if they were inside."""
        return onnx_content(path)


def _lift(model: ir.Model, weights: set[str]) -> None:
    """Leaves the weights as inputs, after the declared ones, under the parameters' own names."""
    for name, value in list(model.graph.initializers.items()):
        if name in weights:
            del model.graph.initializers[name]
            value.const_value = None
            model.graph.inputs.append(value)
