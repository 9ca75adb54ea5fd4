"""Swaps modules over the whole tree, and proves every swap on the tensors that reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from torchport.errors import OptionError, SwapError, TorchportError
from torchport.prepare._compare import cloned
from torchport.prepare._observe import Forward, Observation, intercepted, observe
from torchport.prepare._records import Swap
from torchport.prepare.multihead_attention import separate_kernels
from torchport.prepare.replacement import PairReplacement, Reference, Replacement, Stage, prove_equal, replacements, shell, tied
from torchport.prepare.state import active_keepers, kept_as_found, watched

__all__ = ["replace_for_export", "swap_modules"]


@dataclass
class _Change:
    """One place in the tree where another module stands now.

    Attributes:
        place: The ``id`` that the module had when the walk began.
        old: The module as it was found.
        new: The module that stands there.
        names: The replacements that made it.
        reference: What the new one must equal; ``None`` where nothing remained to be computed.
        partner: The other module of a pair: both stay or both go.
        reached: Whether an example call reached the new module.
        error: The largest difference.
    """

    place: int
    old: nn.Module
    new: nn.Module
    names: list[str]
    reference: Reference | None
    partner: _Change | None = None
    reached: bool = False
    error: float | None = None

    @property
    def types(self) -> str:
        return f"{type(self.old).__name__} → {self.after}"

    @property
    def after(self) -> str:
        name = type(self.new).__name__
        return f"{name} ({', '.join(self.names)})" if name == type(self.old).__name__ else name


def swap_modules(module: nn.Module, *, replace_1D_2D: bool = False, example_call: Callable[[], Any]) -> tuple[Swap, ...]:  # noqa: N803 - the contract's name
    """Swaps and cleans up every module that a replacement knows, in place; for use inside of `kept_as_found`.

    The example call runs once to see which modules it reaches and what flows where (not for modules without weights, which only have to be
    reached), and once more to prove every swap: old module against new one, on the tensors that reach it. A module that nothing reaches,
    or whose weights others read, stays; it is reported as it is, with no error measured. Where nothing matches and the model's
    ``forward`` has been watched before, nothing runs.

    Args:
        module: The model. When it matches itself it takes on class and attributes of its replacement: look ``forward`` up again afterwards.
        replace_1D_2D: Turn 1-D convolutions, batch norms and pools into their 2-D twins.
        example_call: Runs the model on its example; looks ``forward`` up at the time of the call.

    Returns:
        One record for each place in the tree.

    Raises:
        OptionError: It is no module.
        SwapError: A new module does not compute what the old one did.
    """
    keepers = active_keepers()
    chosen = _chosen(replace_1D_2D=replace_1D_2D, cleanups=True)
    paths = _paths(module)
    changes = _take_pending(module)
    candidates = [part for part in _parts(module) if any(one.matches(part) for one in chosen)]
    left: list[nn.Module] = []
    with torch.no_grad(), watched(), tied(), separate_kernels():
        if candidates or not all(keeper.seen_forward for keeper in keepers):
            pairs = [one for one in chosen if isinstance(one, PairReplacement)]
            seconds = [part for part in candidates if any(one.matches(part) for one in pairs)]
            firsts = [part for part in _parts(module) if seconds and any(one.matches_first(part) for one in pairs)]
            seen = None
            if not candidates or seconds or any(_holds_tensors(part) for part in candidates):
                with kept_as_found(module):  # outside of the watch: what is kept of the weights is no use of them
                    seen = observe(module, _unique([*candidates, *firsts]), seconds, example_call)
            left = _put_in_place(module, chosen, changes, seen)
        if changes:
            with kept_as_found(module):
                _prove(changes, paths, example_call)
            left += _take_back(module, changes)
        for keeper in keepers:
            keeper.seen_forward = True
    swaps = [
        Swap(path, type(change.old).__name__, change.after, change.error) for change in changes for path in paths.get(change.place, [])
    ]
    swaps += [Swap(path, type(part).__name__, type(part).__name__) for part in _unique(left) for path in paths.get(id(part), [])]
    return tuple(sorted(swaps, key=lambda swap: swap.path))


def replace_for_export(module: nn.Module, replace_1D_2D: bool = False) -> nn.Module:  # noqa: N803 - the contract's name
    """Swaps modules that cannot be exported for equal ones that can, in place, by type.

    Swapped are the fused norms and softmax of Apex and Megatron, their parallel linears, what third parties registered, and with
    ``replace_1D_2D`` the 1-D modules. Weights are shared with the old modules, not copied. Each swap is proved on made-up tensors where
    the old module runs here, and within an export once more on the tensors that reach it. Made for ``_prepare_for_export``, which undoes
    it; called on its own it stays.

    Args:
        module: The model.
        replace_1D_2D: Turn 1-D convolutions, batch norms and pools into their 2-D twins.

    Returns:
        ``module``, or its replacement where it matches itself.

    Raises:
        SwapError: A new module does not compute what the old one did.

    Example:
        >>> model = nn.Sequential(nn.Conv1d(80, 256, 3), nn.ReLU())
        >>> type(replace_for_export(model, replace_1D_2D=True)[0]).__name__
        'Conv1dAs2d'
    """
    if not isinstance(module, nn.Module):
        raise OptionError("only modules are replaced", found=type(module).__qualname__, expected="a torch.nn.Module")
    keepers = active_keepers()
    root = module
    places = _Places(root)
    chosen = [one for one in _chosen(replace_1D_2D=replace_1D_2D, cleanups=False) if not isinstance(one, PairReplacement)]
    with torch.no_grad(), tied():
        for stage in Stage:
            for part in list(_parts(root)):
                one = next((one for one in chosen if one.stage is stage and one.matches(part)), None)
                if one is None:
                    continue
                new = one.apply(part)
                reference = one.reference(part)
                _prove_alone(one, part, new, reference)
                if part is root:
                    root, places = new, _Places(new)
                else:
                    places.substitute(part, new)
                if keepers:
                    keepers[0].pending.append(_Change(id(new), part, new, [one.name], reference))
    return root


def _chosen(*, replace_1D_2D: bool, cleanups: bool) -> list[Replacement]:  # noqa: N803
    asked = {None, "replace_1D_2D"} if replace_1D_2D else {None}
    return [one for one in replacements.values() if one.on_request in asked and (cleanups or not one.cleanup)]


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Every submodule once, parents first; script modules are closed."""
    seen: set[int] = set()
    ahead = [module]
    while ahead:
        part = ahead.pop()
        if id(part) in seen or isinstance(part, torch.jit.ScriptModule):
            continue
        seen.add(id(part))
        yield part
        ahead.extend(child for child in reversed(list(part._modules.values())) if child is not None)


