"""Inputs of other sizes for ports without a meaning, made from the caller's own example.

The example's values stay the only values: it is cropped or extended along its dynamic axes, whole slices of static axes are kept together.
Measured numbers that are needed more than once are nudged, so that scores do not tie that never tie in the example. What an example shows
about itself is kept: lengths fit their axis, masks their lengths, positions count on, sorted values stay sorted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torchport.ports._request import Request
from torchport.ports.axis import AxisKind
from torchport.ports.extremes import drive_floats, drive_index, row_fill
from torchport.ports.lengths import draw_lengths, is_length_name, nearest_data_port, shortest
from torchport.ports.masks import draw_mask, looks_causal, looks_like_mask, valid_value
from torchport.ports.signature import Signature

if TYPE_CHECKING:
    import torch

__all__ = ["resize"]

_MEASURED = 8
"""Fewer cells than this may be the only values there are."""

_NUDGE = 0.1
"""A number that is needed again lies at most so far on the way to another one."""


def resize(
    signature: Signature,
    plain: Mapping[str, Request],
    requests: Mapping[str, Request],
    example: Mapping[str, torch.Tensor],
    made: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Makes the ports of ``plain``.

    Args:
        signature: The ports.
        plain: What to make, by name.
        requests: Everything that is wanted, typed ports too.
        example: The caller's tensors.
        made: Tensors of typed ports that are made already.
    """
    lengths_of = {name: axis for name, one in plain.items() if (axis := _measured(signature, one, requests, example)) is not None}
    tensors: dict[str, torch.Tensor] = {}
    known: dict[tuple[str, int], torch.Tensor] = {}
    for name in made:
        axis = signature.length_of(name)
        if axis is not None and signature.inputs[name].element.values == "length" and not made[name].is_floating_point():
            known[axis] = made[name]
    for name, (data, index) in lengths_of.items():
        tensors[name], counted = _lengths(plain[name], requests[data], index)
        known.setdefault((data, index), counted)
    for name, one in plain.items():
        if name in tensors:
            continue
        if one.example is None or one.example.dim() != len(one.shape) or not one.example.numel():
            tensors[name] = _without_example(one)
        elif looks_causal(one.example) and one.shape[-1] == one.shape[-2]:
            tensors[name] = _causal(one)
        elif looks_like_mask(one.example, name):
            tensors[name] = _mask(signature, one, requests, known)
        else:
            tensors[name] = _driven(one, _drawn(one))
    return tensors


def _measured(
    signature: Signature, one: Request, requests: Mapping[str, Request], example: Mapping[str, torch.Tensor]
) -> tuple[str, int] | None:
    """The axis that a port's numbers are lengths of, as far as the example shows; ``None`` where they are no lengths."""
    tensor = one.example
    if tensor is None or tensor.dim() != 1 or not tensor.numel() or tensor.dtype.is_complex or str(tensor.dtype) == "torch.bool":
        return None
    axes = one.port.axes or ()
    if axes and axes[0].dynamic and axes[0].kind not in (AxisKind.Batch, AxisKind.Any):
        return None
    data = {name: request.port for name, request in requests.items() if name == one.name or (len(request.shape) > 1)}
    found = nearest_data_port({**data, one.name: one.port}, one.name)
    if found is None or found[0] not in example:
        return None
    size = int(example[found[0]].shape[found[1]])
    top = float(tensor.max())
    if tensor.is_floating_point():
        fits = "len" in one.name.lower() and float(tensor.min()) > 0 and top <= 1
        return found if fits else None
    if int(tensor.min()) < 1 or top > size:
        return None
    # A vector of numbers may be labels as well: it is a vector of lengths where its name says so, or where the longest fills the axis.
    return found if is_length_name(one.name) or (top == size and size > 2) else None


