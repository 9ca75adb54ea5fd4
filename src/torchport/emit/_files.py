"""Writes beside the output and renames when all is proved: a failed or killed export leaves no half-written file at the output."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from torchport.errors import ArtifactExistsError, UnusablePathError

__all__ = ["Staging", "commit_all", "digests_of", "keep_rejected", "no_space_left", "require_space", "staging"]


def no_space_left(directory: Path) -> UnusablePathError:
    """The error of a disk that is full; what was begun is taken away with the staging directory."""
    return UnusablePathError(
        "there is no space left to write the file",
        where=str(directory.parent),
        found=f"{shutil.disk_usage(directory).free / 2**20:.0f} MiB free",
        hint="free some space, or write to another disk; while it is proved, a file takes its size up to three times",
    )


def require_space(directory: Path, needed: int) -> None:
    """Refuses to begin what cannot be ended: torch's own writers end the process where the disk is full.

    Args:
        directory: Where files are about to be written.
        needed: How many bytes.

    Raises:
        UnusablePathError: There are fewer.
    """
    if shutil.disk_usage(directory).free < needed + _SPARE:
        raise no_space_left(directory)


_SPARE = 2**20
"""Bytes that stay free: what stands in a file beside its tensors."""


class Staging:
    """A directory beside the output; `commit` moves what is in it to its place.

    Attributes:
        directory: Where to write; it is gone when the context ends.
        undo: After `commit`, takes it back when closed; until the context ends.
    """

    def __init__(self, output: Path, directory: Path, overwrite: bool) -> None:
        self.directory = directory
        self._output = output
        self._overwrite = overwrite
        self.undo = ExitStack()

    def commit(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        """Moves the files beside the output's own place, what the first one refers to before the first one itself.

        Args:
            paths: Files somewhere below ``directory``; the first is the one that is opened.

        Returns:
            Their final paths, in the same order.

        Raises:
            ArtifactExistsError: One of them exists, and ``overwrite`` was not given. Then nothing was moved.
        """
        finals = tuple(self._output.parent / path.name for path in paths)
        if not self._overwrite:
            for final in finals:
                _refuse_existing(final)
        with ExitStack() as undo:
            for path, final in reversed(list(zip(paths, finals, strict=True))):
                replaced = self._overwrite and final.exists()
                if replaced:
                    undo.callback(_set_aside(final, self.directory).replace, final)
                _move(path, final, replace=self._overwrite)
                if not replaced:
                    undo.callback(final.unlink, missing_ok=True)
            self.undo = undo.pop_all()
        return finals


def commit_all(stages: Sequence[Staging], paths: Sequence[Sequence[Path]]) -> list[tuple[Path, ...]]:
    """Commits several artifacts as one: where one of them cannot be, none is.

    Args:
        stages: Where they were written.
        paths: The files of each; see `Staging.commit`.

    Raises:
        ArtifactExistsError: One of the outputs exists, and ``overwrite`` was not given.
    """
    with ExitStack() as undo:
        finals = []
        for stage, files in zip(stages, paths, strict=True):
            finals.append(stage.commit(files))
            undo.enter_context(stage.undo)
        undo.pop_all()
    return finals


def _set_aside(final: Path, directory: Path) -> Path:
    """A second name for an existing file, so that it can come back; the file itself stays in place until it is replaced."""
    aside = directory / f"{final.name}.before"
    try:
        os.link(final, aside)
    except OSError:
        shutil.copyfile(final, aside)
    return aside


def _move(path: Path, final: Path, *, replace: bool) -> None:
    if replace:
        path.replace(final)
        return
    try:
        os.link(path, final)
    except FileExistsError as error:
        raise _exists(final) from error
    except OSError:
        # A file system without hard links: the check a moment ago has to do.
        path.rename(final)
    else:
        path.unlink()


def _exists(path: Path) -> ArtifactExistsError:
    return ArtifactExistsError("the output exists", where=str(path), hint="overwrite=True replaces it, or choose another path")


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise _exists(path)


def keep_rejected(paths: Sequence[Path], output: Path) -> tuple[Path, ...]:
    """Copies the files of a rejected artifact beside ``output``, as ``*.rejected``, or ``*.2.rejected`` where that is taken.

    Args:
        paths: The files; the first is the one that is opened.
        output: Where the artifact would have gone.

    Returns:
        The copies, in the same order.

    Raises:
        UnusablePathError: They cannot be written there.
    """
    number = 1
    while True:
        end = ".rejected" if number == 1 else f".{number}.rejected"
        kept = tuple(output.with_name(f"{output.name}{path.name.removeprefix(paths[0].name)}{end}") for path in paths)
        if not any(os.path.lexists(one) for one in kept):
            break
        number += 1
    try:
        for path, copy in zip(paths, kept, strict=True):
            shutil.copyfile(path, copy)
    except OSError as error:
        for copy in kept:
            copy.unlink(missing_ok=True)
        raise UnusablePathError("a rejected artifact cannot be kept", where=str(output.parent), found=error.strerror) from error
    return kept


@contextmanager
def staging(output: Path, overwrite: bool = False) -> Iterator[Staging]:
    """A place to write ``output`` to, on the same file system, that leaves nothing behind unless it is committed.

    Args:
        output: The final path.
        overwrite: Replace an existing file at commit.

    Raises:
        ArtifactExistsError: ``output`` exists, and ``overwrite`` was not given.
        UnusablePathError: The directory of ``output`` is missing or cannot be written.
    """
    parent = output.parent
    if not parent.is_dir():
        raise UnusablePathError(
            "the output's directory does not exist" if not parent.exists() else "the output's parent is not a directory",
            where=str(parent),
            hint="create it first",
        )
    if output.is_dir():
        raise UnusablePathError("the output is a directory", where=str(output), hint="give the path of a file")
    if not overwrite:
        _refuse_existing(output)
    try:
        directory = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".partial", dir=parent))
    except OSError as error:
        raise UnusablePathError("the output's directory cannot be written", where=str(parent), found=error.strerror) from error
    try:
        yield Staging(output, directory, overwrite)
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)


def digests_of(paths: Sequence[Path]) -> dict[str, str]:
    """sha256 of each file, by file name."""
    digests = {}
    for path in paths:
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
