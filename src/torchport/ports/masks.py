"""Masks that agree with lengths, and masks recognised in an example."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from torchport.ports.lengths import Fill

__all__ = ["draw_mask", "looks_causal", "looks_like_mask", "valid_value"]


def valid_value(example: torch.Tensor | None) -> tuple[float, float]:
    """The values that an example mask gives to positions that count, and to those that do not.

    The first position always counts, so its value tells the polarity: attention masks have 1 there, padding masks 0.
    """
    import torch

    if example is None or not example.numel():
        return 1.0, 0.0
    flat = example.reshape(-1, example.shape[-1]) if example.dim() else example.reshape(1, 1)
    valid = float(flat[0, 0])
    others = [float(value) for value in torch.unique(flat) if float(value) != valid]
    if others:
        return valid, others[0]
    if example.is_floating_point() and valid == 0:
        return 0.0, float("-inf")
    return valid, 1.0 - valid


def draw_mask(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    lengths: torch.Tensor | None,
    generator: torch.Generator,
    *,
    valid: tuple[float, float] = (1.0, 0.0),
    fill: Fill = "mixed",
    empty: bool = False,
) -> torch.Tensor:
    """A mask over the last axis: the first ``lengths[b]`` positions of each item count.

    Args:
        shape: The shape: the batch first, the masked axis last, any axes between.
        dtype: The dtype.
        lengths: One length per item; ``None`` draws some.
        generator: Where the randomness comes from.
        valid: The values of positions that count, and of those that do not.
        fill: How long drawn rows are; see `draw_lengths`.
        empty: The last of several rows counts nothing.
    """
    import torch

    from torchport.ports.lengths import draw_lengths

    steps = shape[-1] if shape else 1
    rows = shape[0] if len(shape) > 1 else 1
    if lengths is None or lengths.numel() != rows:
        lengths = draw_lengths(steps, (rows,), generator, fill=fill)
    if empty and rows > 1:
        lengths = lengths.clone()
        lengths.reshape(-1)[-1] = 0
    inside = torch.arange(steps) < lengths.reshape(-1, 1)
    inside = inside.reshape([rows, *[1] * (len(shape) - 2), steps] if len(shape) > 1 else [steps] if shape else [])
    mask = torch.where(inside.expand(shape), torch.tensor(valid[0]), torch.tensor(valid[1]))
    return mask.to(dtype).contiguous()


def looks_causal(example: torch.Tensor) -> bool:
    """Whether the last two axes are square, and every item counts the positions up to its own."""
    import torch

    if example.dim() < 2 or example.shape[-1] != example.shape[-2] or example.shape[-1] < 2 or len(torch.unique(example)) != 2:
        return False
    lower = example.new_ones(example.shape[-2:]).tril().bool()
    valid, other = example[..., 0, 0].reshape(-1)[0], example[..., 0, 1].reshape(-1)[0]
    return bool(valid != other) and bool((example == valid).eq(lower).all())


def looks_like_mask(example: torch.Tensor, name: str) -> bool:
    """Whether an example is a mask of padding: two values, each row one run of the first and then one of the other.

    A tensor of one value only is taken for a mask where its name says so.
    """
    import torch

    if example.dim() == 0 or not example.numel() or example.is_complex():
        return False
    distinct = torch.unique(example)
    if distinct.numel() > 2:
        return False
    values = [float(value) for value in distinct]
    if not set(values) <= {0.0, 1.0, float("-inf")}:
        return False
    if len(values) == 1:
        return "mask" in name.lower()
    if example.dim() < 2 and "mask" not in name.lower():
        return False
    valid = example[..., 0].reshape(-1)[0]
    inside = (example == valid).to(example.device)
    # Once a row has left the valid run it never comes back.
    return bool(inside[..., 0].all()) and not bool((~inside[..., :-1] & inside[..., 1:]).any())
