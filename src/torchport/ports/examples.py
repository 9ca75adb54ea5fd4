"""Example inputs of any size, made from a signature: valid lengths, masks, indices and probabilities where the types say so."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torchport.errors import PortError, PortTypeError
from torchport.ports._request import Request
from torchport.ports.axis import AxisKind
from torchport.ports.dtypes import dtype_of
from torchport.ports.extremes import Extreme, drive_floats, drive_index, row_fill
from torchport.ports.lengths import draw_lengths, draw_offsets, shortest
from torchport.ports.masks import draw_mask, valid_value
from torchport.ports.port import Port
from torchport.ports.resizing import resize
from torchport.ports.signature import Signature

if TYPE_CHECKING:
    import torch

__all__ = ["make_inputs"]

_FEW = {"TokenIndex": 10}
"""How many classes an index has where neither its type nor an example says so; two for every other type."""

_WIDE, _NEAR = 128, 32
"""A range of more numbers than this is wide; so far from its beginning a number is near it."""


def make_inputs(
    signature: Signature,
    sizes: Mapping[str, int],
    *,
    seed: int = 0,
    example: Mapping[str, torch.Tensor] | None = None,
    ragged: bool = True,
    extreme: Extreme | None = None,
    pointers: Mapping[str, str] | None = None,
) -> dict[str, torch.Tensor]:
    """Makes inputs that a model can take, the same for the same arguments; the global random state stays as it is.

    Ports whose element type says what is valid are synthesised. The others are made from ``example``: cropped or extended along their
    dynamic axes with values that it holds, lengths and masks recognised and kept valid.

    Args:
        signature: The ports.
        sizes: The size of each symbol; symbols that no input has are ignored.
        seed: Other values for another seed.
        example: Tensors by input name. Optional inputs that it lacks are left out.
        ragged: Whether the lengths in a batch differ.
        extreme: Values at an end of what the ports take, instead of usual ones.
        pointers: Inputs whose whole numbers point into the axes of a symbol: ``{"edges": "nodes"}``. They stay below its size.

    Returns:
        Tensors by input name, in the signature's order.

    Raises:
        PortError: A size is missing or not allowed, or a port's axes are not known.
    """
    tensors: dict[str, torch.Tensor] = {}
    wanted = {name: port for name, port in signature.inputs.items() if not (port.optional and example is not None and name not in example)}
    requests = {
        name: _request(signature, name, port, sizes, seed, None if example is None else example.get(name), ragged, extreme)
        for name, port in wanted.items()
    }
    measured = {name: signature.length_of(name) for name in requests}
    for name, one in requests.items():
        if one.port.element.values == "length" and not hasattr(one.port.element, "sample"):
            tensors[name] = _lengths(one, signature, requests, measured[name])
        elif one.port.element.values == "offset":
            tensors[name] = _offsets(one, requests, measured[name])
    lengths = {
        axis: tensors[name]
        for name, axis in measured.items()
        if axis is not None and name in tensors and requests[name].port.element.values == "length"
    }
    for name, one in requests.items():
        if name in tensors:
            continue
        if one.port.element.values == "mask" and not hasattr(one.port.element, "sample"):
            axis = measured[name]
            tensors[name] = _mask(one, None if axis is None else lengths.get(axis))
        elif one.port.typed:
            tensors[name] = _typed(one)
    plain = {name: one for name, one in requests.items() if name not in tensors}
    if plain:
        from_example = {name: one.example for name, one in requests.items() if one.example is not None}
        tensors.update(resize(signature, plain, requests, from_example, tensors))
    for name, symbol in (pointers or {}).items():
        if name in tensors:
            tensors[name] = _spread(tensors[name], requests[name].example, sizes[symbol])
    return {name: tensors[name] for name in requests}


def _spread(tensor: torch.Tensor, example: torch.Tensor | None, size: int) -> torch.Tensor:
    """Whole numbers from 0 on, spread over the places of an axis, in the same order."""
    top = max((int(one.max()) for one in (tensor, example) if one is not None and one.numel()), default=0)
    return tensor if top < 1 else (tensor.long() * (size - 1)).div(top, rounding_mode="floor").to(tensor.dtype)


def _request(
    signature: Signature,
    name: str,
    port: Port,
    sizes: Mapping[str, int],
    seed: int,
    example: torch.Tensor | None,
    ragged: bool,
    extreme: Extreme | None,
) -> Request:
    import torch

    if port.axes is None:
        if example is None:
            raise PortError(
                "an example of a port of unknown rank: its type says nothing of its axes",
                where=name,
                found="no axes, so any rank",
                expected='axes, like "batch 80 time"',
                hint="declare its axes, or give an input_example that shows them",
            )
        shape = tuple(example.shape)
    else:
        shape = tuple(_size(signature, name, index, sizes, example) for index in range(len(port.axes)))
    given = port.dtype or (None if example is None else example.dtype) or port.element.dtype or torch.get_default_dtype()
    dtype = dtype_of(given)
    if dtype.kind == "string":
        raise PortTypeError("a port of strings never enters a graph", where=name, found=repr(port.element), expected="a tensor's type")
    generator = torch.Generator().manual_seed((seed * 0x9E3779B1 + zlib.crc32(name.encode())) % 2**63)
    return Request(name, port, shape, generator, dtype.torch, example, ragged, extreme)


def _size(signature: Signature, name: str, index: int, sizes: Mapping[str, int], example: torch.Tensor | None) -> int:
    axis = (signature.inputs[name].axes or ())[index]
    if not axis.dynamic:
        size = axis.size if axis.size is not None else None if example is None else int(example.shape[index])
        if size is None:
            raise PortError(
                f"the size of the {axis.words()} is not known",
                where=f"{name}, axis {index}",
                hint='write it into the type, AxisType(AxisKind.Dimension, size=80) or "batch 80 time", or give an input_example',
            )
        return size
    if axis.name not in sizes:
        raise PortError("an example needs a size for each symbol", where=name, found=", ".join(sizes) or "none", expected=repr(axis.name))
    size = sizes[axis.name]
    limits = signature.symbols[axis.name]
    if not limits.allows(size):
        raise PortError(
            f"a size that the {axis.words()} does not take", where=f"{name}, axis {index}", found=size, expected=limits.sizes_in_words()
        )
    return size


def _lengths(one: Request, signature: Signature, requests: Mapping[str, Request], measured: tuple[str, int] | None) -> torch.Tensor:
    import torch

    if measured is None or measured[0] not in requests:
        full, low, old = 1, 1, None
    else:
        data = requests[measured[0]]
        full = data.shape[measured[1]]
        axis = (data.port.axes or ())[measured[1]] if data.port.axes else None
        smallest = signature.symbols[axis.name].smallest if axis is not None and axis.dynamic else 1
        low = max(smallest, shortest(full))
        old = None if data.example is None else int(data.example.shape[measured[1]])
    lengths = draw_lengths(full, one.shape, one.generator, low=low, fill=row_fill(one), ordered=not _unordered(one.example))
    if one.dtype.is_floating_point:
        # Lengths as fractions of the longest, as some speech toolkits have them.
        return (lengths.to(torch.float64) / max(full, 1)).to(one.dtype)
    if one.example is not None and old and one.example.numel() and int(one.example.max()) not in (0, old):
        # The example counts in another unit (frames of a waveform), or fills no row: keep its ratio.
        ratio = int(one.example.max()) / old
        lengths = (lengths.to(torch.float64) * ratio).floor().clamp(min=1).to(torch.int64)
    return lengths.to(one.dtype)


def _offsets(one: Request, requests: Mapping[str, Request], measured: tuple[str, int] | None) -> torch.Tensor:
    full = max(1, one.shape[0] - 1) if measured is None or measured[0] not in requests else requests[measured[0]].shape[measured[1]]
    if not 2 <= one.shape[0] <= max(full, 2):
        raise PortError(
            "offsets are one more than there are rows, no row is empty, and not every row has one place only",
            where=one.name,
            found=f"{one.shape[0]} offsets of an axis of {full}",
            expected=f"2 to {max(full, 2)}",
        )
    return draw_offsets(full, one.shape[0], one.generator).to(one.dtype)


def _unordered(example: torch.Tensor | None) -> bool:
    return example is not None and example.dim() == 1 and example.numel() > 1 and bool((example.diff() > 0).any())


def _mask(one: Request, lengths: torch.Tensor | None) -> torch.Tensor:
    if lengths is not None and lengths.is_floating_point():
        lengths = (lengths * one.shape[-1]).round().long() if one.shape else lengths.long()
    return draw_mask(
        one.shape, one.dtype, lengths, one.generator, valid=valid_value(one.example), fill=row_fill(one), empty=one.extreme == "empty"
    )


def _typed(one: Request) -> torch.Tensor:
    if hasattr(one.port.element, "sample"):
        made: torch.Tensor = one.port.element.sample(one.shape, one.dtype, one.generator)
        return made
    draw = _VALUES.get(one.port.element.values)
    if draw is None:
        raise PortError(
            "an element type asks for values of an unknown kind",
            where=f"{one.name}: {one.port.element!r}",
            found=one.port.element.values,
            expected=", ".join(["length", "mask", "offset", *_VALUES]),
        )
    return draw(one)


def _normal(one: Request) -> torch.Tensor:
    import torch

    if not one.dtype.is_floating_point:
        return _index(one)
    return drive_floats(torch.randn(one.shape, generator=one.generator, dtype=torch.float32).to(one.dtype), one.extreme)


def _audio(one: Request) -> torch.Tensor:
    """Noise over a tone, different in each row, far from clipping."""
    import torch

    steps = one.shape[-1] if one.shape else 1
    rows = torch.rand((*one.shape[:-1], 1), generator=one.generator)
    tone = torch.sin(torch.arange(steps, dtype=torch.float32) * (0.02 + 0.2 * rows) + 6 * rows)
    wave = (0.2 * tone + 0.05 * torch.randn(one.shape, generator=one.generator)).reshape(one.shape).clamp(-1, 1)
    if one.dtype.is_floating_point:
        return drive_floats(wave, one.extreme, low=-1, high=1).to(one.dtype)
    return (wave * torch.iinfo(one.dtype).max).to(one.dtype)


def _image(one: Request) -> torch.Tensor:
    import torch

    if one.dtype.is_floating_point:
        made = torch.rand(one.shape, generator=one.generator, dtype=torch.float32).to(one.dtype)
        return drive_floats(made, one.extreme, low=0, high=1)
    top = min(256, torch.iinfo(one.dtype).max + 1)
    return drive_index(torch.randint(0, top, one.shape, generator=one.generator), one.extreme, 0, top).to(one.dtype)


def _of_scores(one: Request) -> Extreme | None:
    """Scores of a distribution: large ones make it a choice, equal ones make it even; infinite logarithms are nobody's input."""
    return None if one.extreme == "large" and one.port.element.values == "log_probability" else one.extreme


