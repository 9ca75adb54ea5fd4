"""Models come to a repository by renames. Where there are several, they are written down first: a killed packaging is finished later."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchport.errors import ArtifactExistsError, PackageError, TorchportError, UnusablePathError
from torchport.packaging._place import aside_of, replace_ours
from torchport.repository._unfinished import UNFINISHED, PlannedMove, Unfinished, read_unfinished, unfinished_document

if sys.platform != "win32":
    import fcntl

__all__ = ["Move", "commit", "finish", "is_staged_in"]

_RECORD = "torchport.json"
"""Stands in every version that torchport packaged."""

IsOurs = Callable[[Path], bool]


@dataclass(frozen=True)
class Move:
    """A folder on its way into a repository.

    Attributes:
        source: Where it is.
        target: Where it goes.
        replaces: Whether it takes the place of an older one.
        inode: Its number on the disk, by which it is known wherever it is.
        written: When an entry of it was last written, in nanoseconds; 0 where that is not known. A rename leaves it as it is.
    """

    source: Path
    target: Path
    replaces: bool
    inode: int
    written: int = 0

    @property
    def done(self) -> bool:
        """Whether it has arrived."""
        return _is(self.target, self.inode)

    @property
    def left(self) -> bool:
        """Whether it has still to go."""
        return _is(self.source, self.inode)


def _is(path: Path, inode: int) -> bool:
    """Numbers are of one disk, and what was renamed is on the disk of the folder above it."""
    return path.is_dir() and not path.is_symlink() and path.stat().st_ino == inode and path.stat().st_dev == path.parent.stat().st_dev


def commit(repository: Path, stage: Path, moves: Sequence[Move], is_ours: IsOurs) -> None:
    """Moves models to their places, all of them or none.

    One is one rename. Several are written down in the repository before the first and forgotten after the last: whoever packages or serves
    next finds a note of the dead, and does what is left to do. While its writer lives, the note is locked.

    Args:
        repository: Where they go.
        stage: The folder that holds them, in one beside the repository.
        moves: The moves, the ensemble's last.
        is_ours: Whether a model is torchport's, so that it may be replaced.

    Raises:
        ArtifactExistsError: Somebody else was faster.
        UnusablePathError: A folder cannot be moved.
    """
    if len(moves) == 1:
        _move(moves[0], is_ours)
        return
    note = repository / UNFINISHED
    lock = _write_note(note, stage, moves)
    try:
        try:
            for move in moves:
                _move(move, is_ours)
        except BaseException:
            if not _take_back(moves, is_ours):  # or the note stays, and with it what the stage holds
                note.unlink(missing_ok=True)
            raise
        note.unlink()
    finally:
        os.close(lock)


def _write_note(note: Path, stage: Path, moves: Sequence[Move]) -> int:
    """Writes the note; gives its lock, which its writer's death opens."""
    planned = [_planned(move, stage) for move in moves]
    content = json.dumps(unfinished_document(Unfinished(stage.parent.name, tuple(planned))), indent=1).encode()
    busy = ArtifactExistsError(
        "somebody else adds several models at this moment", stage="package", where=str(note.parent), hint="package it again"
    )
    try:
        lock = os.open(note, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError as error:
        raise busy from error
    except OSError as error:
        raise UnusablePathError(
            "the repository cannot be written", stage="package", where=str(note.parent), found=error.strerror
        ) from error
    try:
        _locked(lock, wait=True)
        if not _is_open_at(note, lock):  # whoever looked for notes of the dead took it for one in the moment before
            raise busy
        _write(lock, content)
    except BaseException as error:  # nothing was moved yet
        if _is_open_at(note, lock):
            note.unlink()
        os.close(lock)
        if isinstance(error, OSError) and error is not busy:
            raise UnusablePathError(
                "what is going to be moved cannot be written down", stage="package", where=str(note), found=error.strerror
            ) from error
        raise
    return lock


def _write(handle: int, content: bytes) -> None:
    """To the end: a system may take less than it is given."""
    while content:
        content = content[os.write(handle, content) :]
    os.fsync(handle)


def _planned(move: Move, stage: Path) -> PlannedMove:
    model, *version = move.source.relative_to(stage).parts
    return PlannedMove(model, "".join(version), move.replaces, move.inode, move.written)


def _locked(handle: int, *, wait: bool) -> bool:
    """Locks an open file; whether that was possible. Where the system has no such locks, nobody is kept out."""
    if sys.platform != "win32":
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
    return True


def _is_open_at(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _move(move: Move, is_ours: IsOurs) -> None:
    try:
        if move.replaces and move.target.exists():
            replace_ours(move.source, move.target, is_ours)
        else:  # killed between two steps, a packaging may have left nothing to replace
            move.source.rename(move.target)
    except ArtifactExistsError:  # an OSError, too
        raise
    except OSError as error:
        if move.target.is_dir():
            raise ArtifactExistsError(
                "somebody else added to this model meanwhile", stage="package", where=str(move.target), hint="package it again"
            ) from error
        raise UnusablePathError(
            "the model cannot be moved to its place", stage="package", where=str(move.target), found=error.strerror
        ) from error


def _take_back(moves: Sequence[Move], is_ours: IsOurs) -> list[Move]:
    """Takes back what has come; gives those that stay, since nothing says for sure that they are torchport's."""
    stay = []
    for move in reversed(moves):
        if move.done and not _is_surely_ours(move, is_ours):
            stay.append(move)
        elif move.done and move.source.exists():
            replace_ours(move.source, move.target, is_ours)
        elif move.done:
            move.target.rename(move.source)
        aside = aside_of(move.source)
        if move.replaces and aside.exists() and not move.target.exists():
            aside.rename(move.target)
    return stay


def _is_surely_ours(move: Move, is_ours: IsOurs) -> bool:
    """Whether what has arrived is what was sent: numbers on a disk are given again, and anybody may write a note."""
    target = move.target
    ours = is_ours(target) or (is_ours(target.parent) and (target / _RECORD).is_file())  # a model, or a version of one
    return ours and move.written in (0, target.stat().st_mtime_ns)


def is_staged_in(repository: Path, outer: Path) -> bool:
    """Whether a note in the repository still counts on what lies in a folder beside it."""
    plan = read_unfinished(repository)
    return plan is not None and plan.stage == outer.name


def finish(repository: Path, is_ours: IsOurs) -> str:
    """Finishes what a packaging of several models left that was killed: all of them come, or none where a place is taken by now.

    Args:
        repository: The repository.
        is_ours: Whether a model is torchport's, so that it may be replaced.

    Returns:
        What was done, to be told; empty where there was nothing to do, or whoever is at it still lives.

    Raises:
        PackageError: What was going to move is not there any more.
        UnusablePathError: The repository cannot be written.
    """
    note = repository / UNFINISHED
    if note.is_symlink() or not note.is_file():
        return ""
    try:
        lock = os.open(note, os.O_RDWR)
        try:
            if not _locked(lock, wait=False) or not _is_open_at(note, lock):
                return ""  # its writer lives, or it is another's by now
            return _finish_locked(note, is_ours)
        finally:
            os.close(lock)
    except FileNotFoundError:
        return ""  # finished this moment
    except TorchportError:
        raise
    except OSError as error:
        raise UnusablePathError(
            "a packaging was killed on its way, and cannot be finished", stage="package", where=str(note), found=error.strerror
        ) from error


def _finish_locked(note: Path, is_ours: IsOurs) -> str:
    repository = note.parent
    plan = read_unfinished(repository)
    if plan is None:
        note.unlink()  # killed before it was written to its end: nothing was moved yet
        return ""
    name, beside = repository.resolve().name, repository.resolve().parent
    outer = beside / plan.stage
    moves = [_real(one, repository, outer / name) for one in plan.moves]
    lost = next((move for move in moves if not (move.done or move.left)), None)
    if lost is not None or not plan.stage.startswith(f".{name}."):
        raise PackageError(
            "a packaging was killed on its way, and what it had yet to move is gone",
            where=str(note),
            found=f"no {plan.stage if lost is None else lost.source}",
            hint=f"see whether the models fit each other ({plan.models}), then delete the file",
        )
    told = "was finished first"
    try:
        for move in moves:
            if not move.done:
                _move(move, is_ours)
        shutil.rmtree(outer, ignore_errors=True)
        note.unlink()
    except TorchportError as error:
        stay = _take_back(moves, is_ours)
        told = f"was taken back: {error.message}"
        if stay:
            names = ", ".join(str(move.target.relative_to(repository)) for move in stay)
            told += f"; not surely torchport's, so where they are stay {names}"
        note.unlink()  # first: without what is deleted next, nobody could take it back again
        if any(os.path.lexists(one) for move in stay for one in (move.source, aside_of(move.source))):
            told += f"; what was there before is in {outer}"
        else:
            shutil.rmtree(outer, ignore_errors=True)
    return f"an earlier packaging of {plan.models} had been killed on its way and {told}"


def _real(planned: PlannedMove, repository: Path, stage: Path) -> Move:
    """The names are plain ones, so this leads nowhere else."""
    source, target = stage / planned.model, repository / planned.model
    if planned.version:
        source, target = source / planned.version, target / planned.version
    return Move(source, target, planned.replaces, planned.inode, planned.written)
