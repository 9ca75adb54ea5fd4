"""One digest over everything that an export must leave alone: equal before and after, or something was changed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from torchport.prepare._flags import read_flags
from torchport.prepare._inventory import attributes_of, in_slot, is_container, slots_of, take_inventory

__all__ = ["state_digest"]

Feed = Callable[[str], None]


def state_digest(module: nn.Module) -> str:
    """The sha256 of a model's whole state and of every global switch.

    It covers what `kept_as_found` keeps: the tree, classes, parameters and buffers with identity and values, gradients, modes, hooks,
    attributes, random states and flags. Object identities are part of it, so it only compares states of one object in one process.

    Example:
        >>> before = state_digest(model)
        >>> model.export("m.onnx")
        >>> state_digest(model) == before
        True
    """
    digest = hashlib.sha256()

    def feed(text: str) -> None:
        digest.update(text.encode() + b"\0")

    found = take_inventory(module)
    for path, part in module.named_modules(remove_duplicate=False):
        feed(f"module {path} {id(part)} {part.training}")
    for holder in found.holders:
        kind = type(holder)
        feed(f"holder {id(holder)} {kind.__module__}.{kind.__qualname__} {id(kind)}")
        if isinstance(holder, nn.Module) and nn.utils.parametrize.is_parametrized(holder):
            feed(f"class {sorted(vars(kind))}")
        for name, value in sorted((attributes_of(holder) or {}).items()):
            feed(f"attribute {name} {_token(value)}")
        for name, slot in sorted(slots_of(holder).items()):
            feed(f"slot {name} {_token(in_slot(slot, holder))}")
    for container in found.containers:
        feed(f"container {id(container)} {type(container).__qualname__}")
        items = container.items() if isinstance(container, dict) else container
        for item in sorted(map(_token, items)) if isinstance(container, (set, frozenset)) else map(_token, items):
            feed(item)
    for block in found.blocks:
        feed(f"block {id(block)} {_flag_text(block)}")
    for generator in found.generators:
        feed(f"generator {_generator_state(generator)}")
    for tensor in found.tensors:
        _feed_tensor(tensor, feed, digest.update)
    for name, value in read_flags().items():
        feed(f"flag {name} {_flag_text(value)}")
    return digest.hexdigest()


def _token(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype, torch.device)):
        return repr(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_token, value))})"
    if is_container(value):
        return f"{type(value).__qualname__} {id(value)} of {len(value)}"
    return f"{type(value).__qualname__} {id(value)}"


def _generator_state(generator: Any) -> str:
    if isinstance(generator, random.Random):
        return repr(generator.getstate())
    if hasattr(generator, "bit_generator"):
        return repr(generator.bit_generator.state)
    return _flag_text(generator.get_state())


def _flag_text(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(bytes(value.flatten().tolist())).hexdigest()
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(_flag_text, value)) + ")"
    return value.tobytes().hex() if hasattr(value, "tobytes") else repr(value)


def _feed_tensor(tensor: torch.Tensor, feed: Feed, raw: Callable[[Any], None]) -> None:
    grad = tensor.grad if tensor.is_leaf or tensor.retains_grad else None
    feed(
        f"tensor {id(tensor)} {type(tensor).__qualname__} {tensor.dtype} {tuple(tensor.shape)} {tensor.device} {tensor.requires_grad} "
        f"{None if grad is None else id(grad)} {_token(tuple((tensor._backward_hooks or {}).items()))}"
    )
    for name, value in vars(tensor).items():
        feed(f"on tensor {name} {_token(value)}")
    if tensor.layout is not torch.strided:
        feed(repr(tensor))
    elif tensor.device.type != "meta":
        feed(f"at {tensor.stride()} {tensor.storage_offset()} {tensor.data_ptr()}")
        flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
        if flat.is_complex():
            flat = torch.view_as_real(flat)
        raw(flat.reshape(-1).view(torch.uint8).numpy())
