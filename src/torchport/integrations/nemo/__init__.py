"""NeMo models and modules: what graph each stands for, in NeMo's own names. NeMo is never imported here: its objects bring it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torchport.integrations._base import Integration, inherits

if TYPE_CHECKING:
    from torchport.integrations.nemo._graph import Graph

__all__ = ["Nemo"]

_NAMES = frozenset({"nemo.core.classes.module.NeuralModule", "nemo.core.classes.exportable.Exportable"})


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

        return metadata_of(module, part)

    def prepare(self, module: Any, *, swaps: bool) -> None:
        """Empties tables that masks are made of, so that the capture makes them of its own sizes; layers that are swapped need none."""
        from torchport.integrations.nemo._tables import empty_tables

        empty_tables(module, needed=not swaps)


def _graph_of(module: Any) -> Graph:
    from torchport.integrations.nemo._families import graph_of

    return graph_of(module)
