"""Which part of a training checkpoint is the model's state dict: behind the keys and prefixes of wrappers, and never by guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from torchport._counted import counted
from torchport.errors import ArchiveError
from torchport.models._weights import listed, mismatch, unlike

__all__ = ["state_for"]

_DEPTH = 2
"""How deep in a checkpoint state dicts are looked for: ``{"model": …}``, ``{"ema": {"shadow": …}}``."""

_WRAPPERS = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
"""Parts of names that `torch.compile`, FSDP and activation checkpointing put between a module and its tensors."""


@dataclass(frozen=True)
class _Fit:
    """One way to read the checkpoint.

    Attributes:
        key: Where the state dict is in the file; empty at its top.
        prefix: What stands before every name.
        renamed: Whether wrappers' parts were taken out of the names.
        state: The tensors under the model's own names.
        left_out: Names beside them.
    """

    key: str
    prefix: str
    renamed: bool
    state: dict[str, Any]
    left_out: tuple[str, ...]

    @property
    def label(self) -> str:
        """How a caller names this one among several."""
        return ".".join(part for part in (self.key, self.prefix.rstrip(".")) if part)

    def words(self) -> str:
        """What was done, for people; empty where nothing was."""
        done = []
        if self.key:
            done.append(f"took {self.key!r}")
        if self.prefix:
            done.append(f"took the prefix {self.prefix!r} off the names")
        if self.renamed:
            done.append("took the names of wrappers (torch.compile, FSDP) out of the names")
        if self.left_out:
            done.append(f"left out {listed(self.left_out)}")
        return ", ".join(done)


def state_for(module: torch.nn.Module, loaded: Mapping[str, Any], *, where: str, key: str | None = None) -> tuple[dict[str, Any], str]:
    """The state dict of ``module`` in a checkpoint that training code wrote.

    Looked at are the file's top and the dicts of tensors in it (``state_dict``, ``model_state_dict``, ``ema`` …). One is taken when
    its names are exactly the model's, after one prefix that all of them share (``module.``, ``model.``) is off; never on a likeness.

    Args:
        module: The model.
        loaded: What the file holds.
        where: The file, for messages.
        key: Which of several fitting ones to take, as the error that lists them says.

    Returns:
        Tensors by the model's names, and what was done, in words; these are empty where the file is the state dict itself.

    Raises:
        ArchiveError: Nothing in the file fits, or several state dicts with different values do.
    """
    own = module.state_dict()
    candidates = dict(_candidates(loaded))
    fits = [fit for name, state in candidates.items() for fit in _fits(name, state, own)]
    fits = [fit for fit in fits if not any(unlike(own[name], value) for name, value in fit.state.items())] or fits
    if key is not None:
        chosen = [fit for fit in fits if key == fit.label] or [fit for fit in fits if key in (fit.key, fit.prefix, fit.prefix.rstrip("."))]
        if not chosen and fits:
            raise ArchiveError(
                "the checkpoint has nothing of that name that fits", where=where, found=key, expected=" or ".join(map(_named, fits))
            )
        fits = chosen
    if not fits:
        raise _nothing_fits(module, own, candidates, where)
    first, *others = fits
    if any(not _equal(first.state, other.state) for other in others):
        raise ArchiveError(
            "the checkpoint holds several state dicts that fit, with different values",
            where=where,
            found=", ".join(map(_named, fits)),
            expected="the name of one",
            hint=" or ".join(f"weights_key={fit.label!r}" for fit in fits),
        )
    return first.state, first.words()


def _named(fit: _Fit) -> str:
    return fit.label or "the file's top"


def _candidates(loaded: Mapping[str, Any], key: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every dict in the file that holds tensors by name, from the top down."""
    if any(isinstance(value, torch.Tensor) for value in loaded.values()):
        yield key, loaded
    for name, value in loaded.items():
        if depth and isinstance(value, Mapping) and value and all(isinstance(part, str) for part in value):
            yield from _candidates(value, f"{key}.{name}" if key else name, depth - 1)


