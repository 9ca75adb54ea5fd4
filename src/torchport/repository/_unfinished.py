"""What a packaging of several models that was killed leaves in a repository: a file that says what was going to move where."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from torchport._strict_json import strict_json
from torchport.repository._folder import Notes

if sys.platform != "win32":
    import fcntl

__all__ = ["UNFINISHED", "PlannedMove", "Unfinished", "check_unfinished", "read_unfinished", "unfinished_document"]

UNFINISHED = ".torchport-unfinished.json"
"""A file, not a folder: servers look at folders only."""

_KIND = "torchport_unfinished"
_STAGE = re.compile(r"\.[^/\0]+\.partial")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"[1-9][0-9]{0,18}")
_MOST = 2**20


@dataclass(frozen=True)
class PlannedMove:
    """One folder that was going to move into the repository.

    Attributes:
        model: The model's name.
        version: The version that it gets; empty: the model itself is new, or replaced.
        replaces: Whether an older one makes room for it.
        inode: The folder's number on its disk, by which it is known again.
        written: When an entry of the folder was last written, in nanoseconds; 0 where that is not known.
    """

    model: str
    version: str
    replaces: bool
    inode: int
    written: int = 0


@dataclass(frozen=True)
class Unfinished:
    """All moves of one packaging, in their order.

    Attributes:
        stage: The name of the folder beside the repository that they come from.
        moves: The moves.
    """

    stage: str
    moves: tuple[PlannedMove, ...]

    @property
    def models(self) -> str:
        """The models, to be shown."""
        return ", ".join(move.model for move in self.moves)


def unfinished_document(plan: Unfinished) -> dict[str, Any]:
    """As plain data, for JSON."""
    return {_KIND: 1, "stage": plan.stage, "moves": [dict(vars(move)) for move in plan.moves]}


def read_unfinished(repository: FilePath) -> Unfinished | None:
    """What a killed packaging left; ``None`` where there is nothing, or it was killed before it moved anything.

    Whoever wrote the file may mean harm: names in it are plain names and lead nowhere else.

    Raises:
        OSError: It cannot be read.
    """
    path = repository / UNFINISHED
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read(_MOST)
    try:
        return _parsed(strict_json(content.decode()))
    except (ValueError, RecursionError, KeyError, TypeError):
        return None


def _parsed(document: Any) -> Unfinished:
    if document[_KIND] != 1 or not _STAGE.fullmatch(document["stage"]):
        raise ValueError(document)
    moves = tuple(PlannedMove(**one) for one in document["moves"])
    if not moves or not all(map(_is_plain, moves)):
        raise ValueError(document)
    return Unfinished(document["stage"], moves)


def _is_plain(move: PlannedMove) -> bool:
    known = _NAME.fullmatch(move.model) and (move.version == "" or _VERSION.fullmatch(move.version))
    return bool(known) and type(move.replaces) is bool and type(move.inode) is type(move.written) is int


def check_unfinished(notes: Notes) -> None:
    """Finds that a packaging was killed on its way: some of its models are the new ones, and some are not.

    While its writer lives, the file is locked, and nothing is wrong.
    """
    path = notes.root / UNFINISHED
    if path.is_symlink() or not path.is_file():
        return
    try:
        plan = None if _is_under_way(path) else read_unfinished(notes.root)
    except FileNotFoundError:
        return  # finished this moment
    except OSError as error:
        notes.say("files/unreadable", "", "a file cannot be read", file=path, found=error.strerror or type(error).__name__)
        return
    if plan is not None:
        notes.say("files/unfinished", "", "a packaging of several models was killed on its way", file=path, found=plan.models)


def _is_under_way(path: FilePath) -> bool:
    if sys.platform == "win32":
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # a disk without locks, where nobody is kept out
    return False
