"""Values of options that are more than one word: dynamic axes, port types, keywords, files with examples."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from torchport._options import ExportOptions
from torchport.errors import OptionError
from torchport.ports.dtypes import DTYPES, known_dtype, like_a_dtype, nearest_dtypes
from torchport.ports.element import is_an_elements_name
from torchport.ports.text import parse_axes

__all__ = ["EXAMPLE_SUFFIXES", "read_answer", "read_dynamic_axes", "read_example", "read_keywords", "read_port_types"]

EXAMPLE_SUFFIXES = (".npz", ".npy", ".pt", ".pth")

_POSITIONAL = re.compile(r"arr_(\d+)\Z")


def read_dynamic_axes(texts: Sequence[str]) -> dict[str, dict[int, str] | list[int]] | None:
    """Dynamic axes as ``export`` takes them; ``None`` where none are given.

    Example:
        >>> read_dynamic_axes(["x=0:batch,1:time", "y=0"])
        {'x': {0: 'batch', 1: 'time'}, 'y': [0]}

    Raises:
        OptionError: A text says something else.
    """
    axes: dict[str, dict[int, str] | list[int]] = {}
    for text in texts:
        name, value = _pair(text, "--dynamic-axes", "x=0:batch,1:time")
        pairs = [part.partition(":") for part in value.split(",") if part.strip()]
        try:
            numbers = [int(number) for number, _, _ in pairs]
        except ValueError:
            numbers = []
        symbols = [symbol.strip() for _, _, symbol in pairs]
        if len(numbers) != len(pairs) or (any(symbols) and not all(symbols)) or len(set(numbers)) != len(numbers) or name in axes:
            raise OptionError(
                "dynamic axes cannot be read",
                where="--dynamic-axes",
                found=text,
                expected="every port once: x=0:batch,1:time, or x=0,1",
            )
        axes[name] = dict(zip(numbers, symbols, strict=True)) if all(symbols) and symbols else numbers
    return axes or None


_RESERVED = frozenset(field.name for field in dataclasses.fields(ExportOptions)) | {"module", "input_types", "output_types", "on_stage"}
"""Arguments of ``export`` itself."""


def read_keywords(texts: Sequence[str]) -> dict[str, Any]:
    """Further keywords of an export; values are read as YAML, so that numbers and booleans are such.

    Example:
        >>> read_keywords(["volume=true", "speakers=3", "voice=low"])
        {'volume': True, 'speakers': 3, 'voice': 'low'}

    Raises:
        OptionError: A text is no ``key=value``.
    """
    keywords: dict[str, Any] = {}
    for text in texts:
        name, value = _pair(text, "--set", "replace_1D_2D=true")
        if not name.isidentifier():
            raise OptionError("a keyword is a Python name", where="--set", found=name, expected="key=value")
        if name in _RESERVED:
            raise OptionError(
                "--set is for the model's own hooks",
                where=f"--set {name}",
                found=name,
                hint="torchport export --help lists the options of export itself",
            )
        try:
            keywords[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise OptionError("a keyword's value cannot be read as YAML", where=f"--set {name}", found=value) from error
    return keywords


def read_port_types(texts: Sequence[str], option: str) -> dict[str, Any] | None:
    """Port types by name; ``None`` where none are given.

    Example:
        >>> read_port_types(["mel=batch 80 time", "lengths=batch, int64"], "--input-type")
        {'mel': 'batch 80 time', 'lengths': ('batch', 'int64')}

    Raises:
        OptionError: A text is no ``name=axes``, or the dtype is none.
        PortValueError: The axes cannot be read.
    """
    types: dict[str, Any] = {}
    for text in texts:
        name, value = _pair(text, option, '"mel=batch 80 time"')
        if name in types:
            raise OptionError("a port was declared twice", where=f"{option} {name}", found=text, expected="one declaration a port")
        axes, comma, dtype = _parted(value)
        parse_axes(axes, where=f"{option} {name}")
        if comma and known_dtype(dtype) is None:
            raise _no_dtype(text, option, name, axes, dtype)
        types[name] = (axes, dtype) if comma else axes
    return types or None


def _parted(value: str) -> tuple[str, str, str]:
    """Axes, comma, dtype; commas within braces (``time{min=4,max=9}``) part nothing."""
    axes, comma, dtype = value.partition(",")
    while comma and axes.count("{") > axes.count("}"):
        more, comma, dtype = dtype.partition(",")
        axes = f"{axes},{more}"
    return axes.strip(), comma, dtype.strip()


def _no_dtype(text: str, option: str, name: str, axes: str, dtype: str) -> OptionError:
    if like_a_dtype(dtype) or is_an_elements_name(dtype):
        near = nearest_dtypes(dtype)
        hint = f"did you mean {near}?" if near else None
    else:
        words = " ".join([axes, *dtype.replace(",", " ").split()])
        hint = f'axes are parted by spaces: {option} "{name}={words}"' if dtype else "leave the comma out, or name a dtype after it"
    return OptionError(
        f"unknown element type {dtype!r}",
        where=f"{option} {name}",
        found=text,
        expected=f"{name}=axes,dtype; dtypes are {', '.join(DTYPES)}",
        hint=hint,
    )


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise OptionError("a value has no name", where=option, found=text, expected=f"name=value, as in {option} {example}")
    return name.strip(), value


def read_example(path: Path, option: str) -> tuple[Any, ...]:
    """Inputs from a file, as ``export`` takes them; nothing in the file is run.

    ``.npz`` holds inputs by name (``arr_0``, ``arr_1``: by place), ``.npy`` one input; ``.pt`` what ``torch.save`` wrote: a tensor, a tuple
    or list of inputs, or a dict by name.

    Raises:
        OptionError: The file is missing, of another kind, or broken.
    """
    found = _read(path, option)
    return found if isinstance(found, tuple) else (found,)


def read_answer(path: Path, option: str) -> Any:
    """What a model answers, from a file like those of `read_example`: a tensor, a tuple of them, or a dict by name.

    Raises:
        OptionError: The file is missing, of another kind, or broken.
    """
    return _read(path, option)


def _read(path: Path, option: str) -> Any:
    if path.suffix.lower() not in EXAMPLE_SUFFIXES:
        raise OptionError("an example has an unknown extension", where=option, found=str(path), expected=", ".join(EXAMPLE_SUFFIXES))
    if not path.is_file():
        raise OptionError("there is no such example", where=option, found=str(path))
    try:
        return _read_numpy(path) if path.suffix.lower() in (".npz", ".npy") else _read_torch(path)
    except Exception as error:
        raise OptionError(
            "an example cannot be read",
            where=option,
            found=f"{path}: {type(error).__name__}: {error}".splitlines()[0][:300],
            expected="arrays or tensors, and nothing else",
        ) from error


def _read_numpy(path: Path) -> Any:
    import numpy as np
    import torch

    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return torch.from_numpy(found)
    with found:
        tensors = {name: torch.from_numpy(found[name]) for name in found.files}
    places = {match[1]: tensor for name, tensor in tensors.items() if (match := _POSITIONAL.match(name))}
    if len(places) == len(tensors):
        return tuple(places[place] for place in sorted(places, key=int))
    return tensors


def _read_torch(path: Path) -> Any:
    import torch

    found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, (torch.Tensor, dict)):
        return found
    if isinstance(found, (list, tuple)):
        return tuple(found)
    raise TypeError(f"it holds: {type(found).__name__}")