def _fits(key: str, state: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[_Fit]:
    tied = _tied(own)
    for renamed, names in _namings(state):
        full = _filled(names, own, tied)
        whole = [prefix for prefix, count in _prefixes(full, own).items() if count == len(own)]
        for prefix in whole:
            under = {name.removeprefix(prefix): full[name] for name in full if name.startswith(prefix)}
            inner = tuple(other.removeprefix(prefix) for other in whole if other != prefix and other.startswith(prefix))
            more = [name for name in under if name not in own and not name.startswith(inner)]  # further fits below are no part of this one
            if any(isinstance(state[under[name]], torch.Tensor) for name in more):
                continue
            taken = {name: state[under[name]] for name in own}
            used = {under[name] for name in own}
            left_out = tuple(name for name in state if name not in used)
            yield _Fit(key, prefix, renamed, taken, left_out)


def _namings(state: Mapping[str, Any]) -> Iterator[tuple[bool, dict[str, str]]]:
    """The names as they are, and without the parts of wrappers, unless two become one; each with the name in the file."""
    yield False, {name: name for name in state}
    bare = {".".join(part for part in name.split(".") if part not in _WRAPPERS): name for name in state}
    if len(bare) == len(state) and set(bare) != set(state):
        yield True, bare


def _prefixes(names: Mapping[str, str], own: Mapping[str, Any]) -> Counter[str]:
    """How many of the model's names stand behind each prefix."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in own:
                counts["".join(f"{part}." for part in parts[:cut])] += 1
    return counts


def _tied(own: Mapping[str, Any]) -> dict[str, list[str]]:
    """For every tensor that a model has under several names, the other ones; files may hold it once."""
    places: dict[object, list[str]] = {}
    for name, value in own.items():
        if isinstance(value, torch.Tensor) and value.layout is torch.strided and value.numel():
            places.setdefault((value.data_ptr(), value.shape, value.stride(), value.dtype), []).append(name)
    return {name: names for names in places.values() if len(names) > 1 for name in names}


def _filled(names: Mapping[str, str], own: Mapping[str, Any], tied: Mapping[str, list[str]]) -> dict[str, str]:
    """The names, and those of tied tensors that the file holds under another one."""
    full = dict(names)
    if tied:
        prefix = next((prefix for prefix, _ in _prefixes(names, own).most_common(1)), "")
        for name, others in tied.items():
            there = next((names[prefix + other] for other in others if prefix + other in names), None)
            if there is not None:
                full.setdefault(prefix + name, there)
    return full


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(
        _same(value, other[name]) if isinstance(value, torch.Tensor) and isinstance(other[name], torch.Tensor) else value is other[name]
        for name, value in one.items()
    )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are copies of each other; what is no number is so in both."""
    if torch.equal(one, other):
        return True
    floats = one.dtype == other.dtype and (one.is_floating_point() or one.is_complex())
    return floats and one.shape == other.shape and torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True)


def _nothing_fits(module: torch.nn.Module, own: Mapping[str, Any], candidates: Mapping[str, Mapping[str, Any]], where: str) -> ArchiveError:
    """What there is, and how the nearest of it differs."""
    if not candidates:
        return ArchiveError(
            "the checkpoint holds no tensors by name", where=where, expected=f"the {counted(len(own), 'tensor')} of {type(module).__name__}"
        )
    ranked = []
    for key, state in candidates.items():
        for _, names in _namings(state):
            prefix, count = max(_prefixes(names, own).items(), key=lambda one: one[1], default=("", 0))
            ranked.append((count, key, prefix, names))
    count, key, prefix, names = max(ranked, key=lambda one: one[0])
    under = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    problems = mismatch([name for name in own if name not in under], [name for name in under if name not in own])
    at = " and ".join(part for part in (repr(key) if key else "", f"the prefix {prefix!r}" if prefix else "") if part)
    held = [
        f"{name or 'its top'} ({counted(len(state), 'entry', 'entries')}: {listed(state, shown=3)})" for name, state in candidates.items()
    ]
    return ArchiveError(
        "the weights do not fit the model",
        where=where,
        found="; ".join((f"nearest, below {at}" if at else "nearest, at its top", *problems)) + f". The file holds {listed(held)}",
        expected=f"the {counted(len(own), 'tensor')} of {type(module).__name__}: {listed(own, shown=4)}",
    )
