"""Writes a checkpoint archive: the same content gives the same bytes, and nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchport.errors import OptionError, TorchportError, UnusablePathError
from torchport.models import _yaml
from torchport.models._config import Config, leaves
from torchport.models._places import as_path
from torchport.models._weights import write_weights

__all__ = ["CONFIG_NAME", "WEIGHTS_NAME", "artifact_name", "write_archive"]

CONFIG_NAME = "model_config.yaml"
WEIGHTS_NAME = "model_weights.ckpt"
_BLOCK = 512


def write_archive(path: str | os.PathLike[str], config: Mapping[str, Any], state: Mapping[str, Any], artifacts: Mapping[str, Path]) -> Path:
    """Writes an archive beside ``path`` and renames it. The weights go straight into the file, so that nothing is written twice.

    Args:
        path: The file to write; one that exists is replaced. Its folder is made.
        config: The model's config, with ``nemo:`` values for the artifacts.
        state: The state dict.
        artifacts: Files to pack, by their name in the archive.

    Returns:
        The file's absolute path.

    Raises:
        OptionError: The config or the weights cannot be saved, or an artifact cannot be read.
        UnusablePathError: The file or its folder cannot be written.
    """
    target = as_path(path, "path").absolute()
    text = _yaml.dump(config)
    if len(text) > _yaml.MAX_BYTES:
        raise OptionError(
            "the config is too large to be read back", stage="load", found=f"{len(text)} bytes", expected=f"at most {_yaml.MAX_BYTES}"
        )
    if Config(_yaml.load_mapping(text, where=CONFIG_NAME)) != Config(config) and not any(value != value for _, value in leaves(config)):
        raise OptionError("the config does not come back equal from YAML", stage="load", where=str(target))
    if target.is_dir():
        raise OptionError("a checkpoint cannot be written over a folder", stage="load", where=str(target), expected="a file's name")
    missing = [folder for folder in target.parents if not folder.exists()]
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as out:
            with tarfile.open(fileobj=out, mode="w:", format=tarfile.GNU_FORMAT) as tar:
                tar.addfile(_header(CONFIG_NAME, len(text)), io.BytesIO(text))
                _add_weights(tar, state)
                for name in sorted(artifacts):
                    _add_file(tar, name, artifacts[name])
            out.flush()
            os.fsync(out.fileno())
        partial.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        for folder in missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, OSError) and not isinstance(error, TorchportError):
            raise UnusablePathError(
                "the checkpoint cannot be written there",
                stage="load",
                where=str(target),
                found=error.strerror or str(error),
                hint="give a path in a folder that you may write to",
            ) from error
        raise
    return target


def artifact_name(source: Path) -> str:
    """The name that a file gets in an archive: a digest of its content, then its own name."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{digest[:32]}_{source.name}"


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"./{name}")
    info.size = size
    info.mode = 0o644
    return info


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            tar.addfile(_header(name, os.fstat(file.fileno()).st_size), file)
    except OSError as error:
        raise OptionError(
            "an artifact cannot be packed", stage="load", where=str(path), found=str(error), expected="the file as it was registered"
        ) from error


def _add_weights(tar: tarfile.TarFile, state: Mapping[str, Any]) -> None:
    """Writes the weights behind an empty header, then the header: their size is known only afterwards."""
    out: Any = tar.fileobj
    start = out.tell()
    out.write(bytes(_BLOCK))
    write_weights(state, out)
    size = out.tell() - start - _BLOCK
    out.write(bytes(-size % _BLOCK))
    out.seek(start)
    out.write(_header(WEIGHTS_NAME, size).tobuf(tarfile.GNU_FORMAT))  # one block: GNU writes sizes above 8 GB into it too
    out.seek(0, os.SEEK_END)
    tar.offset = out.tell()  # where TarFile counts what it has written, for the padding at the end
