"""Which time axis a length or mask port measures, and lengths that fit it."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Literal

from torchport.ports.axis import AxisKind
from torchport.ports.port import Port

if TYPE_CHECKING:
    import torch

    from torchport.ports.signature import Signature

__all__ = ["Fill", "draw_lengths", "draw_offsets", "lengths_by_name", "measured_axis", "stem_of"]

Fill = Literal["full", "short", "mixed", "below"]

_MEASURES = ("length", "mask", "offset")
"""Values that tell of another port's axis."""

_SUFFIX = re.compile(r"_?(seq(uence)?_)?(lengths?|lens?|ls|sizes?|(key_)?(padding_|pad_|attention_|attn_)?masks?)\Z")
_PREFIX = re.compile(r"\A(len(gths?)?_(of_)?|num_|n_|mask_(of_)?)")


def stem_of(name: str) -> str:
    """The name without what says that it is a length or a mask: ``audio_signal_length`` becomes ``audio_signal``."""
    text = name.lower()
    return _PREFIX.sub("", _SUFFIX.sub("", text))


def is_length_name(name: str) -> bool:
    """Whether a name says that it holds lengths or a mask."""
    return stem_of(name) != name.lower()


_SAYS_LENGTHS = re.compile(r"(\A|_)(lens?|lengths?)(\Z|_)")


def lengths_by_name(signature: Signature) -> dict[str, tuple[Port, str]]:
    """Inputs that hold lengths as their name says (``mel_lens``) and their type does not: whole numbers, one for each row.

    Returns:
        By name the port as one of lengths, and the port that they measure.
    """
    from torchport.ports.elements import LengthsType

    found = {}
    for name, port in signature.inputs.items():
        whole = port.dtype is not None and port.dtype.startswith(("int", "uint"))
        if port.element.values != "plain" or not whole or len(port.axes or ()) != 1 or _SAYS_LENGTHS.search(name.lower()) is None:
            continue
        told = dataclasses.replace(port, element=LengthsType())
        measured = measured_axis(signature.replace_ports(inputs={name: told}), name)
        rows = None if measured is None else signature.inputs[measured[0]].axes
        if measured is not None and rows and rows[0].name == (port.axes or ())[0].name and measured[1] > 0:
            found[name] = (told, measured[0])
    return found


def _time_axis(port: Port) -> int | None:
    """The time axis of a data port; else its first dynamic axis that is not the batch."""
    axes = port.axes or ()
    for kind in (AxisKind.Time, AxisKind.Sequence):
        for index, axis in enumerate(axes):
            if axis.kind is kind:
                return index
    return next((index for index, axis in enumerate(axes) if axis.dynamic and axis.kind is not AxisKind.Batch), None)


def measured_axis(signature: Signature, name: str) -> tuple[str, int] | None:
    """See `Signature.length_of`."""
    ports = signature.inputs if name in signature.inputs else signature.outputs
    port = signature.port(name)
    if port.element.values not in _MEASURES:
        return None
    return nearest_data_port({other: one for other, one in ports.items() if other == name or one.element.values not in _MEASURES}, name)


def nearest_data_port(ports: dict[str, Port], name: str) -> tuple[str, int] | None:
    """The port with a time axis that the lengths or the mask ``name`` belong to: by symbol, by name, then by nearness."""
    names = list(ports)
    place = names.index(name)
    found = [(other, axis) for other in names if other != name and (axis := _time_axis(ports[other])) is not None]
    if not found:
        return None
    own = {axis.name for axis in ports[name].axes or () if axis.dynamic and axis.kind is not AxisKind.Batch}
    for other, _ in found:
        for index, one in enumerate(ports[other].axes or ()):
            if one.dynamic and one.name in own:
                return other, index
    stem = stem_of(name)
    before = [one for one in found if names.index(one[0]) < place]
    after = [one for one in found if names.index(one[0]) > place]
    nearest = before[::-1] + after
    return min(nearest, key=lambda one: (_affinity(stem, one[0].lower()), nearest.index(one)))


def _affinity(stem: str, name: str) -> int:
    """How far a name is from a stem: 0 the same, 1 one starts with the other, 2 they share a word, 3 nothing in common."""
    if not stem:
        return 3
    if stem == name or stem.rstrip("s") == name.rstrip("s"):
        return 0
    if name.startswith(stem) or stem.startswith(name):
        return 1
    if {word.rstrip("s") for word in stem.split("_")} & {word.rstrip("s") for word in name.split("_")}:
        return 2
    return 3


def shortest(full: int) -> int:
    """The shortest length that examples use: a third, so that a model that subsamples still has something to see."""
    return -(-full // 3)


def draw_lengths(
    full: int, shape: tuple[int, ...], generator: torch.Generator, *, low: int = 1, fill: Fill = "mixed", ordered: bool = True
) -> torch.Tensor:
    """Lengths within an axis of size ``full``: the first is full, at least one other is shorter where the sizes allow it.

    Args:
        full: The size of the axis.
        shape: The shape of the lengths.
        generator: Where the randomness comes from.
        low: The smallest length that the model takes.
        fill: ``mixed``: they differ; ``full``: none is shorter than the axis; ``short``: all but the first are as short as can be;
            ``below``: even the longest is shorter than the axis.
        ordered: Longest first, which models that pack sequences ask for.
    """
    import torch

    count = 1
    for size in shape:
        count *= size
    lengths = torch.full((count,), full, dtype=torch.int64)
    low = min(max(low, 1), full)
    if fill == "below" and full > 1:
        full = max(1, full - max(1, full // 4))
        lengths = torch.full((count,), full, dtype=torch.int64)
        low, fill = min(low, full), "mixed"
    if fill == "short":
        lengths[1:] = low
    elif fill == "mixed" and count > 1 and low < full:
        lengths[1:] = torch.randint(low, full + 1, (count - 1,), generator=generator)
        if bool((lengths == full).all()):
            lengths[-1] = low + (full - low) // 2
        if ordered:
            lengths = lengths.sort(descending=True).values
    return lengths.reshape(shape)


def draw_offsets(full: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Where the rows of a flat axis begin and the last one ends, no row empty.

    Args:
        full: The size of the axis, which the rows fill.
        count: One more than there are rows; there are no more rows than ``full``.
        generator: Where the randomness comes from.
    """
    import torch

    inner = torch.randperm(full - 1, generator=generator)[: count - 2].sort().values + 1
    return torch.cat([torch.tensor([0]), inner, torch.tensor([full])])
