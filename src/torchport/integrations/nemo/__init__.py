"""NeMo models and modules: what graph each stands for, in NeMo's own names. NeMo is never imported here: its objects bring it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torchport.integrations._base import Integration, inherits

if TYPE_CHECKING:
    import torch

    from torchport.integrations.nemo._graph import Graph
    from torchport.integrations.nemo._waveform import FromWaveform

__all__ = ["Nemo", "from_waveform"]

_FUSED = "torchport.integrations.nemo._waveform"
_NAMES = frozenset(
    {
        "nemo.core.classes.module.NeuralModule",
        "nemo.core.classes.exportable.Exportable",
        f"{_FUSED}.FromWaveform",
        f"{_FUSED}.Fused",
    }
)


def from_waveform(model: torch.nn.Module) -> FromWaveform:
    """A NeMo model to be exported from the waveform on: its mel front end and its encoder become one graph.

    Args:
        model: A model with a ``preprocessor``; it stays what it is.

    Raises:
        HookError: It has none.

    Example:
        >>> torchport.export(from_waveform(model), "ctc.onnx")  # doctest: +SKIP
    """
    from torchport.integrations.nemo._waveform import from_waveform as made

    return made(model)


class Nemo(Integration):
    """Reads NeMo's neural types, examples and parts, and exports what the model computes before anything was prepared.

    NeMo's own ``_prepare_for_export`` is not called: it switches masks off, removes the start symbol and the normalisation, and so
    changes what the model answers. What the graph is instead is said in ``docs/nemo.md``.
    """

    name = "nemo"
    speaks_for_its_modules: ClassVar[bool] = True

    def matches(self, module: object) -> bool:
        """By the class's name."""
        return inherits(module, _NAMES)

    def hooks(self, module: Any) -> Mapping[str, Any]:
        """The graph under torchport's names."""
        graph: Graph = _graph_of(module)
        return {
            "forward": graph.forward,
            "input_example": graph.example,
            "input_types": graph.inputs,
            "output_types": graph.outputs,
        }

    def metadata(self, module: Any, subnet: str, part: Any) -> Mapping[str, Any]:
        """Vocabulary, feature settings, states and whatever else a decoder needs."""
        from torchport.integrations.nemo._metadata import metadata_of

        if not inherits(module, frozenset({f"{_FUSED}.FromWaveform"})):
            return metadata_of(module, part)
        fused = inherits(part, frozenset({f"{_FUSED}.Fused"}))
        stated = metadata_of(module.model, (part.inner if fused else part))
        if fused:
            ports = {role: name for role, name in stated.get("ports", {}).items() if not role.startswith("feature")}
            stated["ports"] = {"waveform": "input_signal", "waveform_lengths": "input_signal_length", **ports}
        return stated

    def prepare(self, module: Any, *, swaps: bool) -> None:
        """Empties tables that masks are made of, so that the capture makes them of its own sizes; layers that are swapped need none.

        A FastPitch of ragged batches takes its rows apart without NeMo's loop over them.
        """
        from torchport.integrations.nemo._ragged import is_ragged, without_loop
        from torchport.integrations.nemo._tables import empty_tables

        empty_tables(module, needed=not swaps)
        if is_ragged(module):
            module.forward_for_export = without_loop(module)


def _graph_of(module: Any) -> Graph:
    from torchport.integrations.nemo._families import graph_of

    return graph_of(module)
