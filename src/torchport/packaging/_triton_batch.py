"""The largest batch that pays: the model is timed at growing batches, and the growth ends where a row gets no cheaper."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping

import numpy as np

from torchport.errors import PackageError
from torchport.packaging._records import Part
from torchport.verification import Session, open_artifact
from torchport.verification._records import Array

__all__ = ["choose_batch", "measure_batches"]

_GAIN = 0.05
_LARGEST = 64
_REPEATS = 5


def measure_batches(part: Part, clock: Callable[[], float] = time.perf_counter) -> dict[int, float]:
    """Seconds that an answer takes, by batch: 1, 2, 4, … as far as a row gets cheaper, at most 64.

    The first golden case is the input, its rows repeated.

    Args:
        part: What is packaged; its ports begin with the batch.
        clock: Tells the seconds.

    Raises:
        PackageError: Its inputs do not begin with one batch.
    """
    signature = part.artifact.signature
    symbols = {signature.symbol(name, 0) if port.axes else None for name, port in signature.inputs.items()}
    symbol = next(iter(symbols)) if len(symbols) == 1 else None
    if symbol is None:
        raise PackageError(
            "max_batch_size can only be measured where every input begins with one batch",
            where="max_batch_size",
            hint="give a number, or 0",
        )
    largest = signature.symbols[symbol].max or _LARGEST
    taken: dict[int, float] = {}
    with open_artifact(part.artifact.paths, signature) as session:
        size = 1
        while size <= min(largest, _LARGEST):
            taken[size] = _seconds(session, {name: _rows(array, size) for name, array in part.goldens[0].inputs.items()}, clock)
            if choose_batch(taken) < size:
                break
            size *= 2
    return taken


def _rows(array: Array, size: int) -> Array:
    repeated: Array = np.concatenate([array] * -(-size // len(array)))[:size]
    return repeated


def _seconds(session: Session, inputs: Mapping[str, Array], clock: Callable[[], float]) -> float:
    session.run(inputs)  # the first answer at a size pays for what later ones find
    times = []
    for _ in range(_REPEATS):
        begun = clock()
        session.run(inputs)
        times.append(clock() - begun)
    return min(times)


def choose_batch(taken: Mapping[int, float]) -> int:
    """The largest batch up to which every doubling made a row at least 5 % cheaper.

    Args:
        taken: Seconds by batch, from 1 on.

    Example:
        >>> choose_batch({1: 1.0, 2: 1.2, 4: 1.6, 8: 3.2})
        4
    """
    sizes = sorted(taken)
    chosen = sizes[0]
    for before, size in itertools.pairwise(sizes):
        if taken[size] / size > (1 - _GAIN) * taken[before] / before:
            break
        chosen = size
    return chosen
