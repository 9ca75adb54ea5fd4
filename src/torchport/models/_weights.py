"""The weights file inside an archive: tensors and nothing else, read through a memory map, written with the same bytes every time."""

from __future__ import annotations

import difflib
import pickletools
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from torchport._counted import counted
from torchport.errors import ArchiveError, OptionError

__all__ = ["cast_to_own", "check_fit", "copy_into", "listed", "mismatch", "read_weights", "unlike", "write_weights"]

_MAX_RECORDS = 1_000_000
_MAX_PICKLE = 256 * 1024**2
_SHOWN = 8

_CALLABLE = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.serialization", "_get_layout"),
    ("torch._tensor", "_rebuild_from_type_v2"),
}
"""What the weights may name beside torch's own types and its ``_rebuild`` functions; torch's weights-only reader has the last word."""


def read_weights(path: Path, *, where: str, whole: bool = False) -> dict[str, Any]:
    """Maps a checkpoint into memory; no tensor is read before it is used.

    Args:
        path: The file, as ``torch.save`` writes it.
        where: The archive's name, for messages.
        whole: Give all that the file holds, not only the state dict of a Lightning checkpoint.

    Raises:
        ArchiveError: It is broken, holds anything but tensors, or unpacks to more than itself.
    """
    _check_container(path, where)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the reader's errors are of many kinds, and none of them is our caller's fault
        raise ArchiveError("the weights are not readable", where=where, found=_first_line(error)) from error
    if not whole and isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]  # a Lightning checkpoint under the archive's name
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ArchiveError("the weights are not a state dict", where=where, found=type(loaded).__name__, expected="tensors by name")
    return loaded


def write_weights(state: Mapping[str, Any], out: BinaryIO) -> None:
    """Writes a state dict to ``out``, from where it stands; the same values give the same bytes.

    Raises:
        OptionError: A tensor has no values, or an entry could not be read back.
    """
    canonical: OrderedDict[str, Any] = OrderedDict()
    users = Counter(value.untyped_storage().data_ptr() for value in state.values() if _has_storage(value))
    moved: dict[object, torch.Tensor] = {}
    for name, value in state.items():
        if not _storable(value):
            raise OptionError("an entry of the state dict could not be read back", stage="load", where=name, found=type(value).__name__)
        if isinstance(value, torch.Tensor):
            if value.is_meta:
                raise OptionError("a parameter on the meta device has no values to save", stage="load", where=name)
            value = value.detach()
            if _has_storage(value):
                storage = value.untyped_storage()
                place = (storage.data_ptr(), value.storage_offset(), value.shape, value.stride(), value.dtype)
                if storage.nbytes() > value.nbytes and users[storage.data_ptr()] == 1:
                    value = value.clone()  # a view: or the whole of what it views is written
                value = moved.setdefault(place, value.cpu())  # tied weights stay one tensor
            else:
                value = value.cpu()
        canonical[sys.intern(name)] = value
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        canonical._metadata = OrderedDict(  # type: ignore[attr-defined]  # where nn.Module keeps its modules' versions
            (sys.intern(name), {sys.intern(key): item for key, item in entry.items()}) for name, entry in metadata.items()
        )
    torch.save(canonical, out)


def copy_into(module: torch.nn.Module, state: dict[str, Any], *, strict: bool, where: str) -> list[str]:
    """Copies weights into a module whose tensors take the dtype that the weights have.

    Args:
        module: The model.
        state: Its weights by name.
        strict: Refuse names that only one side has.
        where: The archive's name, for messages.

    Returns:
        What was left out, in words; empty when all fits.

    Raises:
        ArchiveError: The names or the shapes do not fit.
    """
    problems = check_fit(module, state, strict=strict, where=where)
    own = module.state_dict()
    for name, tensor in [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]:
        if name in own and isinstance(state.get(name), torch.Tensor) and state[name].dtype != tensor.dtype:
            tensor.data = tensor.data.to(state[name].dtype)
    try:
        module.load_state_dict(state, strict=strict)
    except Exception as error:
        raise ArchiveError("the weights do not fit the model", where=where, found=_first_line(error)) from error
    return problems


