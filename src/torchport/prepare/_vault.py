"""Keeps tensor values that are about to be overwritten, without copying the weights up front.

A tensor that is merely replaced (``p.data = p.data.half()``) needs no copy: an alias of its old storage is enough. A write into the
storage needs one, and a copy of everything would double the memory of a large model. So small tensors are copied at once, and large ones
when an operation is about to write into them, which a dispatch mode sees, ``.data`` and ``detach()`` included. The mode is on while
foreign code runs for the first time: the hooks of the model and the first run of its ``forward``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode  # documented under torch.utils; there is no other spelling as of torch 2.13

__all__ = ["RawAccessGuard", "Vault", "dispatch_mode", "pointer_of", "same_bits", "tensors_in", "version_of", "write_guard"]

_SMALL = 1 << 18
"""Bytes of a tensor that is copied at once."""

_SMALL_BUFFER = 1 << 22
"""The same for what is no parameter: models write into their buffers."""

_BUDGET = 1 << 25
"""Bytes of all copies that are made at once."""


_LOOKING = threading.local()
"""Set while this file itself asks where a tensor lies: that is no access."""


def pointer_of(tensor: torch.Tensor) -> tuple[str, int] | None:
    """Where the tensor's storage lies, or ``None`` for one without (meta, sparse, empty)."""
    before = getattr(_LOOKING, "on", False)
    _LOOKING.on = True
    try:
        place = tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return None
    finally:
        _LOOKING.on = before
    return (str(tensor.device), place) if place else None


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same bytes (NaN equals NaN, ``-0.0`` differs from ``0.0``)."""
    if one.dtype != other.dtype or one.shape != other.shape or one.device != other.device:
        return False
    if one.layout is not torch.strided or one.is_quantized:
        return bool(torch.equal(one, other))
    if one.is_complex():
        one, other = torch.view_as_real(one.resolve_conj()), torch.view_as_real(other.resolve_conj())
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return bool(torch.equal(one.view(whole), other.view(whole)))


def tensors_in(value: Any) -> Iterable[torch.Tensor]:
    """The tensors of nested lists, tuples and dicts."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


def version_of(tensor: torch.Tensor) -> int:
    """How often the tensor was written to; inference tensors do not count."""
    return 0 if tensor.is_inference() else tensor._version


class _Kept:
    """One tensor as it was found."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.alias = tensor.data
        self.version = version_of(tensor)
        self.requires_grad = tensor.requires_grad
        self.has_grad = tensor.is_leaf or tensor.retains_grad
        self.grad = tensor.grad if self.has_grad else None
        self.hooks = tensor._backward_hooks
        self.hook_items = list(self.hooks.items()) if self.hooks else []
        self.attributes = dict(vars(tensor))
        self.saved: torch.Tensor | None = None
        self.at_once = False

    def save(self, like: torch.Tensor | None = None) -> None:
        """Copies the values once, unless ``like`` is such a copy already."""
        if self.saved is None:
            with torch.no_grad():
                self.saved = like if like is not None and same_bits(self.alias, like) else self.alias.clone()

    def settle(self) -> None:
        """Gives the copy up when nothing was changed after all."""
        if self.saved is not None and not self.at_once and same_bits(self.alias, self.saved):
            self.saved = None
        self.version = version_of(self.tensor)

    def restore_values(self) -> list[str]:
        """Puts storage and values back; names what was written to with no copy at hand."""
        tensor, alias = self.tensor, self.alias
        written = version_of(tensor) != self.version
        if not _same_place(tensor, alias):
            tensor.data = alias
        if self.saved is not None:
            if not same_bits(alias, self.saved):
                with torch.no_grad():
                    alias.copy_(self.saved)
        elif written:
            return [f"a tensor of shape {tuple(alias.shape)} was written to where nothing kept its values"]
        return []

    def restore_links(self) -> list[str]:
        """Puts what hangs on the tensor back; gradients must have their own dtype again by then."""
        tensor = self.tensor
        if tensor.is_leaf and tensor.requires_grad != self.requires_grad:
            tensor.requires_grad_(self.requires_grad)
        if self.has_grad and tensor.grad is not self.grad:
            tensor.grad = self.grad
        if tensor._backward_hooks is not self.hooks:
            tensor._backward_hooks = self.hooks
        if self.hooks is not None and list(self.hooks.items()) != self.hook_items:
            self.hooks.clear()
            self.hooks.update(self.hook_items)
        now = vars(tensor)
        if now.keys() != self.attributes.keys() or any(now[name] is not value for name, value in self.attributes.items()):
            vars(tensor).clear()
            vars(tensor).update(self.attributes)
        return []


def _same_place(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape or one.device != other.device or one.layout != other.layout:
        return False
    if one.layout is not torch.strided:
        return True
    return one.stride() == other.stride() and one.storage_offset() == other.storage_offset() and pointer_of(one) == pointer_of(other)


class Vault:
    """The tensors of one model as they were found.

    Args:
        tensors: The tensors.
        around: The vaults around this one; a copy that one of them holds, and that is right still, is not made again.
    """

    def __init__(self, tensors: Iterable[torch.Tensor], around: Sequence[Vault] = ()) -> None:
        self._kept = [_Kept(tensor) for tensor in tensors]
        self._by_tensor = {id(kept.tensor): kept for kept in self._kept}
        self._by_pointer: dict[tuple[str, int], list[_Kept]] = {}
        left = _BUDGET
        for kept in self._kept:
            place = pointer_of(kept.alias)
            if place is None:
                continue
            self._by_pointer.setdefault(place, []).append(kept)
            size = kept.alias.numel() * kept.alias.element_size()
            if size <= min(left, _SMALL if isinstance(kept.tensor, torch.nn.Parameter) else _SMALL_BUFFER):
                kept.save(next((copy for vault in around if (copy := vault.copy_of(kept.tensor)) is not None), None))
                kept.at_once = True
                left -= size

    def copy_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The copy of a tensor's values that is held here, if there is one; nobody writes into it."""
        kept = self._by_tensor.get(id(tensor))
        return None if kept is None else kept.saved

    def about_to_write(self, tensor: torch.Tensor) -> None:
        """Copies what lies in the tensor's storage, once."""
        place = pointer_of(tensor)
        if place is not None:
            for kept in self._by_pointer.get(place, ()):
                kept.save()

    def settle(self) -> None:
        """Gives up copies of what was not changed after all."""
        for kept in self._kept:
            kept.settle()

    def steps(self) -> Iterator[Callable[[], list[str]]]:
        """What puts every tensor back, step by step; each names what it could not do, and can be repeated."""
        for kept in self._kept:
            yield kept.restore_values
        for kept in self._kept:
            yield kept.restore_links