def _class_axis(one: Request) -> int:
    """The last axis that is of kind Dimension; else the last one."""
    axes = one.port.axes or ()
    return next((index for index in reversed(range(len(axes))) if axes[index].kind is AxisKind.Dimension), len(one.shape) - 1)


def _log_probability(one: Request) -> torch.Tensor:
    import torch

    scores = drive_floats(torch.randn(one.shape, generator=one.generator, dtype=torch.float32), _of_scores(one))
    if len(one.shape) < 2:
        return torch.nn.functional.logsigmoid(scores).to(one.dtype)
    return scores.log_softmax(_class_axis(one)).to(one.dtype)


def _probability(one: Request) -> torch.Tensor:
    import torch

    scores = drive_floats(torch.randn(one.shape, generator=one.generator, dtype=torch.float32), _of_scores(one))
    if not one.dtype.is_floating_point:
        return (scores > 0).to(one.dtype)
    if len(one.shape) < 2:
        return scores.sigmoid().to(one.dtype)
    return scores.softmax(_class_axis(one)).to(one.dtype)


def _index(one: Request) -> torch.Tensor:
    import torch

    known = one.port.element.type_parameters
    if known.get("max") is not None:
        reach = known.get("reach") if one.extreme == "large" else None
        return _within(one, known["min"], (known["max"] if reach is None else reach) + 1)
    low, high = known.get("min", 0), known.get("num_classes")
    if high is None and one.example is not None and one.example.numel():
        low, high = int(one.example.min()), int(one.example.max()) + 1
    if high is None:
        high = low + _FEW.get(type(one.port.element).__name__, 2)
    return drive_index(torch.randint(low, high, one.shape, generator=one.generator), one.extreme, low, high).to(one.dtype)