def _paths(module: nn.Module) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        found.setdefault(id(part), []).append(path)
    return found


def _unique(modules: list[nn.Module]) -> list[nn.Module]:
    return list({id(module): module for module in modules}.values())


def _take_pending(module: nn.Module) -> list[_Change]:
    """The swaps of hooks that stand in this tree, not proved on real tensors yet."""
    keepers = active_keepers()
    if not keepers:
        return []
    inside = {id(part) for part in _parts(module)}
    mine = [change for change in keepers[0].pending if id(change.new) in inside]
    keepers[0].pending = [change for change in keepers[0].pending if id(change.new) not in inside]
    return mine


def _holds_tensors(part: nn.Module) -> bool:
    """Whether others could read what a module holds, or it runs something before itself; dropout and its like are tried without a look."""
    return bool(part._forward_pre_hooks) or next(part.parameters(), None) is not None or next(part.buffers(), None) is not None


def _put_in_place(root: nn.Module, chosen: list[Replacement], changes: list[_Change], seen: Observation | None) -> list[nn.Module]:
    """Replaces stage by stage, and gives the modules that match but have to stay."""
    left: list[nn.Module] = []
    places = _Places(root)
    stands = {id(change.new): change for change in changes}

    def change_of(part: nn.Module) -> _Change:
        return stands.get(id(part)) or _Change(id(part), part, part, [], None)

    def put(change: _Change, part: nn.Module, new: nn.Module, name: str) -> None:
        if part is root:
            places.become(new)
            new = root
        else:
            places.substitute(part, new)
        stands.pop(id(part), None)
        stands[id(new)] = change
        change.new = new
        change.names.append(name)
        if change not in changes:
            changes.append(change)

    for stage in Stage:
        for part in list(_parts(root)):
            one = next((one for one in chosen if one.stage is stage and one.matches(part)), None)
            if one is None:
                continue
            change = change_of(part)
            if seen is not None and (not seen.calls[change.place] or change.place in seen.read_outside):
                left.append(part)
                continue
            if isinstance(one, PairReplacement):
                assert seen is not None, "pairs are watched"
                _fold(root, one, part, change, seen, change_of, put)
                continue
            source = shell(part, type(part)) if part is root else part
            new = one.apply(source)
            if change.reference is None:
                change.old, change.reference = source, one.reference(source)
            put(change, part, new, one.name)
    return left