def dispatch_mode(see: Callable[[Any, Any, Any], None]) -> TorchDispatchMode:
    """A mode that shows ``see`` every operation, with its arguments, before it runs.

    As of torch 2.13 a mode loads torch's compiler at its first operation (2 s, 120 MB), to keep the compiler away from itself. This one
    asks for that only where the compiler is loaded already; hence a class for each use.
    """

    class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class machinery is untyped
        supports_higher_order_operators = True  # a mode that does not say so refuses torch.cond and its like

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return "torch._dynamo" in sys.modules

        @classmethod
        def ignore_compile_internals(cls) -> bool:
            return True  # torch.cond compiles its branches when it is called; this mode sees the call, and is not compiled with them

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            see(func, args, kwargs or {})
            return func(*args, **(kwargs or {}))

    return Mode()  # type: ignore[no-untyped-call]


def write_guard(vaults: Iterable[Vault]) -> TorchDispatchMode:
    """Tells vaults of every operation that is about to write into a tensor."""
    vaults = tuple(vaults)

    def see(func: Any, args: Any, kwargs: Any) -> None:
        schema = getattr(func, "_schema", None)
        if schema is None:  # torch.cond and its like: what their branches write, nothing tells
            for tensor in tensors_in((args, kwargs)):
                for vault in vaults:
                    vault.about_to_write(tensor)
            return
        if not schema.is_mutable:
            return
        for place, argument in enumerate(schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in tensors_in(args[place] if place < len(args) else kwargs.get(argument.name)):
                    for vault in vaults:
                        vault.about_to_write(tensor)

    return dispatch_mode(see)


_RAW = frozenset(
    {
        torch.Tensor.numpy,
        torch.Tensor.data_ptr,
        torch.Tensor.untyped_storage,
        torch.Tensor.storage,
        torch.Tensor.__array__,
        torch.Tensor.__dlpack__,
    }
)
"""Ways out of torch: what is written through them, no operation shows."""


class RawAccessGuard(TorchFunctionMode):
    """Tells vaults of tensors whose memory is handed to something outside of torch."""

    def __init__(self, vaults: Iterable[Vault]) -> None:
        super().__init__()
        self._vaults = tuple(vaults)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Looks at the function, then lets it run."""
        if func in _RAW and not getattr(_LOOKING, "on", False) and args and isinstance(args[0], torch.Tensor):
            for vault in self._vaults:
                vault.about_to_write(args[0])
        return func(*args, **(kwargs or {}))
