"""Reads where the tensors of a TorchScript archive are, from its pickle, without running anything of it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["StoredTensor", "stored_tensors"]

_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of the archive.

    Attributes:
        name: Its qualified name.
        dtype: Torch's name of its dtype; empty for other dtypes than floating-point ones.
        key: The record of its storage, below the pickle's folder.
        offset: Where it begins in the storage, in elements.
        shape: Its shape.
        strides: Its strides, in elements.
    """

    name: str
    dtype: str
    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def stored_tensors(content: bytes) -> Iterator[StoredTensor]:
    """The tensors of a module's pickle (``data.pkl``), in order.

    Raises:
        ValueError: The pickle holds something that no TorchScript module holds.
    """
    try:
        root = _Reader(io.BytesIO(content)).load()
    except Exception as error:
        raise ValueError(f"the archive's pickle is not that of a module: {error}") from error
    yield from _walk(root, "")


class _Stub:
    """Stands for every class of the archive; keeps what the pickle says of its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Tensor(_Stub):
    """Stands for the function that makes a tensor of a storage."""


class _Storage(str):
    """Stands for a storage's type; it is the type's name."""

    __slots__ = ()


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name.endswith("Storage"):
            return _Storage(name)
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _Tensor
        return _Stub

    def persistent_load(self, key: Any) -> Any:
        return key


def _walk(value: Any, name: str) -> Iterator[StoredTensor]:
    if isinstance(value, _Tensor):
        (_, storage, key, *_), offset, shape, strides = value.arguments[:4]
        yield StoredTensor(name, _STORAGES.get(str(storage), ""), str(key), int(offset), tuple(shape), tuple(strides))
    elif isinstance(value, _Stub):
        # A module has a state; a list or dict of tensors comes as the argument of what restores its type.
        yield from _walk(value.arguments[0] if value.state is None and value.arguments else value.state, name)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _walk(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for place, part in enumerate(value):
            yield from _walk(part, f"{name}.{place}" if name else str(place))
