"""A model repository for Triton: a model with its configuration, added as a model or as a further version of one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from torchport._version import __version__
from torchport.errors import ArtifactExistsError, OptionError, PackageError, UnusablePathError
from torchport.packaging._base import Target
from torchport.packaging._place import check_place, replace_ours
from torchport.packaging._records import Order, Part
from torchport.packaging._triton_config import MARK, config_text
from torchport.packaging._triton_ports import MODEL_FILES, Naming, served_ports

__all__ = ["TritonTarget"]

_CONFIG = "config.pbtxt"
_RECORD = "torchport.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HINT = "another model name: --set name=…"


class TritonTarget(Target):
    """Adds to a repository; what others put there is never touched.

    A new model comes with its configuration and version 1. A model that torchport wrote gets the next version, as long as its configuration
    stays the same to the byte. Either is one rename: a server that polls sees all of it or nothing.
    """

    name: ClassVar[str] = "triton"
    options: ClassVar[Mapping[str, str]] = {
        "name": "the model's name; the artifact's, if not given",
        "max_batch_size": "0 (clients send the batch axis like any other), or the largest batch that the server may put together",
        "dynamic_batching": "true: the server may put requests of several clients into one batch",
        "names": "TorchScript: ports (they keep their names) or index (mel__0, mel__1, as the server's oldest convention has it)",
    }

    def is_ours(self, directory: Path) -> bool:
        """A model's folder whose configuration torchport wrote."""
        try:
            return (directory / _CONFIG).read_text(encoding="utf-8").startswith(MARK)
        except (OSError, UnicodeError):
            return False

    def check_place(self, order: Order) -> None:
        """A repository may be there already, or its parent must be."""
        if not order.directory.is_dir():
            check_place(order.directory, overwrite=False, is_ours=lambda _: False)

    def _home(self, parts: Sequence[Part], order: Order) -> Path:
        return order.directory / self._name_of(parts, order)

    def _name_of(self, parts: Sequence[Part], order: Order) -> str:
        if len(parts) != 1:
            raise PackageError(
                "one artifact becomes one model", found=f"{len(parts)} artifacts", hint="package each of the files by itself"
            )
        name = order.options.get("name") or parts[0].artifact.path.stem
        if not _NAME.fullmatch(name):
            raise OptionError(
                "the name of a model is that of its folder", stage="package", where="name", found=name, expected="letters, digits, _ . -"
            )
        return name

    @contextlib.contextmanager
    def _placed(self, parts: Sequence[Part], order: Order) -> Iterator[Path]:
        home = self._home(parts, order)
        self.check_place(order)
        self._check_home(home)
        try:
            # Beside the repository, not inside it: a server that polls takes every folder there for a model.
            outer = Path(tempfile.mkdtemp(prefix=f".{order.directory.name}.", suffix=".partial", dir=order.directory.absolute().parent))
        except OSError as error:
            raise UnusablePathError(
                "the folder above the repository cannot be written",
                stage="package",
                where=str(order.directory.parent),
                found=error.strerror,
            ) from error
        try:
            stage = outer / home.name
            stage.mkdir()
            yield stage
            self._check_home(home)
            self._commit(stage, home, order)
        finally:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(outer)

    def _check_home(self, home: Path) -> None:
        if os.path.lexists(home) and (home.is_symlink() or not self.is_ours(home)):
            raise ArtifactExistsError(
                "a model of somebody else is there; it is never touched", stage="package", where=str(home), hint=_HINT
            )

    def _write(self, parts: Sequence[Part], stage: Path, order: Order) -> Sequence[str]:
        [part] = parts
        home = self._home(parts, order)
        version = stage / str(1 if order.overwrite else _next_version(home))
        version.mkdir()
        copies = self.copy_artifact(part, version)
        model_file = MODEL_FILES.get(part.artifact.format, copies[0].name)
        copies[0].rename(version / model_file)
        ports = served_ports(part, version / model_file, _naming(order))
        config = config_text(
            home.name, part, ports, max_batch_size=_number(order, "max_batch_size"), dynamic_batching=_switch(order, "dynamic_batching")
        )
        (stage / _CONFIG).write_text(config, encoding="utf-8")
        if home.is_dir() and not order.overwrite:
            _check_same(home / _CONFIG, config)
        record = {
            "torchport_triton": 1,
            "torchport": __version__,
            "model": part.model,
            "strategy": part.artifact.strategy,
            "files": {model_file if path == copies[0] else path.name: part.artifact.digests[path.name] for path in copies},
            "proved": None if part.proof is None else {"cases": len(part.proof.cases), "worst_error": part.proof.worst_error},
            "metadata": dict(sorted(order.metadata.items())),
        }
        (version / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return part.notes

    def _commit(self, stage: Path, home: Path, order: Order) -> None:
        order.directory.mkdir(exist_ok=True)
        try:
            if home.is_dir() and order.overwrite:
                replace_ours(stage, home, self.is_ours)
            elif home.is_dir():
                [version] = [path for path in stage.iterdir() if path.is_dir()]
                version.rename(home / version.name)
            else:
                stage.rename(home)
        except ArtifactExistsError:  # an OSError, too
            raise
        except OSError as error:
            if home.is_dir():
                raise ArtifactExistsError(
                    "somebody else added to this model meanwhile", stage="package", where=str(home), hint="package it again"
                ) from error
            raise UnusablePathError(
                "the model cannot be moved to its place", stage="package", where=str(home), found=error.strerror
            ) from error


def _next_version(home: Path) -> int:
    taken = [int(path.name) for path in home.iterdir() if path.name.isdecimal()] if home.is_dir() else []
    return max(taken, default=0) + 1


def _check_same(there: Path, config: str) -> None:
    """All versions of a model are served with one configuration."""
    before = there.read_text(encoding="utf-8")
    if before == config:
        return
    old, new = before.splitlines(), config.splitlines()
    differing = next(((a, b) for a, b in zip([*old, ""], [*new, ""], strict=False) if a != b), ("", ""))
    raise PackageError(
        "the new version needs another configuration than the model has, and all versions share one",
        where=str(there),
        found=differing[1].strip() or "(the end)",
        expected=differing[0].strip() or "(the end)",
        hint=f"{_HINT}, or overwrite=True replaces the model with all of its versions",
    )


def _number(order: Order, name: str) -> int:
    text = order.options.get(name, "0")
    if not text.isdecimal() or int(text) >= 2**31:
        raise OptionError(f"{name} is a number", stage="package", where=name, found=text, expected="0 or more")
    return int(text)


def _switch(order: Order, name: str) -> bool:
    text = order.options.get(name, "false").lower()
    if text not in ("true", "false"):
        raise OptionError(f"{name} is a switch", stage="package", where=name, found=text, expected="true or false")
    return text == "true"


def _naming(order: Order) -> Naming:
    text = order.options.get("names", "ports")
    if text not in ("ports", "index"):
        raise OptionError("names is one of two", stage="package", where="names", found=text, expected="ports or index")
    return "index" if text == "index" else "ports"
