"""Finds the sizes that the untouched model answers: equal axes are merged, a least and a greatest size are found by bisection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from torchport.errors import ReferenceRunError
from torchport.ports import Axis, Signature
from torchport.verification._records import Case, Refusal, sizes_text
from torchport.verification.asking import Asker, Settled, smallest_batch, with_symbol
from torchport.verification.joint_refusals import settle_jointly
from torchport.verification.past_far import settle_far
from torchport.verification.past_forks import settle_forks
from torchport.verification.past_tables import settle_tables
from torchport.verification.pointing import settle_pointers
from torchport.verification.relations import relate, relation_between
from torchport.verification.sizes import cover, levels
from torchport.verification.sums import keep_edges, settle_shared_tables, settle_sums

__all__ = ["settle_sizes"]

_MULTIPLES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 80, 96, 100, 128, 160, 200, 240, 256, 320, 480, 512)
"""Factors that models ask of an axis (strides multiply up, windows have round sizes)."""

_ROUNDS = 8
"""Each round settles one thing; a model that still refuses after so many has rules that sizes alone cannot state."""


def settle_sizes(asker: Asker, signature: Signature, traced: Mapping[str, int], *, least: int | None, forgiving: bool) -> Settled:
    """Asks the model over the covering sizes, and narrows the ports to what it answers.

    Args:
        asker: Asks the model.
        signature: The resolved ports.
        traced: The traced sizes.
        least: See `cover`.
        forgiving: Further examples serve the proof: sizes that no rule explains are then left out instead of refused.

    Raises:
        ReferenceRunError: The model refuses sizes by a rule that cannot be stated, or answers its example alone.
    """
    settled = Settled(signature, dict(traced))
    while _merge(asker, settled):
        continue
    for _ in range(_ROUNDS):
        covering = [settled.fitted(sizes) for sizes in cover(settled.signature, settled.traced, least=least)]
        distinct = [sizes for index, sizes in enumerate(covering) if sizes not in covering[:index]]
        answers = [asker.ask(settled.signature, sizes) for sizes in distinct]
        settled.cases = [answer for answer in answers if isinstance(answer, Case)]
        refused = [answer for answer in answers if isinstance(answer, Refusal)]
        if not refused:
            settle_tables(asker, settled)
            settle_shared_tables(asker, settled)
            settle_forks(asker, settled)
            settle_far(asker, settled)
            keep_edges(asker, settled)
            return settled
        if not (_merge(asker, settled) or _narrow(asker, settled) or _in_company(asker, settled, refused)):
            break
    if forgiving:
        settled.notes.append(f"{len(refused)} sizes were refused by the model ({refused[0].reason}); the examples of check_trace stand in")
        return settled
    worst = refused[0]
    raise ReferenceRunError(
        "the model refuses sizes that its ports declare" if settled.cases else "the model answers no sizes but those of its example",
        where=sizes_text(worst.sizes),
        found=worst.reason,
        expected=f"an answer, as at {sizes_text(settled.traced)}",
        hint="declare the axes as they are (fixed, or with min, max, multiple_of, or one name for axes that are equal), "
        "or pass further examples at other sizes: check_trace=[example, …]",
    )


def _in_company(asker: Asker, settled: Settled, refused: Sequence[Refusal]) -> bool:
    """States a rule for sizes that are refused though each alone is answered."""
    return any(settle_sums(asker, settled, refusal.sizes) for refusal in refused) or settle_jointly(asker, settled, refused)


def _alone(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> bool:
    """Whether the model answers when only these symbols leave their traced sizes."""
    return _answers(asker, settled, {**settled.traced, **sizes})


def _answers(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> bool:
    return isinstance(asker.ask(settled.signature, sizes), Case)


def _merge(asker: Asker, settled: Settled) -> bool:
    """Merges symbols that the model wants equal: refused when one changes, answered when both do."""
    axes, base = settled.signature.symbols, smallest_batch(settled)
    alike = [name for name, size in settled.traced.items() if list(settled.traced.values()).count(size) > 1]
    for pick in (0, -1):  # the cheapest size above 1 first; where the model is too small for it, the greatest
        other: dict[str, int] = {}
        for name in alike:
            others = [size for size in levels(axes[name], settled.traced[name]) if size not in (1, settled.traced[name])]
            if others:
                other[name] = others[pick]
        bound = [name for name, size in other.items() if not _answers(asker, settled, {**base, name: size})]
        for group in [*combinations(bound, 2), tuple(bound)]:
            if len(group) < 2 or len({settled.traced[name] for name in group}) > 1:
                continue
            if _answers(asker, settled, {**base, **dict.fromkeys(group, other[group[0]])}):
                _unite(asker, settled, group)
                return True
    return False


def _unite(asker: Asker, settled: Settled, group: tuple[str, ...]) -> None:
    first, *rest = group
    for name in rest:
        settled.signature = settled.signature.renamed_symbols({name: first})
        settled.merged[name] = first
        asker.pointers = {port: first if symbol == name else symbol for port, symbol in asker.pointers.items()}
        del settled.traced[name]
        both = [replace(one, small=first if one.small == name else one.small) for one in settled.at_most]
        both = [replace(one, large=first if one.large == name else one.large) for one in both]
        settled.at_most = [one for one in both if one.small != one.large]
        rooms = [room.renamed({name: first}) for room in settled.sums]
        settled.sums = [room for room in rooms if room.one != room.other]  # an axis by itself has an end: the next sizes find it
        settled.notes.append(f"`{name}` always equals `{first}`: one axis")
    asker.forget()


def _narrow(asker: Asker, settled: Settled) -> bool:
    """Narrows the first symbol whose own sizes are refused: to multiples, or to a least or greatest size."""
    for name, axis in settled.signature.symbols.items():
        if name not in settled.traced:
            continue
        traced = settled.traced[name]
        tried = [size for size in levels(axis, traced) if settled.fits({**settled.traced, name: size})]
        refused = [size for size in tried if not _alone(asker, settled, {name: size})]
        if not refused:
            continue
        if _relate(asker, settled, name, refused) or settle_pointers(asker, settled, name, refused):
            return True
        if max(refused) > traced and settle_sums(asker, settled, {**settled.traced, name: max(refused)}):
            return True
        if factor := _multiple(asker, settled, name, axis, traced):
            settled.signature = with_symbol(settled.signature, name, multiple_of=factor)
            settled.notes.append(f"`{name}` must be a multiple of {factor}")
            _keep_refusal(asker, settled, {name: traced + axis.multiple_of})
            return True
        low = _least(asker, settled, name, axis, traced) if min(refused) < traced else axis.smallest
        high = _greatest(asker, settled, name, axis, traced, max(refused)) if max(refused) > traced else axis.max
        if (low, high) == (traced, traced):
            return False
        step = axis.multiple_of
        edges = [*[low - step][: low > axis.smallest], *([] if high is None or high == axis.max else [high + step])]
        if edges and _relate(asker, settled, name, edges):  # what is refused far away may be refused for more than one reason
            return True
        if low > axis.smallest or high != axis.max:
            settled.signature = with_symbol(settled.signature, name, min=low, max=high)
            settled.ranges[name] = (low, high)
            settled.notes.append(f"{name}: {low} to {high}" if high is not None else f"{name}: {low} or more")
            return True
    return False


def _relate(asker: Asker, settled: Settled, name: str, refused: Sequence[int]) -> bool:
    """Whether the refused sizes are those past another symbol's size: answered when that one moves along."""
    symbols, traced = settled.signature.symbols, settled.traced[name]
    for far in (*(one for one in refused if one < traced), *[max(refused)][: max(refused) > traced]):
        for other in settled.traced:
            small, large = (name, other) if far > traced else (other, name)
            if other == name or settled.relates(small, large):
                continue
            along = (far, 2 * far + 1, 6 * far + 1) if small == name else (far, symbols[other].smallest)
            moves = ({**settled.traced, name: far, other: size} for size in along if symbols[other].allows(size))
            if not any(settled.fits(sizes) and _answers(asker, settled, sizes) for sizes in moves):
                continue
            if (found := relation_between(asker, settled, small, large)) is not None:
                relate(settled, *found)
                return True
    return False


