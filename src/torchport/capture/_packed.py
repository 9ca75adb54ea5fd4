"""Packed sequences, where the trace-based exporter writes them otherwise than torch computes them, or not at all."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.overrides import TorchFunctionMode

from torchport.prepare._records import Prepared
from torchport.prepare._vault import dispatch_mode, pointer_of, tensors_in

__all__ = ["PaddedToLongest", "is_about_packing", "outputs_in_use"]


class PaddedToLongest(TorchFunctionMode):
    """Inside, ``pad_packed_sequence`` gives in the file what it gives in torch.

    By itself the exporter lets it end with the axis and not with the longest row, pads with zeros whatever was asked for, and counts
    lengths in int32. Where it ends with ``total_length`` is right.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") != "_pad_packed_sequence":
            return answer
        padded, lengths = answer
        _, _, batch_first, padding, *_ = args
        lengths = lengths.to(torch.int32).to(torch.int64)  # int32 in the file, whatever it is here
        if _ends_with_longest(sys._getframe(1)):
            longest = lengths.max()
            padded = padded[:, :longest] if batch_first else padded[:longest]
        if padding:
            inside = torch.arange(padded.shape[1 if batch_first else 0], device=padded.device) < lengths.to(padded.device)[:, None]
            inside = inside if batch_first else inside.T
            padded = torch.where(inside.reshape(*inside.shape, *[1] * (padded.dim() - 2)), padded, padding)
        return padded, lengths


def _ends_with_longest(frame: FrameType | None) -> bool:
    """Whether ``pad_packed_sequence`` was called without a length to pad to."""
    while frame is not None and frame.f_code is not pad_packed_sequence.__code__:
        frame = frame.f_back
    return frame is not None and frame.f_locals.get("total_length") is None


def is_about_packing(error: Exception) -> bool:
    """Whether the exporter fell over an output that nobody reads: PyTorch 2.13 looks up its first use without asking for one."""
    return isinstance(error, RuntimeError) and "_M_range_check" in str(error)


@contextlib.contextmanager
def outputs_in_use(prepared: Prepared, *, every: bool = False) -> Iterator[list[str]]:
    """Inside, last states of packed sequences are read together with the outputs beside them, which the exporter asks for.

    What is added to a state is the sum of no number at all: nothing, in every runtime.

    Args:
        prepared: The model.
        every: Of all layers with packed sequences; else of those whose outputs no operation takes. An operation may take them and be
            read by nobody itself: then it is not in the graph.

    Yields:
        The paths of the layers.
    """
    idle = _idle(prepared, every=every)
    with contextlib.ExitStack() as stack:
        for layer in idle:
            stack.callback(layer.register_forward_hook(_read_outputs).remove)
        yield [path for path, part in prepared.module.named_modules() if part in idle]


def _read_outputs(layer: Any, args: tuple[Any, ...], answer: Any) -> Any:
    outputs, states = answer
    if not isinstance(outputs, PackedSequence):
        return answer
    nothing = pad_packed_sequence(outputs, batch_first=layer.batch_first)[0].flatten()[:0].sum()
    return outputs, tuple(state + nothing for state in states) if isinstance(states, tuple) else states + nothing


def _idle(prepared: Prepared, *, every: bool) -> list[nn.Module]:
    """The recurrent layers that give a packed sequence of outputs which no operation takes, or all that give one."""
    given: dict[tuple[str, int] | None, nn.Module] = {}
    kept: list[torch.Tensor] = []
    taken: set[tuple[str, int] | None] = set()

    def note(layer: nn.Module, _: Any, answer: Any) -> None:
        if isinstance(answer[0], PackedSequence):
            kept.append(answer[0].data)  # nothing else takes its place in memory meanwhile
            place = pointer_of(answer[0].data)
            given[place] = layer
            taken.discard(place)  # what lay there before is another's

    layers = [part for part in prepared.module.modules() if isinstance(part, nn.RNNBase)]
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(note).remove)
        stack.enter_context(dispatch_mode(lambda _, args, kwargs: taken.update(map(pointer_of, tensors_in((args, kwargs))))))
        prepared.module(*prepared.example.values())
    return list({id(layer): layer for place, layer in given.items() if every or place not in taken}.values())
