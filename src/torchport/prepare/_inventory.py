"""Finds everything that belongs to a module: submodules, attributes, containers, tensors, random generators."""

from __future__ import annotations

import enum
import random
import sys
import types
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

__all__ = ["EMPTY", "Inventory", "attributes_of", "in_slot", "is_container", "slots_of", "take_inventory"]

EMPTY = object()
"""What a slot without a value holds."""

_DEPTH = 5
"""How deep attributes of attributes are followed: a config object, its sections, their parts. Containers are followed to their end."""

_MANY = 4096
"""A longer container (a vocabulary) is kept, its items are not looked into."""

_FOREIGN = frozenset(
    {
        "abc",
        "asyncio",
        "builtins",
        "concurrent",
        "contextvars",
        "ctypes",
        "functools",
        "importlib",
        "inspect",
        "io",
        "logging",
        "multiprocessing",
        "numpy",
        "onnx",
        "onnxruntime",
        "pathlib",
        "re",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "torch",
        "types",
        "typing",
        "weakref",
        "_thread",
        "_weakref",
    }
)
"""Objects of these packages are shared or have no state of the module's own."""


@dataclass
class Inventory:
    """Everything that belongs to one module, each thing once, in a stable order.

    Attributes:
        modules: The module, its submodules, and modules that are only attributes.
        holders: Objects with attributes: the modules, and plain objects (a config) that they hold.
        containers: Lists, dicts, sets and deques that the attributes hold.
        blocks: NumPy arrays and byte arrays that can be written to.
        tensors: Parameters, buffers, gradients, and tensors that are plain attributes.
        generators: Random generators that are attributes.
    """

    modules: list[nn.Module] = field(default_factory=list)
    holders: list[Any] = field(default_factory=list)
    containers: list[Any] = field(default_factory=list)
    blocks: list[Any] = field(default_factory=list)
    tensors: list[torch.Tensor] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)


def is_container(value: object) -> bool:
    """Whether ``value`` is a container whose contents can be put back in place."""
    return isinstance(value, (dict, list, set, deque))


def attributes_of(holder: object) -> dict[str, Any] | None:
    """The instance dictionary of ``holder``, the real one, or ``None``."""
    try:
        attributes = object.__getattribute__(holder, "__dict__")
    except AttributeError:
        return None
    return attributes if isinstance(attributes, dict) else None


def slots_of(holder: object) -> dict[str, types.MemberDescriptorType]:
    """The slots of ``holder``'s classes, by class and name: what it keeps outside of its instance dictionary."""
    found: dict[str, types.MemberDescriptorType] = {}
    for kind in type(holder).__mro__:
        if "__slots__" in vars(kind) and kind.__module__.partition(".")[0] not in _FOREIGN:
            slots = ((name, one) for name, one in vars(kind).items() if isinstance(one, types.MemberDescriptorType))
            found.update({f"{kind.__qualname__}.{name}": one for name, one in slots})
    return found


def in_slot(slot: types.MemberDescriptorType, holder: object) -> Any:
    """What a slot of ``holder`` holds, or `EMPTY`."""
    try:
        return slot.__get__(holder)
    except AttributeError:
        return EMPTY


def _held_by(holder: object) -> Iterable[Any]:
    yield from (attributes_of(holder) or {}).values()
    yield from (in_slot(slot, holder) for slot in slots_of(holder).values())


def take_inventory(root: nn.Module) -> Inventory:
    """Walks over everything that ``root`` holds."""
    found = Inventory()
    seen: set[int] = set()
    ahead: deque[tuple[Any, int]] = deque([(root, 0)])
    while ahead:
        value, depth = ahead.popleft()
        if id(value) in seen:
            continue
        if isinstance(value, nn.Module):
            seen.add(id(value))
            found.modules.append(value)
            found.holders.append(value)
            ahead.extend((part, 0) for part in _parts_of_module(value))
            ahead.extend((part, 1) for part in _held_by(value))
        elif isinstance(value, torch.Tensor):
            seen.add(id(value))
            found.tensors.append(value)
            if (value.is_leaf or value.retains_grad) and value.grad is not None:
                ahead.append((value.grad, depth))
        elif is_container(value):
            seen.add(id(value))
            found.containers.append(value)
            ahead.extend((part, depth) for part in _parts_of_container(value))
        elif isinstance(value, tuple):
            seen.add(id(value))
            ahead.extend((part, depth) for part in _parts_of_container(value))
        elif _is_block(value):
            seen.add(id(value))
            if isinstance(value, bytearray) or value.flags.writeable:
                found.blocks.append(value)
            ahead.extend((part, depth) for part in _parts_of_block(value))
        elif _is_generator(value):
            seen.add(id(value))
            found.generators.append(value)
        elif depth < _DEPTH and _is_plain_object(value):
            seen.add(id(value))
            found.holders.append(value)
            ahead.extend((part, depth + 1) for part in _held_by(value))
    return found


def _parts_of_module(module: nn.Module) -> Iterable[Any]:
    if isinstance(module, torch.jit.ScriptModule):  # its tree lives in C++, not in its attributes
        yield from (tensor for _, tensor in module.named_parameters(recurse=False))
        yield from (tensor for _, tensor in module.named_buffers(recurse=False))
        yield from module.children()


def _parts_of_container(value: Any) -> Iterable[Any]:
    if len(value) > _MANY:
        return ()
    return value.values() if isinstance(value, dict) else tuple(value)


def _parts_of_block(value: Any) -> Iterable[Any]:
    """The objects that a NumPy array of objects refers to."""
    if isinstance(value, bytearray) or not value.dtype.hasobject or value.size > _MANY:
        return ()
    return tuple(value.ravel().tolist())


def _is_block(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    return isinstance(value, bytearray) or (numpy is not None and isinstance(value, numpy.ndarray))


def _is_generator(value: object) -> bool:
    if isinstance(value, (torch.Generator, random.Random)):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.random.Generator, numpy.random.RandomState))


def _is_plain_object(value: object) -> bool:
    kind = type(value)
    if isinstance(value, (type, enum.Enum, types.ModuleType, types.FunctionType, types.MethodType)):
        return False
    if isinstance(value, types.SimpleNamespace):
        return True
    return kind.__module__.partition(".")[0] not in _FOREIGN and (attributes_of(value) is not None or bool(slots_of(value)))
