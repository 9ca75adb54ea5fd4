"""Finds inputs whose whole numbers point into an axis of another input: where that is short, the numbers have to be small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torchport.ports import AxisKind
from torchport.verification._records import Case
from torchport.verification.asking import Asker, Settled

__all__ = ["settle_pointers"]


def settle_pointers(asker: Asker, settled: Settled, name: str, refused: Sequence[int]) -> bool:
    """States which inputs point into ``name``, if that explains why the model refuses it short.

    With their numbers below its size, the model must answer a short axis that it refuses otherwise, and a long one with numbers that reach
    its end: token ids do neither.

    Args:
        asker: Asks the model; made inputs are valid pointers from here on.
        settled: What is settled.
        name: The symbol.
        refused: Sizes of it that are refused.
    """
    axis, traced = settled.signature.symbols[name], settled.traced[name]
    short = [size for size in refused if size < traced]
    if axis.kind is AxisKind.Batch or not short:
        return False
    size, step = max(short), axis.multiple_of
    long = next((one for one in (3 * traced, traced + step) if axis.allows(one)), None)
    before = dict(asker.pointers)
    for ports in _candidates(asker, settled, traced, size):
        asker.pointers = {**before, **dict.fromkeys(ports, name)}
        asker.forget()
        tried = [one for one in (size, long) if one is not None and settled.fits({**settled.traced, name: one})]
        if all(isinstance(asker.ask(settled.signature, {**settled.traced, name: one}), Case) for one in tried):
            said = ", ".join(f"`{port}`" for port in ports)
            settled.notes.append(f"{said} {'points' if len(ports) == 1 else 'point'} into `{name}`: numbers from 0 to below its size")
            return True
    if asker.pointers != before:
        asker.pointers = before
        asker.forget()
    return False


def _candidates(asker: Asker, settled: Settled, traced: int, size: int) -> Iterator[tuple[str, ...]]:
    """Inputs of whole numbers that are places of the traced axis, too many for the short one: each alone, then all."""
    found = []
    for port, tensor in asker.example.items():
        whole = not tensor.is_floating_point() and not tensor.is_complex() and str(tensor.dtype) != "torch.bool"
        if not whole or not tensor.numel() or settled.signature.inputs[port].element.values not in ("plain", "index"):
            continue
        if port not in asker.pointers and int(tensor.min()) >= 0 and size <= int(tensor.max()) < traced:
            found.append(port)
    yield from ((port,) for port in found)
    if len(found) > 1:
        yield tuple(found)