def _least(asker: Asker, settled: Settled, name: str, axis: Axis, traced: int) -> int:
    """The least size that the model answers, by bisection; the size just below it is kept as refused."""
    step = axis.multiple_of
    low, high = axis.smallest // step, traced // step
    if _alone(asker, settled, {name: low * step}):
        return low * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _alone(asker, settled, {name: middle * step}) else (middle, high)
    _keep_refusal(asker, settled, {name: low * step})
    return high * step


def _greatest(asker: Asker, settled: Settled, name: str, axis: Axis, traced: int, refused: int) -> int:
    """The greatest size that the model answers, by bisection; the size just above it is kept as refused."""
    step = axis.multiple_of
    low, high = traced // step, refused // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _alone(asker, settled, {name: middle * step}) else (low, middle)
    _keep_refusal(asker, settled, {name: high * step})
    return low * step


def _keep_refusal(asker: Asker, settled: Settled, sizes: Mapping[str, int]) -> None:
    answer = asker.ask(settled.signature, {**settled.traced, **sizes})
    if isinstance(answer, Refusal):
        settled.refusals.append(answer)


def _multiple(asker: Asker, settled: Settled, name: str, axis: Axis, traced: int) -> int | None:
    """The factor that the model asks of the axis: its neighbours are refused, the next multiples are answered."""
    step = axis.multiple_of
    if any(_alone(asker, settled, {name: size}) for size in (traced - step, traced + step) if axis.allows(size)):
        return None
    for factor in _MULTIPLES:
        if factor % step or factor == step or traced % factor:
            continue
        if all(_alone(asker, settled, {name: size}) for size in (traced + factor, traced + 3 * factor) if axis.allows(size)):
            return factor
    return None
