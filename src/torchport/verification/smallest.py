"""Shrinks a failing case: the smallest sizes at which an artifact still disagrees with the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from torchport._options import ExportOptions
from torchport.verification._records import Array, Case
from torchport.verification.asking import Asker
from torchport.verification.forks import lines_turned
from torchport.verification.proof import prove
from torchport.verification.record import Proof
from torchport.verification.reference import Reference
from torchport.verification.runtimes import Session, open_artifact

if TYPE_CHECKING:
    from torchport.emit import Artifact

__all__ = ["shrink", "smallest_failure"]

_TRIES = 200
"""So many sizes are held against the model at most; what was found by then is still a failing case."""

_CHEAP = 8
"""So many of the least sizes of an axis are tried one by one before bisection: what fails at 3 need not fail at 20."""


def smallest_failure(
    proof: Proof,
    artifact: Artifact,
    reference: Reference,
    options: ExportOptions,
    *,
    feeds: Mapping[str, Array] | None = None,
    session: Session | None = None,
) -> Proof | None:
    """Finds the smallest sizes at which the artifact fails, starting from the cheapest failing case of a proof.

    Args:
        proof: A proof that failed.
        artifact: The files and their ports.
        reference: What the proof was made against. Its ``call`` must be the untouched model: nothing may have it prepared.
        options: As for `prove`.
        feeds: Constant inputs.
        session: The opened artifact, instead of opening it; it stays open.

    Returns:
        The proof of that one case; its ``cases[0].sizes`` are the sizes. No axis can be made smaller by itself, one step or several
        small ones, without the failure going away, unless the search was cut short. ``None`` where no case fails by its sizes:
        the disagreement is in the file itself, outside the model's range, or shows with the caller's own values only.

    Raises:
        RuntimeFailure: The artifact cannot be opened.
    """
    failing = sorted((case.sizes for case in proof.cases if case.findings), key=lambda sizes: prod(sizes.values()))
    if not failing or reference.call is None:
        return None
    if session is None:
        with open_artifact(artifact.paths, artifact.signature, briefly=True) as opened:
            return smallest_failure(proof, artifact, reference, options, feeds=feeds, session=opened)
    asker = Asker(reference.call, reference.example, reference.pointers)
    found: dict[tuple[int, ...], Reference] = {}
    asker.watched(reference.example, ())
    as_traced = asker.decided[()]

    def fails(sizes: Mapping[str, int]) -> bool:
        case = asker.ask(reference.signature, sizes)
        if not isinstance(case, Case):
            return False
        case = replace(case, turned=lines_turned(asker.decided[tuple(sizes.items())], as_traced))
        alone = replace(reference, cases=(case,), refusals=(), output_example=None)
        again = prove(artifact, alone, options, feeds=feeds, session=session, explain=False)
        found[tuple(sizes.values())] = alone
        return bool(again.cases[0].findings)

    start = next((dict(sizes) for sizes in failing if fails(sizes)), None)
    if start is None:
        return None
    axes = reference.signature.symbols
    least = {name: axes[name].smallest for name in start}
    sizes = shrink(start, least, {name: axes[name].multiple_of for name in start}, fails)
    again = prove(artifact, found[tuple(sizes.values())], options, feeds=feeds, session=session)
    return replace(again, findings=again.cases[0].findings)


def shrink(
    start: Mapping[str, int], least: Mapping[str, int], steps: Mapping[str, int], fails: Callable[[Mapping[str, int]], bool]
) -> dict[str, int]:
    """Makes each size as small as it goes while ``fails`` holds.

    Args:
        start: Failing sizes, by symbol.
        least: The least size of each symbol.
        steps: The step of each symbol (``multiple_of``).
        fails: Whether the sizes fail; it is asked once for each combination, and 200 times at most.

    Returns:
        Failing sizes, in the order of ``start``.

    Example:
        >>> shrink({"batch": 5, "time": 112}, {"batch": 1, "time": 1}, {"batch": 1, "time": 1}, lambda sizes: sizes["time"] > 40)
        {'batch': 1, 'time': 41}
    """
    known: dict[tuple[int, ...], bool] = {tuple(start.values()): True}

    def still(sizes: dict[str, int]) -> bool:
        key = tuple(sizes.values())
        if key not in known:
            if len(known) > _TRIES:
                return False
            known[key] = fails(sizes)
        return known[key]

    sizes, before = dict(start), None
    while sizes != before:
        before = dict(sizes)
        for name in sizes:
            sizes[name] = _least_failing(sizes, name, least[name], steps[name], still)
    return sizes


def _least_failing(sizes: Mapping[str, int], name: str, least: int, step: int, still: Callable[[dict[str, int]], bool]) -> int:
    """The least size of one symbol that is found to fail: among the least ones, else the edge that bisection finds."""
    now = sizes[name]
    for size in range(least, min(now, least + _CHEAP * step), step):
        if still({**sizes, name: size}):
            return size
    low, high = (min(now, least + _CHEAP * step) - least) // step - 1, (now - least) // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if still({**sizes, name: least + middle * step}) else (middle, high)
    return least + high * step
