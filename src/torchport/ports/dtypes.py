"""One table of dtypes: how torch, NumPy, ONNX and Triton call the same thing."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, Literal

from torchport.errors import PortTypeError

__all__ = ["DTYPES", "DType", "DTypeKind", "dtype_of", "is_a_dtypes_name", "known_dtype", "like_a_dtype", "nearest_dtypes"]

_NEAR = 0.6
"""The least likeness of a name that is worth suggesting."""

DTypeKind = Literal["float", "int", "uint", "bool", "complex", "string"]


@dataclass(frozen=True)
class DType:
    """One dtype under its names in every library.

    Attributes:
        name: The canonical name: torch's, without ``torch.``.
        kind: The family that it belongs to.
        bits: Bits per element; 0 for strings.
        onnx: The number in ``onnx.TensorProto.DataType``.
        numpy: NumPy's name; bfloat16 and the eight-bit floats need ``ml_dtypes``.
        triton: Triton's name on the wire, or ``None`` where it has none.
    """

    name: str
    kind: DTypeKind
    bits: int
    onnx: int
    numpy: str
    triton: str | None

    @property
    def torch(self) -> Any:
        """The ``torch.dtype``.

        Raises:
            PortTypeError: torch has no such dtype (strings).
        """
        import torch

        if self.kind == "string":
            raise PortTypeError("torch has no tensors of strings", found=self.name)
        return getattr(torch, self.name)

    @property
    def triton_config(self) -> str | None:
        """The name in Triton's ``config.pbtxt``: ``TYPE_FP32``, ``TYPE_STRING``."""
        if self.triton is None:
            return None
        return "TYPE_STRING" if self.kind == "string" else f"TYPE_{self.triton}"

    @property
    def floating(self) -> bool:
        """Whether it holds real numbers with a fraction."""
        return self.kind == "float"

    @property
    def integral(self) -> bool:
        """Whether it holds whole numbers; ``bool`` does not."""
        return self.kind in ("int", "uint")

    def __str__(self) -> str:
        return self.name


DTYPES: dict[str, DType] = {
    one.name: one
    for one in (
        DType("float32", "float", 32, 1, "float32", "FP32"),
        DType("float64", "float", 64, 11, "float64", "FP64"),
        DType("float16", "float", 16, 10, "float16", "FP16"),
        DType("bfloat16", "float", 16, 16, "bfloat16", "BF16"),
        DType("float8_e4m3fn", "float", 8, 17, "float8_e4m3fn", None),
        DType("float8_e4m3fnuz", "float", 8, 18, "float8_e4m3fnuz", None),
        DType("float8_e5m2", "float", 8, 19, "float8_e5m2", None),
        DType("float8_e5m2fnuz", "float", 8, 20, "float8_e5m2fnuz", None),
        DType("int64", "int", 64, 7, "int64", "INT64"),
        DType("int32", "int", 32, 6, "int32", "INT32"),
        DType("int16", "int", 16, 5, "int16", "INT16"),
        DType("int8", "int", 8, 3, "int8", "INT8"),
        DType("uint8", "uint", 8, 2, "uint8", "UINT8"),
        DType("uint16", "uint", 16, 4, "uint16", "UINT16"),
        DType("uint32", "uint", 32, 12, "uint32", "UINT32"),
        DType("uint64", "uint", 64, 13, "uint64", "UINT64"),
        DType("bool", "bool", 8, 9, "bool", "BOOL"),
        DType("complex64", "complex", 64, 14, "complex64", None),
        DType("complex128", "complex", 128, 15, "complex128", None),
        DType("string", "string", 0, 8, "object", "BYTES"),
    )
}
"""Every dtype, by canonical name."""

_ALIASES = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool_": "bool",
    "cfloat": "complex64",
    "cdouble": "complex128",
    "str": "string",
    "object": "string",
    **{name.lower(): one.name for one in DTYPES.values() if one.triton for name in (one.triton, one.triton_config or "")},
}


def known_dtype(found: object) -> DType | None:
    """Like `dtype_of`, but ``None`` for what is no dtype."""
    if isinstance(found, DType):
        return found
    if isinstance(found, bool):
        return None
    if isinstance(found, int):
        return next((one for one in DTYPES.values() if one.onnx == int(found)), None)
    # torch.float32, numpy.dtype('float32'), numpy.float32 and "Float32" all end in the name.
    text = found.__name__ if isinstance(found, type) else str(found)
    text = text.removeprefix("torch.").strip().lower()
    return DTYPES.get(_ALIASES.get(text, text))


def dtype_of(found: object) -> DType:
    """The dtype that any library's name for it means.

    Args:
        found: A name, a ``torch.dtype``, a NumPy dtype or scalar type, a number of ``onnx.TensorProto``, a Triton name.

    Raises:
        PortTypeError: No such dtype is known.

    Example:
        >>> dtype_of("TYPE_FP16").numpy, dtype_of(7).name, dtype_of("torch.bool").onnx
        ('float16', 'int64', 9)
    """
    dtype = known_dtype(found)
    if dtype is None:
        near = nearest_dtypes(found) if isinstance(found, str) else None
        raise PortTypeError("unknown dtype", found=repr(found), expected=", ".join(DTYPES), hint=near and f"did you mean {near}?")
    return dtype


_FAMILY = re.compile(r"(type_)?((b?float|u?int|complex)_?\d+|(bf|fp)(8|16|32|64))(_e\d+m\d+\w*)?\Z")
"""What can only be meant as a dtype: a family's name and a number."""

_WORDS = frozenset({"bool", "float", "int"})
"""Names of dtypes without a number that nobody gives to an axis, as one may ``char`` or ``object``."""


def is_a_dtypes_name(text: str) -> bool:
    """Whether a name can only be meant as a dtype, known or not: ``float32``, ``float33``, ``TYPE_FP16``; not ``char``.

    Example:
        >>> [name for name in ("float32", "int46", "bool", "time", "char", "points") if is_a_dtypes_name(name)]
        ['float32', 'int46', 'bool']
    """
    return text.lower() in _WORDS or _FAMILY.match(text.lower()) is not None


def like_a_dtype(text: str) -> bool:
    """Whether a word where a dtype may stand is meant as one: also with a slip in it, ``flaot32``."""
    word = text.strip().removeprefix("torch.").lower()
    if is_a_dtypes_name(word) or re.fullmatch(r"[fiu]\d+", word):
        return True
    return bool(difflib.get_close_matches(word, [*DTYPES, "float", "double", "half", "long"], n=1, cutoff=0.8))


def nearest_dtypes(text: str) -> str | None:
    """The dtypes whose names come closest, in words; ``None`` where none does.

    Example:
        >>> nearest_dtypes("float33"), nearest_dtypes("time")
        ("'float32'", None)
    """
    word = text.strip().removeprefix("torch.").lower()
    names = {**{name: name for name in DTYPES}, **_ALIASES}
    scores = {name: difflib.SequenceMatcher(None, word, name).ratio() for name in names}
    best = max(scores.values())
    near = dict.fromkeys(names[name] for name, score in scores.items() if score == best and best >= _NEAR)
    return " or ".join(repr(name) for name in near) or None
