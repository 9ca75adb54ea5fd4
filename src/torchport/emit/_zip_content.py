"""The tensors of a PyTorch archive, hashed where they lie, and the structure that its pickles describe; nothing is run."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from torchport.emit._content import TensorContent, hash_stream
from torchport.ports.dtypes import known_dtype

__all__ = ["Archive", "Tensor", "described"]

_SMALL = 2**28
"""Programs and pickles are smaller than this; a record that says otherwise is not read."""

_LARGEST_VIEW = 2**36
"""A tensor that claims more bytes is a trap: a view may repeat one number without end."""

_BLOCK = 2**20

_REBUILD = ("torch._utils", "_rebuild_tensor_v2")


@dataclass(frozen=True)
class Tensor:
    """A tensor as a pickle describes it: a view of a record.

    Attributes:
        record: The record with its storage.
        dtype: Its dtype's name.
        shape: Its sizes.
        strides: Steps in elements.
        offset: The first element.
    """

    record: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def in_one_piece(self) -> bool:
        """Whether its elements lie one behind the other, in row order."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True

    @property
    def last(self) -> int:
        """The index behind the last element that it looks at."""
        return self.offset + 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))


class Archive:
    """A zip archive of PyTorch, its records named below its root."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = archive.namelist()
        root = names[0].split("/", 1)[0] + "/" if names else ""
        self.records = {info.filename.removeprefix(root): info for info in archive.infolist()}
        self._seen: dict[Tensor, TensorContent] = {}

    def read(self, name: str) -> bytes:
        """A small record.

        Raises:
            ValueError: There is none, or it is not small.
        """
        info = self._info(name)
        if info.file_size > _SMALL:
            raise ValueError(f"the record {name!r} is too large for what it is")
        return self._archive.read(info)

    def tensor(self, tensor: Tensor) -> TensorContent:
        """The content of a tensor; what lies in one piece is streamed.

        Raises:
            ValueError: Its record is missing, compressed or too short.
        """
        if tensor not in self._seen:
            self._seen[tensor] = TensorContent(tensor.dtype, tensor.shape, self._hash(tensor))
        return self._seen[tensor]

    def _info(self, name: str) -> zipfile.ZipInfo:
        if name not in self.records:
            raise ValueError(f"the archive has no record {name!r}")
        return self.records[name]

    def _hash(self, tensor: Tensor) -> str:
        info = self._info(tensor.record)
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"the record {tensor.record!r} is compressed: PyTorch stores tensors as they are")
        if tensor.elements == 0:
            return hashlib.sha256().hexdigest()
        known = known_dtype(tensor.dtype)
        with self._archive.open(info) as stream:
            if known is None:  # how wide its elements are is not known here: the whole record stands for it
                return hash_stream(stream, info.file_size)
            width = known.bits // 8
            if tensor.offset < 0 or min((*tensor.shape, *tensor.strides), default=0) < 0 or tensor.last * width > info.file_size:
                raise ValueError(f"a tensor is longer than its record {tensor.record!r}")
            if tensor.elements * width > _LARGEST_VIEW:
                raise ValueError(f"a view of the record {tensor.record!r} repeats it beyond all measure")
            if tensor.in_one_piece:
                stream.seek(tensor.offset * width)
                return hash_stream(stream, tensor.elements * width)
            storage = np.frombuffer(stream.read(), np.uint8)
        return _hash_view(storage, tensor, width)


def _hash_view(storage: npt.NDArray[np.uint8], tensor: Tensor, width: int) -> str:
    """The values of a view in row order."""
    strides = tuple(stride * width for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset * width :], (*tensor.shape, width), (*strides, 1), writeable=False)
    digest = hashlib.sha256()
    for block in _blocks(view):
        digest.update(np.ascontiguousarray(block).reshape(-1).data)
    return digest.hexdigest()


def _blocks(view: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """The view in pieces that may be copied, in row order."""
    if view.size <= _BLOCK:
        yield view
    elif view.ndim > 2:
        for row in view:
            yield from _blocks(row)
    else:
        for start in range(0, len(view), _BLOCK):
            yield view[start : start + _BLOCK]


class _Made:
    """What a pickle makes of a class or a function: its name, the arguments, the state. Nothing is called."""

    name: tuple[str, str]

    def __new__(cls, *args: Any) -> _Made:
        made = super().__new__(cls)
        made.args, made.state = args, None
        return made

    def __init__(self, *_: Any) -> None:
        self.args: tuple[Any, ...]
        self.state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Reads a pickle of PyTorch into `_Made` and plain values."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self._classes: dict[tuple[str, str], type] = {("collections", "OrderedDict"): OrderedDict}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._classes:
            self._classes[module, name] = type("_Made", (_Made,), {"name": (module, name)})
        return self._classes[module, name]

    def persistent_load(self, found: Any) -> Any:
        return found


def described(content: bytes, records: str, path: str = "") -> Iterator[tuple[str, Tensor | str]]:
    """What a pickle of PyTorch holds, by path (``encoder.weight``): tensors, and the text of everything else.

    Args:
        content: The pickle.
        records: The folder of its tensors in the archive.
        path: What stands before every path.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        found = _Reader(content).load()
    except Exception as error:
        raise ValueError(f"a pickle of the archive cannot be read: {type(error).__name__}") from error
    yield from _walk(found, path, records, {})


def _walk(value: Any, path: str, records: str, seen: dict[int, str]) -> Iterator[tuple[str, Tensor | str]]:
    if isinstance(value, _Made) and value.name == _REBUILD:
        yield path, _tensor(value.args, records)
        return
    if isinstance(value, (_Made, dict, list, tuple)):
        if id(value) in seen and value not in ((), [], {}):
            yield path, f"the same as {seen[id(value)]!r}"
            return
        seen[id(value)] = path
    if isinstance(value, _Made):
        yield path, ".".join(value.name)
        for place, one in enumerate(value.args):
            yield from _walk(one, _below(path, place), records, seen)
        if value.state is not None:
            yield from _walk(value.state, path, records, seen)
    elif isinstance(value, dict):
        yield path, f"{len(value)} entries"
        for key, one in value.items():
            yield from _walk(one, _below(path, key), records, seen)
    elif isinstance(value, (list, tuple)):
        yield path, f"{type(value).__name__} of {len(value)}"
        for place, one in enumerate(value):
            yield from _walk(one, _below(path, place), records, seen)
    elif isinstance(value, type) and issubclass(value, _Made):
        yield path, ".".join(value.name)
    else:
        yield path, repr(value)


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _tensor(args: Sequence[Any], records: str) -> Tensor:
    try:
        (_, storage, key, *_), offset, shape, strides, *_ = args
        kind = storage.name[1].removesuffix("Storage").lower()
        dtype = known_dtype({"complexfloat": "complex64", "complexdouble": "complex128"}.get(kind, kind))
        return Tensor(
            f"{records}/{key}", dtype.name if dtype is not None else kind, tuple(map(int, shape)), tuple(map(int, strides)), int(offset)
        )
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError("a tensor of the archive cannot be read") from error
