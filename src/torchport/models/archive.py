"""The checkpoint archive ``.nemo``: a tar of a config, the weights, and the files that the config points to.

Layout, as NeMo writes and reads it: ``./model_config.yaml``, ``./model_weights.ckpt`` and the artifacts, each named
``<32 hex digits>_<file name>`` and pointed to from the config as ``nemo:<name>``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torchport.errors import ArchiveError
from torchport.models import _yaml
from torchport.models._config import Config
from torchport.models._places import as_path
from torchport.models._tar import Limits, member_name, unpack
from torchport.models._weights import read_weights
from torchport.models._write import CONFIG_NAME, WEIGHTS_NAME, artifact_name, write_archive

__all__ = [
    "ARTIFACT_PREFIX",
    "CONFIG_NAME",
    "WEIGHTS_NAME",
    "Archive",
    "Limits",
    "artifact_name",
    "open_archive",
    "read_archive_config",
    "write_archive",
]

ARTIFACT_PREFIX = "nemo:"


class Archive:
    """An archive that was unpacked and checked; it lives as long as the ``with`` block of ``open_archive``.

    Attributes:
        source: The file it came from.
        folder: Where it is unpacked.
        config: The model's config.
        artifacts: Names of the further files.
    """

    def __init__(self, source: Path, folder: Path, config: Config, artifacts: tuple[str, ...]) -> None:
        self.source = source
        self.folder = folder
        self.config = config
        self.artifacts = artifacts

    def artifact(self, name: str) -> Path:
        """Where the artifact ``name`` is unpacked; ``nemo:`` before it is fine.

        Raises:
            ArchiveError: There is none of that name.
        """
        clean = member_name(name.removeprefix(ARTIFACT_PREFIX))
        if clean not in self.artifacts:
            raise ArchiveError(
                "the archive has no such artifact",
                where=str(self.source),
                found=repr(clean),
                expected=", ".join(self.artifacts[:20]) or "none at all",
            )
        return self.folder / clean

    def weights(self) -> dict[str, Any]:
        """The state dict, mapped into memory from the unpacked file.

        Raises:
            ArchiveError: The weights are missing, sharded, broken or hostile.
        """
        return read_weights(self.folder / WEIGHTS_NAME, where=f"{self.source}: {WEIGHTS_NAME}")


@contextmanager
def open_archive(path: str | os.PathLike[str], limits: Limits | None = None) -> Iterator[Archive]:
    """Unpacks an archive into a folder that is gone afterwards, and checks it.

    Args:
        path: The ``.nemo`` file, plain or gzip.
        limits: Caps other than the default ones.

    Raises:
        ArchiveError: It is broken, hostile, or of a kind that cannot be read.

    Example:
        >>> with open_archive("tagger.nemo") as archive:  # doctest: +SKIP
        ...     print(archive.config.target, len(archive.weights()))
    """
    source = _file(path)
    with tempfile.TemporaryDirectory(prefix="torchport-") as made:
        folder = Path(made)
        names = unpack(source, folder, limits or Limits(), want=lambda name: _refuse_sharded(name, source))
        config = _config(folder, names, source)
        if WEIGHTS_NAME not in names:
            raise ArchiveError("the archive has no weights", where=str(source), found=_few(names), expected=WEIGHTS_NAME)
        artifacts = tuple(name for name in names if name not in (CONFIG_NAME, WEIGHTS_NAME) and not name.endswith("/"))
        yield Archive(source, folder, config, artifacts)


def read_archive_config(path: str | os.PathLike[str], limits: Limits | None = None) -> Config:
    """Reads only the config of an archive; the weights are neither unpacked nor looked at.

    Raises:
        ArchiveError: It is broken or hostile up to there.
    """
    source = _file(path)
    with tempfile.TemporaryDirectory(prefix="torchport-") as made:
        folder = Path(made)
        names = unpack(source, folder, limits or Limits(), want=lambda name: name == CONFIG_NAME, until=CONFIG_NAME)
        return _config(folder, names, source)


def _file(path: str | os.PathLike[str]) -> Path:
    source = as_path(path, "restore_path")
    if source.is_dir():
        raise ArchiveError(
            "a folder is not an archive", where=str(source), hint="give the .nemo file, or pack the folder: tar -cf model.nemo -C folder ."
        )
    if not source.is_file():
        raise ArchiveError("there is no such file", where=str(source), expected="a .nemo archive")
    return source


def _config(folder: Path, names: list[str], source: Path) -> Config:
    if CONFIG_NAME not in names:
        raise ArchiveError("the archive has no config", where=str(source), found=_few(names), expected=CONFIG_NAME)
    file = folder / CONFIG_NAME
    if file.stat().st_size > _yaml.MAX_BYTES:
        raise ArchiveError(
            "the config is too large",
            where=f"{source}: {CONFIG_NAME}",
            found=f"{file.stat().st_size} bytes",
            expected=f"at most {_yaml.MAX_BYTES}",
        )
    return Config(_yaml.load_mapping(file.read_bytes(), where=f"{source}: {CONFIG_NAME}"))


def _refuse_sharded(name: str, source: Path) -> bool:
    """Refuses an archive whose weights are split, as soon as its first shard is seen."""
    parts = name.split("/")
    reason = None
    if (parts[0] in ("model_weights", "weights") and len(parts) > 1) or name.endswith(".distcp"):
        reason = "the weights are a distributed checkpoint, split over many files"
    elif parts[0].startswith(("mp_rank_", "tp_rank_")) and parts[-1] == WEIGHTS_NAME:
        reason = "the weights are split over model-parallel ranks"
    if reason is not None:
        raise ArchiveError(
            reason,
            where=str(source),
            found=name,
            expected=WEIGHTS_NAME,
            hint="merge it into one file with the tools of the framework that wrote it",
        )
    return True


def _few(names: list[str]) -> str:
    return ", ".join(names[:10]) or "nothing"
