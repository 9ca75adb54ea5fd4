"""What is said when the model itself fails on its example: the module that refused, what reached it, what was declared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from torchport._frames import last_line
from torchport.errors import PortError, ReferenceRunError
from torchport.ports import Port, Signature

if TYPE_CHECKING:
    import torch

__all__ = ["MADE_FOR_A_FILE", "MADE_FROM_TYPES", "failed_run", "resolved"]

MADE_FROM_TYPES = "an example made from input_types"
"""What an example that nobody gave is called."""

MADE_FOR_A_FILE = "an example made from the ports of the file, or from input_types"
"""The same, where a file is held against a model."""

_MAX = 600

_BUGS = (AttributeError, NameError, ImportError, NotImplementedError)
"""What no other input mends."""

_OWN = "this is an error of the model's own code: call the model yourself to see it"


def failed_run(
    error: Exception, module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], declared: Mapping[str, Port], origin: str
) -> ReferenceRunError:
    """The error to raise in place of what the model raised.

    Args:
        error: What the model raised.
        module: The model.
        tensors: What it was called with, by flat name.
        declared: The ports that were declared, by flat name.
        origin: Where the example comes from, in words.
    """
    text = str(error).strip()
    text = text if len(text) <= _MAX else f"{text[:_MAX]} …"
    places = [_refusing_module(error, module), last_line(error)]
    return ReferenceRunError(
        f"the model itself fails on {origin}: {type(error).__name__}: {text}",
        where=", at ".join(place for place in places if place) or None,
        found="; ".join(_given(name, tensor, declared.get(name)) for name, tensor in tensors.items()),
        expected="an example that the model answers",
        hint=_OWN if isinstance(error, _BUGS) else _hint(text, tensors, declared, origin),
    )


def resolved(signature: Signature, inputs: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]) -> Signature:
    """The signature with what the example and its answer show; what they contradict is said with what to change.

    Raises:
        PortError: A tensor is not what its port declares.
    """
    try:
        return signature.resolved(inputs=inputs, outputs=outputs)
    except PortError as error:
        if error.hint is None and error.where is not None:
            name = error.where.partition(",")[0]
            way = "output" if name in outputs and name not in inputs else "input"
            given = "forward returns" if way == "output" else "the example holds"
            error.hint = f"the {way} {name} is declared as {signature.port(name)}: declare what {given}"
        raise


def _given(name: str, tensor: torch.Tensor, port: Port | None) -> str:
    said = "" if port is None or port.axes is None else f", declared {port.text!r}"
    return f"{name} {tuple(tensor.shape)} {tensor.dtype}{_range(tensor)}{said}"


def _range(tensor: torch.Tensor) -> str:
    """The least and the greatest whole number of a tensor, in words: indices may be out of range."""
    import torch

    plain = not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype is not torch.bool
    return f" from {int(tensor.min())} to {int(tensor.max())}" if plain and tensor.numel() and not tensor.is_meta else ""


def _hint(text: str, tensors: Mapping[str, torch.Tensor], declared: Mapping[str, Port], origin: str) -> str:
    suspects = [suspect for name, port in declared.items() if name in tensors for suspect in _suspects(name, port, tensors[name], text)]
    if not suspects and re.search(r"\bLong\b|int64|used as indices", text):
        suspects = _whole(tensors, declared)
    if not suspects and re.search("dtype|scalar type", text):
        given = [f"{name} is {str(tensor.dtype).removeprefix('torch.')}" for name, tensor in tensors.items() if name in declared]
        suspects = [f"the model takes another dtype, and {', '.join(given)}"] if given else []
    if not suspects and "index out of range" in text:
        whole = [name for name, tensor in tensors.items() if _range(tensor)]
        suspects = [f"an index may be too large in {', '.join(whole)}: TokenIndex(num_classes=…) says how many there are"] if whole else []
    said = f"{suspects[0]}; " if len(suspects) == 1 else ""
    if origin == MADE_FOR_A_FILE:
        return f"{said}hold the file against the model that it was made from, or pass an input_example that this one answers"
    if origin == MADE_FROM_TYPES:
        return f"{said}declare what the model takes, or pass an input_example that it answers"
    return f"{said}call the model with this example yourself"


def _whole(tensors: Mapping[str, torch.Tensor], declared: Mapping[str, Port]) -> list[str]:
    """What to declare where the model wants whole numbers and an input is of fractions."""
    names = [
        name for name, tensor in tensors.items() if tensor.is_floating_point() and name in declared and declared[name].axes is not None
    ]
    if not names:
        return []
    axes = declared[names[0]].text
    who = f"`{names[0]}` has to" if len(names) == 1 else f"one of {', '.join(names)} has to"
    way = f'input_types={{"{names[0]}": ("{axes}", "int64")}} (--input-type "{names[0]}={axes},int64")'
    return [f"{who} hold whole numbers, as in {way}"]


def _suspects(name: str, port: Port, tensor: torch.Tensor, text: str) -> Iterator[str]:
    """Axes whose size the model's error speaks of, not as part of a whole shape; the sizes of batches are too small to tell."""
    numbers = {int(number) for number in re.findall(r"\d+", re.sub(r"\[[\d, ]*\]", "", text))}
    for index, (axis, size) in enumerate(zip(port.axes or (), tensor.shape, strict=False)):
        if size not in numbers:
            continue
        if axis.dynamic and axis.name != "batch" and size > 3:
            yield f"{name} declares axis {index} (`{axis.name}`) to vary, and {size} was tried: a size that never varies is a number"
        elif axis.size is not None and size > 1:
            yield f"{name} declares {size} on axis {index}"


def _refusing_module(error: BaseException, model: torch.nn.Module) -> str | None:
    """The innermost module that was running, with its settings and the shapes that it was called with."""
    import torch

    paths = {id(part): path for path, part in model.named_modules()}
    found: tuple[str, torch.nn.Module, FrameType] | None = None
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, torch.nn.Module) and id(owner) in paths:
            found = paths[id(owner)], owner, trace.tb_frame
        trace = trace.tb_next
    if found is None or not found[0]:
        return None
    path, part, frame = found
    shapes = [str(tuple(value.shape)) for value in _arguments(frame) if isinstance(value, torch.Tensor) and not _is_weight(value, part)]
    given = f", which was given {', '.join(shapes)}" if shapes else ""
    return f"{path} = {type(part).__name__}({part.extra_repr()}){given}"


def _arguments(frame: FrameType) -> list[Any]:
    return [frame.f_locals.get(name) for name in frame.f_code.co_varnames[: frame.f_code.co_argcount]]


def _is_weight(value: torch.Tensor, part: torch.nn.Module) -> bool:
    return any(value is weight for weight in part.parameters(recurse=False))
