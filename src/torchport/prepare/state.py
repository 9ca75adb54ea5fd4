"""Leaves a model as it was found: everything that an export may touch is remembered, and put back on every exit."""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from torchport.errors import PrepareError
from torchport.prepare._flags import read_flags, write_flags
from torchport.prepare._inventory import EMPTY, Inventory, attributes_of, in_slot, slots_of, take_inventory
from torchport.prepare._vault import RawAccessGuard, Vault, write_guard

__all__ = ["Keeper", "active_keepers", "as_found_again", "kept_as_found", "watched"]

_ACTIVE: ContextVar[tuple[Keeper, ...]] = ContextVar("torchport_keepers", default=())


class _Holder:
    """The class and the attributes of one object."""

    def __init__(self, holder: Any) -> None:
        self.holder = holder
        self.kind = type(holder)
        self.attributes = dict(attributes_of(holder) or {})
        self.slots = [(slot, in_slot(slot, holder)) for slot in slots_of(holder).values()]
        # torch gives every parametrized module a class of its own, and takes properties off it when a parametrization is removed.
        own_class = isinstance(holder, nn.Module) and parametrize.is_parametrized(holder)
        self.class_attributes = dict(vars(self.kind)) if own_class else None
        # The mode of a script module lives in C++.
        self.training = holder.training if isinstance(holder, torch.jit.ScriptModule) else None

    def restore(self) -> None:
        if type(self.holder) is not self.kind:
            object.__setattr__(self.holder, "__class__", self.kind)
        if self.class_attributes is not None:
            _restore_class(self.kind, self.class_attributes)
        now = attributes_of(self.holder)
        if now is not None and not _same_items(list(now.items()), list(self.attributes.items())):
            now.clear()
            now.update(self.attributes)
        for slot, value in self.slots:
            if in_slot(slot, self.holder) is value:
                continue
            if value is EMPTY:
                slot.__delete__(self.holder)
            else:
                slot.__set__(self.holder, value)
        if self.training is not None and self.holder.training != self.training:
            self.holder.training = self.training


def _restore_class(kind: type, attributes: dict[str, Any]) -> None:
    now = dict(vars(kind))
    for name in now.keys() - attributes.keys():
        delattr(kind, name)
    for name, value in attributes.items():
        if not name.startswith("__") and now.get(name) is not value:
            setattr(kind, name, value)


class _Contents:
    """What one container held."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.items = _items(container)

    def restore(self) -> None:
        container = self.container
        if _same_items(_items(container), self.items):
            return
        container.clear()
        if isinstance(container, (list, deque)):
            container.extend(self.items)
        else:
            container.update(self.items)


def _items(container: Any) -> list[Any]:
    return list(container.items()) if isinstance(container, dict) else list(container)


def _same_items(one: list[Any], other: list[Any]) -> bool:
    """Whether two lists hold the same objects; pairs of a dict are compared part by part."""
    if len(one) != len(other):
        return False
    for left, right in zip(one, other, strict=True):
        if left is right:
            continue
        pairs = type(left) is type(right) is tuple and len(left) == len(right) == 2
        if not (pairs and left[0] is right[0] and left[1] is right[1]):
            return False
    return True


class _Block:
    """The numbers in one NumPy array or byte array."""

    def __init__(self, block: Any) -> None:
        self._block = block
        self._saved = block.copy()

    def restore(self) -> None:
        if isinstance(self._block, bytearray):
            self._block[:] = self._saved
        else:
            self._block[...] = self._saved


class _Generator:
    """The state of a random generator that the model owns."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._state = self._read()

    def _read(self) -> Any:
        generator = self._generator
        if isinstance(generator, random.Random):
            return generator.getstate()
        return generator.bit_generator.state if hasattr(generator, "bit_generator") else generator.get_state()

    def restore(self) -> None:
        generator = self._generator
        if isinstance(generator, random.Random):
            generator.setstate(self._state)
        elif hasattr(generator, "bit_generator"):
            generator.bit_generator.state = self._state
        else:
            generator.set_state(self._state)