def _within(one: Request, low: int, high: int) -> torch.Tensor:
    """Numbers of a range: where it is wide, every second one is near its beginning or zero, where numbers tell most."""
    import torch

    drawn = torch.randint(low, high, one.shape, generator=one.generator)
    if high - low > _WIDE:
        near = torch.randint(max(low, -_NEAR), min(high, max(low, 0) + _NEAR), one.shape, generator=one.generator)
        drawn = torch.where(torch.rand(one.shape, generator=one.generator) < 0.5, near, drawn)
    return drive_index(drawn, one.extreme, low, high).to(one.dtype)


def _duration(one: Request) -> torch.Tensor:
    import torch

    return drive_index(torch.randint(1, 5, one.shape, generator=one.generator), one.extreme, 1, 5).to(one.dtype)


def _log_duration(one: Request) -> torch.Tensor:
    import torch

    steps = drive_index(torch.randint(1, 5, one.shape, generator=one.generator), one.extreme, 1, 5).to(torch.float32)
    return (steps + 1).log().to(one.dtype) if one.dtype.is_floating_point else torch.full(one.shape, round(math.log(3)), dtype=one.dtype)


_VALUES: dict[str, Callable[[Request], torch.Tensor]] = {
    "normal": _normal,
    "audio": _audio,
    "image": _image,
    "probability": _probability,
    "log_probability": _log_probability,
    "index": _index,
    "duration": _duration,
    "log_duration": _log_duration,
}