def _lengths(one: Request, data: Request, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The lengths as the port holds them, and as steps of the axis."""
    import torch

    full, old = data.shape[index], int(data.seen.shape[index])
    axis = (data.port.axes or ())[index]
    ordered = not (one.seen.numel() > 1 and bool((one.seen.diff() > 0).any()))
    low = max(axis.smallest if axis.dynamic else 1, shortest(full))
    steps = draw_lengths(full, one.shape, one.generator, low=low, fill=row_fill(one), ordered=ordered)
    if one.seen.is_floating_point():
        return (steps.to(torch.float64) / max(full, 1)).to(one.dtype), steps
    ratio = int(one.seen.max()) / max(old, 1)
    if ratio == 1:
        return steps.to(one.dtype), steps
    return (steps.to(torch.float64) * ratio).floor().clamp(min=1).to(one.dtype), steps


def _mask(
    signature: Signature, one: Request, requests: Mapping[str, Request], known: Mapping[tuple[str, int], torch.Tensor]
) -> torch.Tensor:
    found = nearest_data_port({name: request.port for name, request in requests.items()}, one.name)
    lengths = None if found is None else known.get(found)
    if lengths is None:
        lengths = next((steps for steps in known.values() if int(steps.max()) == one.shape[-1]), None) if one.shape else None
    if lengths is not None and int(lengths.max()) > one.shape[-1]:
        lengths = None
    return draw_mask(
        one.shape, one.dtype, lengths, one.generator, valid=valid_value(one.example), fill=row_fill(one), empty=one.extreme == "empty"
    )


def _causal(one: Request) -> torch.Tensor:
    import torch

    example = one.seen
    valid, other = example[..., 0, 0].reshape(-1)[0], example[..., 0, 1].reshape(-1)[0]
    lower = torch.ones(one.shape[-2:], dtype=torch.bool).tril()
    return torch.where(lower, valid, other).expand(one.shape).to(one.dtype).contiguous()


def _without_example(one: Request) -> torch.Tensor:
    """Values for a port that nothing is known of: small numbers that fit most models."""
    import torch

    if one.dtype.is_floating_point or one.dtype.is_complex:
        return drive_floats(torch.randn(one.shape, generator=one.generator, dtype=torch.float32).to(one.dtype), one.extreme)
    return drive_index(torch.randint(0, 2, one.shape, generator=one.generator), one.extreme, 0, 2).to(one.dtype)


def _drawn(one: Request) -> torch.Tensor:
    """The example's own slices, drawn anew along each dynamic axis."""
    import torch

    example = one.seen
    axes = one.port.axes or ()
    for index in range(example.dim()):
        if _counts(example, index) and index < len(axes) and axes[index].dynamic:
            return _positions(one, index)
    moving = [index for index in range(example.dim()) if index < len(axes) and axes[index].dynamic]
    still = [index for index in range(example.dim()) if index not in moving]
    if not moving:
        return example.to(one.dtype, copy=True)
    tensor = example.permute(*moving, *still)
    cells = tensor.reshape(-1, *tensor.shape[len(moving) :])
    shape = [one.shape[index] for index in moving]
    count = 1
    for size in shape:
        count *= size
    # Every cell of the example is used before one is used twice.
    order = [torch.randperm(len(cells), generator=one.generator) for _ in range(-(-max(count, 1) // len(cells)))]
    chosen = _nudged(cells, torch.cat(order)[:count], one.generator)
    drawn = chosen.reshape(*shape, *tensor.shape[len(moving) :])
    inverse = [(moving + still).index(index) for index in range(example.dim())]
    drawn = drawn.permute(*inverse).contiguous()
    for index in moving:
        if example.shape[index] > 2 and _sorted(example, index):
            return _beginning_alike(drawn.sort(dim=index).values, example, index).to(one.dtype)
    if len(cells) < count:
        drawn = _varied(drawn, moving[0], still)
    return drawn.to(one.dtype)


def _beginning_alike(ordered: torch.Tensor, example: torch.Tensor, index: int) -> torch.Tensor:
    """Whole numbers in order begin where all of the example's begin: offsets begin at 0."""
    first = example.select(index, 0)
    if not example.is_floating_point() and bool((first == first.reshape(-1)[0]).all()) and ordered.shape[index]:
        ordered.select(index, 0).fill_(first.reshape(-1)[0])
    return ordered


def _nudged(cells: torch.Tensor, places: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The cells at ``places``, those taken once more a little on the way to another cell: within what the example shows, but no tie.

    Measured numbers repeat as good as never; numbers that do (labels, counts, one-hot rows) stay as they are.
    """
    import torch

    chosen = cells[places]
    if len(places) <= len(cells) or len(cells) < _MEASURED or not _looks_measured(cells):
        return chosen
    away = torch.randint(1, len(cells), places.shape, generator=generator)
    share = _NUDGE * (0.25 + 0.75 * torch.rand(places.shape, generator=generator))
    share[: len(cells)] = 0
    share = share.reshape(-1, *[1] * (cells.dim() - 1))
    return chosen + (share * (cells[(places + away) % len(cells)] - chosen)).to(cells.dtype)


def _looks_measured(cells: torch.Tensor) -> bool:
    """Whether numbers are finite reals that hardly ever repeat."""
    import torch

    if not cells.is_floating_point() or not bool(cells.isfinite().all()) or bool((cells == cells.round()).all()):
        return False
    return len(torch.unique(cells)) > 0.9 * cells.numel()


def _driven(one: Request, tensor: torch.Tensor) -> torch.Tensor:
    """Numbers at an extreme, within what the example shows: its sign, a range of 0 to 1, its whole numbers; positions stay as they are."""
    example = one.seen
    if one.extreme in (None, "empty") or example.numel() < 2 or str(example.dtype) == "torch.bool":
        return tensor  # a single number is a setting (a pace, a temperature): zero is none of its values
    ordered = any(example.shape[index] > 2 and (_counts(example, index) or _sorted(example, index)) for index in range(example.dim()))
    if ordered:
        return tensor
    if not example.is_floating_point() and not example.is_complex():
        return drive_index(tensor, one.extreme, int(example.min()), int(example.max()) + 1)
    if example.is_complex():
        return drive_floats(tensor, one.extreme)
    least, most = float(example.min()), float(example.max())
    return drive_floats(tensor, one.extreme, low=least if least >= 0 else None, high=1.0 if least >= 0 and most <= 1 else None)


def _counts(example: torch.Tensor, index: int) -> bool:
    """Whether whole numbers count up by one along an axis: positions."""
    if example.is_floating_point() or example.is_complex() or example.shape[index] < 3 or str(example.dtype) == "torch.bool":
        return False
    return bool((example.diff(dim=index) == 1).all())


def _positions(one: Request, index: int) -> torch.Tensor:
    import torch

    start = int(one.seen.min())
    shape = [1] * len(one.shape)
    shape[index] = one.shape[index]
    counted = torch.arange(start, start + one.shape[index]).reshape(shape)
    return counted.expand(one.shape).to(one.dtype).contiguous()


def _sorted(example: torch.Tensor, index: int) -> bool:
    if example.is_complex() or str(example.dtype) == "torch.bool":
        return False
    steps = example.diff(dim=index)
    return bool((steps >= 0).all()) and bool((steps > 0).any())


def _varied(tensor: torch.Tensor, row: int, still: list[int]) -> torch.Tensor:
    """Rows that would repeat are rolled along their largest static axis, each by another step, so that a mix-up of rows shows."""
    import torch

    if not tensor.is_floating_point() or not still or not tensor.numel():
        return tensor
    along = max(still, key=lambda index: tensor.shape[index])
    rows = [one.roll(place, dims=along - (along > row)) for place, one in enumerate(tensor.unbind(row))]
    return torch.stack(rows, dim=row)