class Keeper:
    """Everything about one model, as it was found.

    Attributes:
        root: The model.
        vault: The tensors.
        seen_forward: Whether ``forward`` has run while writes were watched.
        pending: Swaps that a hook made, not proved yet.
    """

    def __init__(self, module: nn.Module) -> None:
        self.root: nn.Module = module
        self.flags = read_flags()
        found: Inventory = take_inventory(module)
        self.vault: Vault = Vault(found.tensors, [keeper.vault for keeper in reversed(active_keepers())])
        self.seen_forward = False
        self.pending: list[Any] = []
        self._parts: list[_Holder | _Contents | _Block | _Generator] = [
            *map(_Holder, found.holders),
            *map(_Contents, found.containers),
            *map(_Block, found.blocks),
            *map(_Generator, found.generators),
        ]

    def restore(self) -> list[str]:
        """Puts everything back, and names what could not be; a second interruption does not stop it half way."""
        problems: list[str] = []
        interruption: BaseException | None = None

        def guarded(name: str, step: Callable[[], object]) -> None:
            nonlocal interruption
            while True:
                try:
                    result = step()
                    problems.extend(result if isinstance(result, list) else ())
                    return
                except KeyboardInterrupt as error:  # every step can be repeated
                    interruption = error
                except Exception as error:  # noqa: BLE001 - one broken object must not keep the others from being put back
                    problems.append(f"{name}: {type(error).__name__}: {error}")
                    return

        for part in self._parts:
            guarded(type(getattr(part, "holder", part)).__name__, part.restore)
        for step in self.vault.steps():
            guarded("tensor", step)
        guarded("flags", lambda: write_flags(self.flags))
        if interruption is not None:
            raise interruption
        return problems


def active_keepers() -> tuple[Keeper, ...]:
    """The keepers of this thread, the outermost first."""
    return _ACTIVE.get()


@contextlib.contextmanager
def kept_as_found(module: nn.Module) -> Iterator[Keeper]:
    """Puts the model and every global switch back on exit, whether the body worked, failed or was interrupted.

    Kept are: the tree of submodules (classes included), parameters and buffers (identity, values, ``requires_grad``, ``grad``),
    ``training``, hooks, every instance attribute and slot with the contents of lists, dicts, sets, arrays and plain objects that it
    holds, the bound ``forward``, random states, the default dtype and device, grad mode, autocast, threads, the flags of the backends,
    and the environment variables of the exporters. Tied weights stay tied.

    Values of small tensors are copied at once; those of large ones when something is about to write into them, inside of `watched`.

    Raises:
        PrepareError: Something could not be put back.

    Example:
        >>> with kept_as_found(model):
        ...     model.eval().half()
        >>> model.training
        True
    """
    keeper = Keeper(module)
    token = _ACTIVE.set((*_ACTIVE.get(), keeper))
    failure: BaseException | None = None
    try:
        yield keeper
    except BaseException as error:
        failure = error
        raise
    finally:
        _ACTIVE.reset(token)
        problems = keeper.restore()
        if problems and failure is not None:
            failure.add_note("the model could not be put back wholly: " + "; ".join(problems))
        elif problems:
            raise PrepareError(
                "the model could not be put back wholly",
                where=type(module).__qualname__,
                found="; ".join(problems),
                hint="export a copy of the model, or do not write into its weights while it is exported",
            )


@contextlib.contextmanager
def as_found_again(module: nn.Module) -> Iterator[None]:
    """Gives the model back as the outermost `kept_as_found` around this found it; what was prepared since comes back on exit.

    Outside of any, the model stays as it is, and is left so.

    Raises:
        PrepareError: Something could not be put back.

    Example:
        >>> with kept_as_found(model):
        ...     model.eval().half()
        ...     with as_found_again(model):
        ...         model(torch.ones(2, 3)).dtype
        torch.float32
    """
    outermost = next((keeper for keeper in active_keepers() if keeper.root is module), None)
    with watched(), kept_as_found(module):  # what is written on the way there and back is kept by the keepers around this, too
        if outermost is not None:
            with watched():
                problems = outermost.restore()
            if problems:
                raise PrepareError(
                    "the model cannot be looked at as it was found", where=type(module).__qualname__, found="; ".join(problems)
                )
        yield


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Keeps the values of every tensor that is written to inside; for the first run of foreign code.

    Does nothing outside of `kept_as_found`.
    """
    keepers = active_keepers()
    if not keepers:
        yield
        return
    vaults = [keeper.vault for keeper in keepers]
    try:
        with RawAccessGuard(vaults), write_guard(vaults):
            yield
    finally:
        for vault in vaults:
            vault.settle()