def cast_to_own(module: torch.nn.Module, state: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Weights in the dtypes that the module's own tensors have, as `torch.nn.Module.load_state_dict` leaves them.

    Args:
        module: The model.
        state: Its weights by name.

    Returns:
        The weights, and what was cast, in words; empty where nothing was.
    """
    own = module.state_dict()
    cast, pairs = dict(state), dict[str, None]()
    for name, value in state.items():
        mine = own.get(name)
        if isinstance(value, torch.Tensor) and isinstance(mine, torch.Tensor) and value.dtype != mine.dtype and not unlike(mine, value):
            cast[name] = value.to(mine.dtype)
            does = "computes in" if mine.is_floating_point() or mine.is_complex() else "has"
            pairs[f"the checkpoint holds {_dtype(value)}; the model {does} {_dtype(mine)}"] = None
    return cast, ", ".join(pairs)


def check_fit(module: torch.nn.Module, state: dict[str, Any], *, strict: bool, where: str) -> list[str]:
    """Compares names and shapes; see `copy_into`. The module may be one without memory, on the device ``meta``."""
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    problems = mismatch(missing, unexpected)
    if problems and strict:
        raise ArchiveError(
            "the weights do not fit the model",
            where=where,
            found="; ".join(problems),
            expected=f"the {counted(len(own), 'tensor')} of {type(module).__name__}",
        )
    wrong = [
        f"{name} is {_shape(state[name])}, the model has {_shape(tensor)}"
        for name, tensor in own.items()
        if name in state and unlike(tensor, state[name])
    ]
    if wrong:
        raise ArchiveError(
            "the weights have other shapes than the model",
            where=where,
            found=listed(wrong),
            hint=None if strict else "strict=False is about names, as in PyTorch; a config of its own builds the model that fits",
        )
    return problems


def _has_storage(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_meta


def _storable(value: object) -> bool:
    """Whether a weights-only reader takes it."""
    if isinstance(value, torch.Tensor):
        return type(value.detach()) is torch.Tensor
    if isinstance(value, dict):
        return all(_storable(key) and _storable(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_storable(item) for item in value)
    return value is None or type(value) in (bool, int, float, str, bytes)


def _check_container(path: Path, where: str) -> None:
    """Looks at the zip and at the pickle in it before torch does: no compression, no overlap, no calls."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as container:
            records = container.infolist()
            if len(records) > _MAX_RECORDS:
                raise ArchiveError("the weights hold too many records", where=where, found=len(records), expected=f"at most {_MAX_RECORDS}")
            names = [record.filename for record in records]
            if len(set(names)) != len(names):
                raise ArchiveError("the weights hold a record twice", where=where)
            if any(record.compress_type != zipfile.ZIP_STORED for record in records) or sum(record.file_size for record in records) > size:
                raise ArchiveError(
                    "the weights unpack to more than the file holds",
                    where=where,
                    found=f"{sum(record.file_size for record in records)} bytes",
                    expected=f"{size}",
                )
            if any(record.filename.endswith("/constants.pkl") for record in records):
                raise ArchiveError("this is a TorchScript program, no checkpoint of weights", where=where, expected="what torch.save wrote")
            pickles = [record for record in records if record.filename.endswith(".pkl")]
            if not any(record.filename.split("/")[-1] == "data.pkl" for record in pickles):
                raise ArchiveError("the weights are not a torch checkpoint", where=where, found="a zip file without data.pkl")
            for record in pickles:
                if record.file_size > _MAX_PICKLE:
                    raise ArchiveError(
                        "the weights' index is too large", where=where, found=f"{record.file_size} bytes", expected=f"at most {_MAX_PICKLE}"
                    )
                _check_pickle(container.read(record), where)
    except zipfile.BadZipFile as error:
        raise ArchiveError(
            "the weights are not a torch checkpoint",
            where=where,
            found=str(error),
            hint="a file from before torch 1.6 has to be loaded and saved again with a newer torch",
        ) from error
    except ArchiveError:
        raise
    except Exception as error:  # zipfile raises what comes on broken input: UnicodeDecodeError, NotImplementedError, …
        raise ArchiveError("the weights are not readable", where=where, found=_first_line(error)) from error


def _check_pickle(data: bytes, where: str) -> None:
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "FRAME"):
                raise ArchiveError(
                    "the weights are a pickle that does more than hold tensors", where=where, found=f"the instruction {opcode.name}"
                )
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                if not _harmless(module, name):
                    raise ArchiveError(
                        "the weights call a function when they are read",
                        where=where,
                        found=f"{module}.{name}",
                        expected="tensors",
                        hint="do not open this file with anything else, unless you know who made it; if you do, write its weights alone: "
                        "torch.save(model.state_dict(), path)",
                    )
    except ArchiveError:
        raise
    except Exception as error:  # pickletools raises what comes on broken input
        raise ArchiveError("the weights' index is broken", where=where, found=_first_line(error)) from error


def _harmless(module: str, name: str) -> bool:
    if (module, name) in _CALLABLE:
        return True
    if module == "torch._utils":
        return name.startswith("_rebuild_")
    if module in ("torch", "torch.storage", "torch.cuda"):
        return (
            name.endswith("Storage")
            or isinstance(vars(torch).get(name), torch.dtype)
            or (module, name) in (("torch", "Size"), ("torch", "device"))
        )
    return False


def mismatch(missing: list[str], unexpected: list[str]) -> list[str]:
    """Names that only one side has, in words, each with the nearest one of the other side."""
    problems = []
    if missing:
        renamed = [f"{name}{_nearest(name, unexpected)}" for name in missing[:_SHOWN]]
        problems.append(f"missing: {listed(renamed, len(missing))}")
    if unexpected:
        problems.append(f"unexpected: {listed(unexpected)}")
    return problems


def _nearest(name: str, others: list[str]) -> str:
    near = difflib.get_close_matches(name, others[:2000], n=1, cutoff=0.7)
    return f" (there is {near[0]})" if near else ""


def listed(items: Iterable[str], count: int | None = None, *, shown: int = _SHOWN) -> str:
    """The first few names, and how many more there are."""
    all_of_them = list(items)
    count = len(all_of_them) if count is None else count
    return ", ".join(all_of_them[:shown]) + (f" and {count - shown} more" if count > shown else "")


def _shape(value: object) -> str:
    return f"{_dtype(value)} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__


def _dtype(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def unlike(own: object, other: object) -> bool:
    """Whether a tensor cannot take the place of the model's own: another shape, or another family of dtypes."""
    if not isinstance(own, torch.Tensor):
        return False
    if torch.nn.parameter.is_lazy(own):
        return False
    return not isinstance(other, torch.Tensor) or own.shape != other.shape or _family(own) != _family(other)


def _family(tensor: torch.Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "complex" if tensor.is_complex() else "float" if tensor.is_floating_point() else "integer"


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
