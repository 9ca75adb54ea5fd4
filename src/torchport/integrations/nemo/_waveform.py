"""A NeMo model that starts at the waveform: its mel front end and its encoder in one graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchport.errors import HookError
from torchport.integrations.nemo._graph import BATCH, Graph, limited_time, ports_of

__all__ = ["FromWaveform", "Fused", "from_waveform"]

_SIGNAL, _LENGTH = "input_signal", "input_signal_length"
_FRAMES = 101
"""The frames of the example."""


class Fused(nn.Module):
    """A front end and what takes its features.

    Args:
        preprocessor: NeMo's front end.
        inner: The encoder, or the model that is exported whole.
    """

    def __init__(self, preprocessor: nn.Module, inner: nn.Module) -> None:
        super().__init__()
        self.preprocessor, self.inner = preprocessor, inner

    def forward(self, input_signal: torch.Tensor, input_signal_length: torch.Tensor) -> Any:
        """What the export computes."""
        return self.graph().forward(input_signal=input_signal, input_signal_length=input_signal_length)

    def graph(self) -> Graph:
        """The graph of both.

        Raises:
            HookError: The inner module takes more than features and their lengths: a stream is fed features.
        """
        from torchport.integrations.nemo._families import graph_of

        first: Any = self.preprocessor
        front, inner = graph_of(self.preprocessor), graph_of(self.inner)
        if list(inner.inputs)[2:] or "audio_signal" not in inner.inputs:
            raise HookError(
                "only a graph that takes features and their lengths can start at the waveform",
                where=f"{type(self.inner).__module__}.{type(self.inner).__qualname__}",
                found=", ".join(inner.inputs),
                hint="export the front end by itself: torchport.export(model.preprocessor, path)",
            )
        hop = int(first.hop_length)
        most = next((one.max for one in inner.inputs["audio_signal"].axes or () if getattr(one, "max", None)), None)
        longest = None if most is None else (most - 1) * hop  # a front end may give a frame more than there are hops
        samples = _FRAMES * hop + 37 if longest is None else min(_FRAMES * hop + 37, longest)
        example = {
            _SIGNAL: torch.randn(BATCH, samples),
            _LENGTH: torch.tensor([samples - place * samples // (2 * BATCH) for place in range(BATCH)]),
        }
        signal, length = ports_of(first.input_types, list(first.input_types)[:2]).values()

        def forward(input_signal: Any, input_signal_length: Any) -> Any:
            features, lengths = front.forward(input_signal=input_signal, length=input_signal_length)
            return inner.forward(audio_signal=features, length=lengths)

        return Graph(forward, {_SIGNAL: limited_time(signal, longest), _LENGTH: length}, inner.outputs, example)


class FromWaveform(nn.Module):
    """What `from_waveform` gives: a model whose first graph takes waveforms.

    Args:
        model: The NeMo model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def list_export_subnets(self) -> list[str]:
        """Those of the model."""
        model: Any = self.model
        return list(model.list_export_subnets())

    def get_export_subnet(self, subnet: str = "self") -> nn.Module:
        """The model's own, with the front end before the one that takes features."""
        model: Any = self.model
        part: nn.Module = model.get_export_subnet(subnet)
        return Fused(model.preprocessor, part) if subnet in ("self", "encoder") else part


def from_waveform(model: nn.Module) -> FromWaveform:
    """A NeMo model to be exported from the waveform on; the model itself stays what it is.

    Args:
        model: A model with a ``preprocessor``.

    Raises:
        HookError: It has none.

    Example:
        >>> torchport.export(from_waveform(model), "ctc.onnx")  # doctest: +SKIP
    """
    if not isinstance(getattr(model, "preprocessor", None), nn.Module):
        raise HookError("the model has no front end", where=f"{type(model).__module__}.{type(model).__qualname__}.preprocessor")
    return FromWaveform(model)
