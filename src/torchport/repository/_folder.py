"""Looks into a repository's folders as if somebody had made them to do harm: bounded, no link out of it, plain files only."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from torchport.repository._records import Finding
from torchport.repository._rules import RULES, Effect
from torchport.repository._text import Broken, Config, Path, Place, parse_config

__all__ = ["CONFIG", "Model", "Notes", "exists", "is_folder", "open_models", "readable"]

CONFIG = "config.pbtxt"
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
"""What the server reads of a version's name: what follows the digits does not matter to it."""

_NO_VERSIONS = {"warmup", "initial_state", "configs"}
"""Folders that the server knows and does not take for versions."""

_MOST_MODELS = 2000
_MOST_ENTRIES = 5000
_MOST_CONFIG = 2**18
_MOST_FIELDS = 20000


@dataclass
class Notes:
    """Takes the findings of a check down.

    Args:
        root: The repository.
        auto_complete: Whether the server completes configurations.

    Attributes:
        findings: What was taken down.
        refused: The models that the server refuses, as far as is known by now.
    """

    root: FilePath
    auto_complete: bool = True
    findings: list[Finding] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def say(
        self,
        rule: str,
        model: Model | str,
        message: str,
        *,
        at: Path = (),
        file: FilePath | None = None,
        place: Place | None = None,
        found: object = "",
        expected: object = "",
        effect: Effect | None = None,
    ) -> None:
        """Takes one finding down.

        Args:
            rule: The rule's id.
            model: The model, or the name of its folder.
            message: What is wrong.
            at: The field that it is about; its place is looked up.
            file: The file that it is about; the configuration, if not given.
            place: The place in that file.
            found: What is there.
            expected: What should be there.
            effect: What the server makes of it, where that is not what the rule says.
        """
        if isinstance(model, Model) and file is None:
            file = model.path / CONFIG
            place = place or (model.config.place(at) if model.config is not None else None)
        where = self.root if file is None else file
        inside = where.is_relative_to(self.root)
        line, column = place or Place(0, 0)
        known, name = RULES[rule], model if isinstance(model, str) else model.name
        effect = effect or (known.strict if known.strict and not self.auto_complete else known.effect)
        if effect == "refused":
            self.refused.add(name)
        self.findings.append(
            Finding(
                rule,
                name,
                _safe((where.relative_to(self.root) if inside else where).as_posix()),
                _safe(message),
                effect,
                line,
                column,
                _safe(str(found)),
                _safe(str(expected)),
            )
        )


@dataclass
class Model:
    """One model's folder.

    Attributes:
        name: The folder's name.
        path: The folder.
        config: Its configuration; ``None`` where there is none, or none that can be read.
        stated: Whether there is a configuration, readable or not.
        entries: The names in the folder.
        versions: The versions that are there, ascending.
        served: Those that the server serves.
        backend: The backend that serves it; empty where nobody knows, ``ensemble`` for an ensemble.
        filename: The file that a version holds.
        completed: The batch that the server chooses where inputs or outputs are left to it; 0 where it chooses none.
    """

    name: str
    path: FilePath
    config: Config | None = None
    stated: bool = False
    entries: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    served: tuple[int, ...] = ()
    backend: str = ""
    filename: str = ""
    completed: int = 0

    @property
    def message(self) -> Any:
        """The configuration's fields."""
        assert self.config is not None
        return self.config.message

    @property
    def most(self) -> int:
        """The largest batch that the server counts; 0 where clients count it."""
        stated: int = self.message.max_batch_size if self.config is not None else 0
        return stated or self.completed

    @property
    def batched(self) -> bool:
        """Whether the server counts the batch."""
        return self.most > 0


def open_models(notes: Notes) -> dict[str, Model]:
    """Every folder of a repository as a model, with its configuration and versions."""
    models: dict[str, Model] = {}
    for name in _names(notes, notes.root, "", lambda path: is_folder(FilePath(path))):
        if len(models) == _MOST_MODELS:
            notes.say("files/too-large", "", "there are more models", found=f"more than {_MOST_MODELS} folders")
            break
        folder = notes.root / name
        shown = _safe(name)
        if not _inside(notes, shown, folder):
            continue
        model = Model(shown, folder, entries=tuple(_names(notes, folder, shown, lambda _: True)))
        models[shown] = model
        _read_config(notes, model)
        _find_versions(notes, model)
    return models


