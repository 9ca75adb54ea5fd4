"""The files that belong to a model: registered while it is built, packed with it, found again when it is restored."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchport.errors import ArchiveError, OptionError
from torchport.models._config import Config, leaf, leaves, replace_leaf
from torchport.models.archive import ARTIFACT_PREFIX, Archive, artifact_name

__all__ = ["Artifacts", "restoring_from"]


class _Folder:
    """Files moved out of an archive; they go when the last model that holds them goes."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.path = Path(tempfile.mkdtemp(prefix="torchport-artifacts-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def take(self, source: Path) -> None:
        for name in self.names:
            place = self.path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source / name, place)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Folder:
        return self  # the files are only read

    def __getstate__(self) -> dict[str, bytes]:
        return {name: (self.path / name).read_bytes() for name in self.names}

    def __setstate__(self, files: dict[str, bytes]) -> None:
        self.__init__(tuple(files))  # type: ignore[misc]  # pickle made the object without it
        for name, content in files.items():
            place = self.path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


@dataclass(frozen=True)
class _Restoring:
    """What is being restored.

    Attributes:
        source: The archive, for messages.
        config: The config in the archive.
        folder: Its artifacts.
        vouched: The caller gave the config that the model is built from, so paths in it are the caller's.
    """

    source: Path
    config: Config
    folder: _Folder | None
    vouched: bool


_restoring: ContextVar[_Restoring | None] = ContextVar("torchport_restoring", default=None)


@contextlib.contextmanager
def restoring_from(archive: Archive, *, vouched: bool) -> Iterator[None]:
    """Models built inside find their artifacts in ``archive``.

    Args:
        archive: The open archive; its artifacts are moved to where they outlive it.
        vouched: The config comes from the caller, not from the archive.
    """
    folder = _Folder(archive.artifacts) if archive.artifacts else None
    token = None
    try:
        if folder is not None:
            folder.take(archive.folder)
        token = _restoring.set(_Restoring(archive.source, archive.config, folder, vouched))
        yield
    except BaseException:
        if folder is not None:
            folder.remove()
        raise
    finally:
        if token is not None:
            _restoring.reset(token)


class Artifacts:
    """The artifacts of one model, by the place in its config that points to them."""

    def __init__(self) -> None:
        restoring = _restoring.get()
        self._folder = restoring.folder if restoring is not None else None
        self._local: dict[str, Path] = {}
        self._kept: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._local) + len(self._kept)

    def register(self, config_path: str, src: str, *, required: bool) -> str | None:
        """Finds the file that ``src`` means, remembers it and gives its path.

        Raises:
            ArchiveError: The archive being restored has no such file.
            OptionError: There is no such file on this machine.
        """
        restoring = _restoring.get()
        name = self._name_of(config_path, src, restoring)
        if name is not None and self._folder is not None:
            self._kept[config_path] = name
            return str(self._folder.path / name)
        # an archive's own config must not make a model read this machine's files
        if (restoring is None or restoring.vouched) and not src.startswith(ARTIFACT_PREFIX) and Path(src).is_file():
            self._local[config_path] = Path(src).absolute()
            return str(self._local[config_path])
        if not required:
            return None
        if restoring is None:
            raise OptionError("there is no such file", stage="load", where=config_path, found=src, expected="a file")
        names = self._folder.names if self._folder is not None else ()
        raise ArchiveError(
            "the archive lacks a file that the model needs",
            where=f"{restoring.source}: {config_path}",
            found=src,
            expected="one of " + ", ".join(names[:20]) if names else "an artifact; it has none",
        )

    def packed(self, config: dict[str, Any], others: Mapping[str, Path]) -> dict[str, Path]:
        """Points ``config`` to the files' names in an archive, and gives the files by those names.

        Args:
            config: The config to save; changed in place.
            others: Files by the names that submodules point to.

        Raises:
            OptionError: A file is gone, or the config points to one that nobody registered.
        """
        files = dict(others)
        for where, source in self._local.items():
            if not source.is_file():
                raise OptionError(
                    "an artifact of the model is gone",
                    stage="load",
                    where=where,
                    found=str(source),
                    expected="the file as it was registered",
                )
            name = artifact_name(source)
            files[name] = source
            replace_leaf(config, where, ARTIFACT_PREFIX + name)
        for where, name in self._kept.items():
            replace_leaf(config, where, ARTIFACT_PREFIX + name)
        for where, value in leaves(config):
            if isinstance(value, str) and value.startswith(ARTIFACT_PREFIX) and (name := value.removeprefix(ARTIFACT_PREFIX)) not in files:
                if self._folder is None or name not in self._folder.names:
                    raise OptionError("the config points to an artifact that nobody registered", stage="load", where=where, found=value)
                files[name] = self._folder.path / name
        return files

    def _name_of(self, config_path: str, src: str, restoring: _Restoring | None) -> str | None:
        """The name in the archive: as ``src`` gives it, as the archive's config gives it, or the plain file name, as in old archives."""
        if self._folder is None:
            return None
        if src.startswith(ARTIFACT_PREFIX):
            names = [src.removeprefix(ARTIFACT_PREFIX)]
        elif restoring is None or (restoring.vouched and Path(src).is_file()):
            names = []  # a file of this machine, and the caller's own
        else:
            names = [str(leaf(restoring.config, config_path)).removeprefix(ARTIFACT_PREFIX), Path(src).name]
        return next((name for name in names if name in self._folder.names), None)
