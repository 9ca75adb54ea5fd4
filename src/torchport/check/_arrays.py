"""Arrays by name in ``.npz`` files that are the same to the byte for the same arrays, and are read without trusting them."""

from __future__ import annotations

import importlib
import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from torchport._comparison import Array
from torchport.ports.dtypes import known_dtype

__all__ = ["numpy_dtype", "read_arrays", "write_arrays"]


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes arrays as ``numpy.load`` reads them; dtypes that numpy has no name for as the bits that they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            bits = array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(bits, order="C"), version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())  # ZipInfo's own date: 1980, always


def read_arrays(path: Path, dtypes: Mapping[str, str | None]) -> dict[str, Array]:
    """Reads arrays; nothing is unpickled, and nothing unpacks to more than the file holds.

    Args:
        path: The file.
        dtypes: The dtype of each array, by torch's name.

    Raises:
        ValueError: It is no such file, or an array has another dtype.
        ImportError: A dtype is from ``ml_dtypes``, which is not installed.
    """
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.compress_type != zipfile.ZIP_STORED or not info.filename.endswith(".npy"):
                    raise ValueError(f"{info.filename!r} is no plain array")
                name = info.filename.removesuffix(".npy")
                array = _array(archive.read(info), info.filename)
                wanted = dtypes.get(name)
                arrays[name] = array if wanted is None else _as(array, numpy_dtype(wanted))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    return arrays


def _array(content: bytes, name: str) -> Array:
    """An array out of the bytes that are there: a header that promises more makes nobody allocate it."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name!r} is of another version than it was written in")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    values = content[file.tell() :]
    if fortran or dtype.hasobject or len(values) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} is no plain array of the size that it states")
    return np.frombuffer(values, dtype).reshape(shape)


def _as(array: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "V" and array.dtype == np.dtype(f"u{dtype.itemsize}"):
        return array.view(dtype)
    if array.dtype != dtype:
        raise ValueError(f"an array is {array.dtype}, not {dtype}")
    return array


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype of torch's name; bfloat16 and the eight-bit floats need ``ml_dtypes``.

    Raises:
        ValueError: There is no such dtype.
        ImportError: ``ml_dtypes`` is needed and not installed.
    """
    known = known_dtype(name)
    if known is None:
        raise ValueError(f"there is no dtype {name!r}")
    if hasattr(np, known.numpy):
        return np.dtype(known.numpy)
    found: np.dtype[Any] = np.dtype(getattr(importlib.import_module("ml_dtypes"), known.numpy))
    return found
