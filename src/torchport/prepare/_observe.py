"""Watches one example call: which modules it reaches, and which module's answer flows into which other module and nowhere else."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from torchport.prepare._vault import dispatch_mode, pointer_of, tensors_in, version_of

__all__ = ["Observation", "intercepted", "observe"]

Forward = Callable[..., Any]


@contextlib.contextmanager
def intercepted(modules: Iterable[nn.Module], around: Callable[[nn.Module, Forward], Forward]) -> Iterator[None]:
    """Lets ``around`` take the place of each module's ``forward``, on the instance only.

    An own ``forward`` sees what user hooks before it made of the inputs, and sees the answer before user hooks change it; it also sees
    ``m.forward(x)``.
    """
    changed: list[nn.Module] = []
    try:
        for module in modules:
            vars(module)["forward"] = _unless_compiling(module.forward, around(module, module.forward))
            changed.append(module)
        yield
    finally:
        for module in changed:
            vars(module).pop("forward", None)


def _unless_compiling(forward: Forward, watched: Forward) -> Forward:
    """torch.cond compiles its branches, which nobody may note anything in: a module there counts as one that was not reached."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs) if torch.compiler.is_compiling() else watched(*args, **kwargs)

    return run


class Observation:
    """What one example call showed.

    Attributes:
        calls: How often each module ran, by ``id``.
        read_outside: Modules whose weights were used while they were not running: their parameters are part of somebody else's computation.
    """

    def __init__(self, root: nn.Module, modules: Iterable[nn.Module], seconds: Iterable[nn.Module]) -> None:
        self.calls: Counter[int] = Counter()
        self.read_outside: set[int] = set()
        self._seconds = {id(module) for module in seconds}
        self._owners = _owners(root, list(modules))
        self._running: list[int] = []
        self._opened: set[int] = set()
        self._taken: list[tuple[str, int] | None] = []
        self._given: dict[int, tuple[weakref.ref[torch.Tensor], int, int]] = {}
        self._flowing: dict[tuple[str, int], tuple[Any, int]] = {}
        self._storages: list[tuple[Any, int]] = []
        self._elsewhere: set[int] = set()
        self._pairs: dict[int, Counter[int]] = {}
        self._between: dict[int, list[torch.Tensor]] = {}

    def around(self, module: nn.Module, forward: Forward) -> Forward:
        """A ``forward`` that notes what goes in and out."""

        def noted(*args: Any, **kwargs: Any) -> Any:
            me = id(module)
            self.calls[me] += 1
            if me in self._opened:
                self._opened.discard(me)
            else:
                self._running.append(me)
            self._taken.append(self._arrives(me, args[0]) if args else None)
            try:
                answer = forward(*args, **kwargs)
            finally:
                self._running.pop()
                self._taken.pop()
            if self._seconds and me not in self._seconds:
                self._leaves(me, answer)
            return answer

        return noted

    def opened(self, module: nn.Module, args: Any) -> None:
        """A first forward pre-hook: what the module's other hooks do (weight norm computes the weight there) is the module's own doing."""
        if torch.compiler.is_compiling():
            return
        self._opened.add(id(module))
        self._running.append(id(module))

    def _arrives(self, me: int, value: torch.Tensor) -> tuple[str, int] | None:
        if me not in self._seconds:
            return None
        sources = self._pairs.setdefault(me, Counter())
        source, version, given = 0, 0, self._given.get(id(value))
        if given is not None:
            reference, version, source = given
            if reference() is not value or version != version_of(value):
                source = 0
        sources[source] += 1
        if not source:
            return None
        self._between.setdefault(me, []).append(torch.empty(value.shape, dtype=value.dtype, device="meta"))
        return pointer_of(value)

    def _leaves(self, me: int, answer: Any) -> None:
        if not isinstance(answer, torch.Tensor):
            return
        place = pointer_of(answer)
        if place is None:
            self._elsewhere.add(me)
            return
        self._given[id(answer)] = (weakref.ref(answer), version_of(answer), me)
        reference = _storage_reference(answer)
        self._flowing[place] = (reference, me)
        self._storages.append((reference, me))

    def operation(self, tensors: Iterable[torch.Tensor]) -> None:
        """Notes which tensors an operation takes."""
        for tensor in tensors:
            place = pointer_of(tensor)
            if place is None:
                continue
            owners = self._owners.get(place)
            if owners is not None and owners.isdisjoint(self._running):
                self.read_outside |= owners
            flowing = self._flowing.get(place)
            if flowing is not None and place not in self._taken:
                reference, source = flowing
                if reference.expired():
                    del self._flowing[place]  # the memory is somebody else's by now
                else:
                    self._elsewhere.add(source)

    def finish(self) -> None:
        """Looks, while the model's answer is still held, who holds on to what has flowed."""
        sources = {source for taken in self._pairs.values() for source in taken}
        if any(source in sources and not reference.expired() for reference, source in self._storages):
            gc.collect()
        self._elsewhere.update(source for reference, source in self._storages if not reference.expired())
        self._given.clear()
        self._flowing.clear()

    def first_of(self, second: int) -> tuple[int, list[torch.Tensor]] | None:
        """The one module whose answers are all of what ``second`` takes, and go nowhere else; and these answers, without their values."""
        sources = self._pairs.get(second)
        if sources is None or len(sources) != 1:
            return None
        (source, count), *_ = sources.items()
        takers = [taker for taker, taken in self._pairs.items() if source in taken]
        if not source or takers != [second] or source in self._elsewhere or self.calls[source] != count or self.calls[second] != count:
            return None
        return source, self._between[second]


def observe(root: nn.Module, modules: list[nn.Module], seconds: list[nn.Module], example_call: Callable[[], Any]) -> Observation:
    """Runs ``example_call`` once and watches.

    Args:
        root: The whole model.
        modules: The modules to watch.
        seconds: Those of them that may fold into the one before them.
        example_call: Runs the model.
    """
    observation = Observation(root, modules, seconds)
    with contextlib.ExitStack() as stack:
        for module in modules:
            if module._forward_pre_hooks:
                stack.callback(module.register_forward_pre_hook(observation.opened, prepend=True).remove)
        stack.enter_context(intercepted(modules, observation.around))
        stack.enter_context(dispatch_mode(lambda _, args, kwargs: observation.operation(tensors_in((args, kwargs)))))
        answer = example_call()
    observation.finish()
    del answer
    return observation


def _owners(root: nn.Module, modules: list[nn.Module]) -> dict[tuple[str, int], set[int]]:
    """Whose each weight is; weights that a module which is not watched has, too, are left out: they may be used anywhere."""
    owners: dict[tuple[str, int], set[int]] = {}
    inside: set[int] = set()
    for module in modules:
        inside.update(id(part) for part in module.modules())
        for tensor in (*module.parameters(), *module.buffers()):
            place = pointer_of(tensor)
            if place is not None:
                owners.setdefault(place, set()).add(id(module))
    for part in root.modules():
        if id(part) not in inside:
            for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
                owners.pop(pointer_of(tensor) or ("", 0), None)
    return owners


def _storage_reference(tensor: torch.Tensor) -> Any:
    """A weak reference to a tensor's storage: torch 2.13 has none in its documented API."""
    from torch.multiprocessing.reductions import StorageWeakRef

    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
