"""A folder that is there as a whole or not at all: written beside its place, then renamed; an old one is exchanged in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torchport.errors import ArtifactExistsError, UnusablePathError

__all__ = ["aside_of", "check_place", "exchange", "new_directory", "replace_ours"]

_AT_FDCWD = -100
_EXCHANGE = 2
_HINT = "overwrite=True replaces an older package, or choose another place"


@contextmanager
def new_directory(directory: Path, *, overwrite: bool, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """A folder to fill, which becomes ``directory`` when the context ends without an error.

    Args:
        directory: The final place: nothing is there, an empty folder, or, with ``overwrite``, a package that ``is_ours``.
        overwrite: Replace what is there.
        is_ours: Whether a folder is a package of this kind: nothing else is ever replaced.

    Raises:
        ArtifactExistsError: Something is there that may not be replaced, or somebody else was faster.
        UnusablePathError: The folder above is missing or cannot be written.
    """
    check_place(directory, overwrite=overwrite, is_ours=is_ours)
    parent = directory.parent
    try:
        outer = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".partial", dir=parent))
    except OSError as error:
        raise UnusablePathError("the folder cannot be written", stage="package", where=str(parent), found=error.strerror) from error
    try:
        stage = outer / directory.name
        stage.mkdir()  # with the modes that the user's mask gives; the outer one is private
        yield stage
        check_place(directory, overwrite=overwrite, is_ours=is_ours)
        _move(stage, directory, is_ours if overwrite else None)
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(outer)


def _is_empty(directory: Path) -> bool:
    return not any(directory.iterdir())


def check_place(directory: Path, *, overwrite: bool, is_ours: Callable[[Path], bool]) -> None:
    """Refuses a place that cannot be written to; see `new_directory`."""
    if not directory.parent.is_dir():
        raise UnusablePathError(
            "the folder above the package does not exist", stage="package", where=str(directory.parent), hint="create it first"
        )
    if not os.path.lexists(directory) or (directory.is_dir() and not directory.is_symlink() and _is_empty(directory)):
        return
    if directory.is_symlink() or not directory.is_dir() or not is_ours(directory):
        raise ArtifactExistsError(
            "something else is where the package would go; it is never replaced",
            stage="package",
            where=str(directory),
            hint="choose another place",
        )
    if not overwrite:
        raise ArtifactExistsError("a package is there already", stage="package", where=str(directory), hint=_HINT)


def _move(stage: Path, directory: Path, is_ours: Callable[[Path], bool] | None) -> None:
    """Puts ``stage`` at ``directory``; ``is_ours`` where something there may be replaced."""
    try:
        if is_ours is not None and directory.exists() and not _is_empty(directory):
            replace_ours(stage, directory, is_ours)
        else:
            stage.rename(directory)  # an empty folder is replaced in the same step; a full one is an error
    except ArtifactExistsError:  # an OSError, too
        raise
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise ArtifactExistsError(
                "somebody else put something there meanwhile", stage="package", where=str(directory), hint=_HINT
            ) from error
        raise UnusablePathError(
            "the package cannot be put into its place", stage="package", where=str(directory), found=error.strerror
        ) from error


def replace_ours(new: Path, old: Path, is_ours: Callable[[Path], bool]) -> None:
    """Exchanges two folders, and takes it back where the old one turns out to be somebody else's: it came a moment ago.

    Raises:
        ArtifactExistsError: It is.
    """
    exchange(new, old)
    if not is_ours(new):
        exchange(new, old)
        raise ArtifactExistsError("somebody else put something there meanwhile", stage="package", where=str(old), hint=_HINT)


def _native() -> Any:
    """Linux's ``renameat2``, which exchanges two names in one step; ``None`` where there is none."""
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return None


def aside_of(new: Path) -> Path:
    """Where an older folder waits for a moment where two cannot be exchanged in one step."""
    return new.with_name(f"{new.name}.before")


def exchange(new: Path, old: Path, *, native: Callable[[], Any] = _native) -> None:
    """Exchanges two folders: nobody sees a moment without one of them.

    Where the system or the file system cannot, ``old`` is moved aside first: a process that is killed between the two steps leaves it
    where `aside_of` says.

    Args:
        new: The folder to put in place; the old one is there afterwards.
        old: The folder to replace.
        native: Finds the system's function.
    """
    function = native()
    if function is not None and function(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _EXCHANGE) == 0:
        return
    aside = aside_of(new)
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    aside.rename(new)