def _names(notes: Notes, folder: FilePath, model: str, wanted: Callable[[str], bool]) -> list[str]:
    try:
        with os.scandir(folder) as found:
            names: list[str] = []
            for entry in found:
                if len(names) == _MOST_ENTRIES:
                    notes.say("files/too-large", model, "a folder holds more", file=folder, found=f"more than {_MOST_ENTRIES} entries")
                    break
                if wanted(entry.path):
                    names.append(entry.name)
    except OSError as error:
        notes.say("files/unreadable", model, "a folder cannot be read", file=folder, found=error.strerror or type(error).__name__)
        return []
    return sorted(names)


def _inside(notes: Notes, model: str, path: FilePath) -> bool:
    """Whether a path stays in the repository when its links are followed."""
    try:
        if path.resolve().is_relative_to(notes.root.resolve()):
            return True
        notes.say("files/link", model, "a path leads out of the repository", file=path)
    except (OSError, RuntimeError, ValueError) as error:  # a link that leads to itself, a name that is none
        notes.say("files/unreadable", model, "a link leads nowhere", file=path, found=type(error).__name__)
    return False


def exists(path: FilePath) -> bool:
    """Whether something is there; nothing is under a name that the system does not take."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: FilePath) -> bool:
    """Whether a folder is there; see `exists`."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def readable(notes: Notes, model: Model, path: FilePath) -> bool:
    """Whether a path that exists is a plain file inside the repository; where it is not, that is taken down."""
    if not _inside(notes, model.name, path):
        return False
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind) and os.access(path, os.R_OK):
            return True
        found = "no permission" if stat.S_ISREG(kind) else "no regular file"
    except OSError as error:
        found = error.strerror or type(error).__name__
    notes.say("files/unreadable", model, "a file cannot be read", file=path, found=found)
    return False


def _read_config(notes: Notes, model: Model) -> None:
    path = model.path / CONFIG
    model.stated = CONFIG in model.entries
    if not model.stated or not readable(notes, model, path):
        return
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_CONFIG + 1)
    except OSError as error:
        notes.say("files/unreadable", model, "a file cannot be read", found=error.strerror or type(error).__name__)
        return
    if len(content) > _MOST_CONFIG:
        notes.say("files/too-large", model, "the configuration is larger than any", found=f"more than {_MOST_CONFIG} bytes")
        return
    read = parse_config(content)
    if isinstance(read, Broken):
        notes.say("config/encoding" if read.encoded else "config/syntax", model, read.message, place=read.place)
        return
    if len(read.places) > _MOST_FIELDS:
        notes.say("files/too-large", model, "the configuration has more fields than any", found=f"more than {_MOST_FIELDS}")
        return
    model.config = read
    for key, place in read.keys:
        notes.say("config/duplicate-key", model, "a key stands twice", place=place, found=key)


def _find_versions(notes: Notes, model: Model) -> None:
    versions: set[int] = set()
    for name in model.entries:
        path = model.path / name
        if name in _NO_VERSIONS or not is_folder(path):
            continue
        number = _NUMBER.match(name)
        if number is None or (name.startswith("0") and name != "0"):
            if any(letter.isdigit() for letter in name) or exists(path / "model.onnx"):
                notes.say("versions/name", model, "a folder is no version", file=path, found=name)
        elif not -(2**63) <= int(number[1]) < 2**63:
            notes.say("versions/number", model, "a folder's number is too large", file=path, found=name)
        elif name != str(int(number[1])):
            notes.say("versions/name", model, f"a folder is taken for version {int(number[1])}", file=path, found=name)
            versions.add(int(number[1]))
        elif _inside(notes, model.name, path):
            versions.add(int(number[1]))
    model.versions = tuple(sorted(versions))


def _safe(text: str) -> str:
    """Names come out of files and folders: nothing in them may break a line, a terminal or an encoding."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
