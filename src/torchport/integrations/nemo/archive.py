"""Archives that NeMo wrote, opened by NeMo: checked here first, as a hostile file is, and built by the installed library."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchport.errors import ArchiveError, MissingDependencyError

if TYPE_CHECKING:
    import torch

__all__ = ["has_nemo", "is_nemo_archive", "restore_nemo_archive"]

_CLASSES = "nemo.collections."


def is_nemo_archive(path: str | os.PathLike[str]) -> bool:
    """Whether the config of an archive names a class of NeMo that torchport has no model of its own for.

    Raises:
        ArchiveError: It is broken or hostile up to there.
    """
    from torchport.models._zoo import family_of_target
    from torchport.models.archive import read_archive_config

    target = read_archive_config(path).get("target")
    return isinstance(target, str) and target.startswith(_CLASSES) and family_of_target(target) is None


def has_nemo() -> bool:
    """Whether NeMo is installed; it is not imported."""
    return importlib.util.find_spec("nemo") is not None


def restore_nemo_archive(path: str | os.PathLike[str], override_config_path: str | os.PathLike[str] | None = None) -> torch.nn.Module:
    """Restores a model of NeMo's on the CPU.

    The archive is unpacked and looked through before NeMo sees it: no links, no path outside, caps on count and size, weights that are
    nothing but tensors. What the config names is then imported by NeMo, which allows its own classes and torch's.

    Args:
        path: The ``.nemo`` file.
        override_config_path: A YAML file whose config is taken instead of the one inside.

    Raises:
        MissingDependencyError: NeMo is not installed.
        ArchiveError: The file is broken or hostile, or NeMo cannot build the model from it.
    """
    from torchport.models.archive import open_archive

    with open_archive(path) as archive:
        target = str(archive.config.get("target"))
        archive.weights()
    core = _nemo(target)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # NeMo speaks on standard output while it builds
            model: Any = core.ModelPT.restore_from(
                str(Path(path)),
                override_config_path=None if override_config_path is None else str(override_config_path),
                map_location="cpu",
            )
    except Exception as error:
        raise ArchiveError(
            "NeMo cannot restore the archive", stage="load", where=str(path), found=f"{type(error).__name__}: {error}"[:500]
        ) from error
    restored: torch.nn.Module = model.eval()
    return restored


def _nemo(target: str) -> Any:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module("nemo.core")
    except ImportError as error:
        raise MissingDependencyError(
            "the archive holds a model of NeMo's, which only NeMo can build",
            where=target,
            found=str(error),
            hint='pip install "nemo-toolkit[asr,tts]==3.0.0"',
        ) from error