def _fold(
    root: nn.Module,
    one: PairReplacement,
    second: nn.Module,
    change: _Change,
    seen: Observation,
    change_of: Callable[[nn.Module], _Change],
    put: Callable[[_Change, nn.Module, nn.Module, str], None],
) -> None:
    pair = seen.first_of(change.place)
    if pair is None:
        return
    place, between = pair
    first = next((part for part in _parts(root) if change_of(part).place == place), None)
    if first is None or first is root or second is root or place in seen.read_outside:
        return
    if not one.matches_first(first) or not all(one.fits(first, second, tensor) for tensor in between):
        return
    before = change_of(first)
    one_step = before.reference or first.forward
    two_step = change.reference or second.forward

    def both(*args: Any, **kwargs: Any) -> Any:
        return two_step(one_step(*args, **kwargs))

    folded, rest = one.replace_pair(first, second), one.apply(second)
    before.reference, change.reference = both, None
    before.partner, change.partner = change, before
    put(before, first, folded, one.name)
    put(change, second, rest, one.name)


class _Places:
    """Where modules stand in a tree: at every path, and in plain lists, tuples and dicts of modules that a parent keeps.

    Which attributes of a module can hold others is looked up once: a walk over all of them for every swap is most of what swapping costs.
    """

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._holding: dict[int, tuple[nn.Module, tuple[str, ...]]] = {}

    def substitute(self, old: nn.Module, new: nn.Module) -> None:
        """Puts ``new`` wherever ``old`` stands."""

        def swapped(value: Any) -> Any:
            if value is old:
                return new
            if type(value) is tuple and any(item is old for item in value):
                return tuple(map(swapped, value))
            if type(value) is list:
                value[:] = map(swapped, value)
            elif type(value) is dict:
                value.update((key, new) for key, item in list(value.items()) if item is old)
            return value

        for part in list(_parts(self._root)):
            for name, child in part._modules.items():
                if child is old:
                    part._modules[name] = new
            for name in self._names(part):
                value = vars(part)[name]
                if swapped(value) is not value:
                    vars(part)[name] = swapped(value)

    def become(self, new: nn.Module) -> None:
        """Turns the root into ``new``: nothing above it can point elsewhere."""
        attributes = dict(vars(new))
        object.__setattr__(self._root, "__class__", type(new))
        vars(self._root).clear()
        vars(self._root).update(attributes)
        self._holding.pop(id(self._root), None)

    def _names(self, part: nn.Module) -> tuple[str, ...]:
        """The attributes of one module that can hold modules."""
        if id(part) not in self._holding:
            held = [name for name, value in vars(part).items() if isinstance(value, nn.Module) or type(value) in (tuple, list, dict)]
            self._holding[id(part)] = (part, tuple(name for name in held if not name.startswith("_")))
        return self._holding[id(part)][1]


def _prove(changes: list[_Change], paths: dict[int, list[str]], example_call: Callable[[], Any]) -> None:
    standing = {id(change.new): change for change in changes}

    def around(module: nn.Module, forward: Forward) -> Forward:
        change = standing[id(module)]

        def proved(*args: Any, **kwargs: Any) -> Any:
            kept_args, kept_kwargs = cloned(args), cloned(kwargs)
            answer = forward(*args, **kwargs)
            change.reached = True
            if change.reference is not None:
                where = paths.get(change.place, ["?"])[0]
                error = prove_equal(
                    ", ".join(change.names), answer, change.reference, kept_args, kept_kwargs, where=where, types=change.types
                )
                change.error = max(error, change.error or 0.0)
            return answer

        return proved

    try:
        with intercepted([change.new for change in changes], around):
            example_call()
    except TorchportError:
        raise
    except Exception as error:
        raise SwapError(
            f"the model runs no longer with its modules swapped ({type(error).__name__}: {error})",
            found=", ".join(sorted({change.types for change in changes})),
            hint="the model reads attributes of a module that was swapped; make it read its own",
        ) from error
    for change in changes:
        if change.partner is not None and change.reference is None:
            change.error = change.partner.error


def _take_back(root: nn.Module, changes: list[_Change]) -> list[nn.Module]:
    """Puts modules back that ran before and do not any more: somebody holds on to the old one in a place that nobody can see."""
    lost = [change for change in changes if not change.reached and change.place != id(change.new)]
    lost += [change.partner for change in lost if change.partner is not None and change.partner not in lost]
    places = _Places(root)
    for change in lost:
        if change.new is not root:
            places.substitute(change.new, change.old)
            changes.remove(change)
    return [change.old for change in lost]


def _prove_alone(one: Replacement, old: nn.Module, new: nn.Module, reference: Reference) -> None:
    """Proves a swap on made-up tensors, where the replacement knows some and the old module runs here (a CUDA kernel may not)."""
    inputs = one.probe(old)
    if inputs is None:
        return
    types = f"{type(old).__name__} → {type(new).__name__}"
    with kept_as_found(old), watched():  # a batch norm that trains counts its calls
        try:
            reference(*cloned(inputs))
        except Exception:  # noqa: BLE001 - whatever keeps the old one from running, nothing can be compared
            return
        prove_equal(one.name, new.forward(*cloned(inputs)), reference, inputs, {}, where=type(old).__qualname__, types=types)
