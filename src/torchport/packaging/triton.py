"""A model repository for Triton: a model with its configuration, added as a model or as a further version of one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torchport._version import __version__
from torchport.emit import format_for
from torchport.errors import ArtifactExistsError, OptionError, PackageError, UnusablePathError
from torchport.packaging._base import Target
from torchport.packaging._place import check_place
from torchport.packaging._records import Order, Part
from torchport.packaging._triton_batch import choose_batch, measure_batches
from torchport.packaging._triton_chain import Link, chained_golden
from torchport.packaging._triton_commit import Move, commit, finish, is_staged_in
from torchport.packaging._triton_config import MARK, config_of, config_texts
from torchport.packaging._triton_ensemble import Step, ensemble_config
from torchport.packaging._triton_files import WARMUP, write_goldens
from torchport.packaging._triton_ports import MODEL_FILES, check_format, served_ports
from torchport.packaging._triton_settings import OPTIONS, Settings, check_name, check_parts, options_of, read_settings
from torchport.repository import check_repository

__all__ = ["TritonTarget", "finish_packaging"]

_CONFIG = "config.pbtxt"
_RECORD = "torchport.json"
_HINT = "another model name: options={'name': …}"


class TritonTarget(Target):
    """Adds to a repository; what others put there is never touched.

    A new model comes with its configuration and version 1. A model that torchport wrote gets the next version, as long as its configuration
    stays the same to the byte. Either is one rename: a server that polls sees all of it or nothing. Several artifacts become one model
    each, and an ensemble where they can be joined; what is killed between their renames is finished by the next call.
    """

    name: ClassVar[str] = "triton"
    options: ClassVar[Mapping[str, str]] = OPTIONS

    def _option(self, name: str) -> str:
        """One of several models may have options of its own: ``encoder.max_batch_size``."""
        return name.rpartition(".")[2]

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

    def check_export(self, order: Order, output: Path) -> None:
        """Also the settings, and whether a model of somebody else has the name; another configuration shows only when it is written."""
        settings = read_settings(order.options)
        for option in order.options:
            read_settings(options_of(order.options, option.rpartition(".")[0]))
        check_format(format_for(output).name, output.name, settings.names)
        super().check_export(order, output)
        self._check_home(order.directory / check_name(settings.name or output.stem))

    def _settle(self, order: Order) -> Sequence[str]:
        """A killed packaging of several models is finished before anything is added."""
        told = finish(order.directory, self.is_ours)
        return [told] if told else []

    def _home(self, parts: Sequence[Part], order: Order) -> Path:
        """One model: its folder; several: the repository."""
        return order.directory / _names(parts, order)[0] if len(parts) == 1 else order.directory

    @contextlib.contextmanager
    def _placed(self, parts: Sequence[Part], order: Order) -> Iterator[Path]:
        homes = [order.directory / name for name in _names(parts, order)]
        self.check_place(order)
        here = order.directory.resolve()  # a link to a repository leads to another disk, maybe
        for home in homes:
            self._check_home(home)
        old = {home.name for home in homes if home.is_dir()}
        try:
            # Beside the repository, not inside it: a server that polls takes every folder there for a model.
            outer = Path(tempfile.mkdtemp(prefix=f".{here.name}.", suffix=".partial", dir=here.parent))
        except OSError as error:
            raise UnusablePathError(
                "the folder above the repository cannot be written",
                stage="package",
                where=str(order.directory.parent),
                found=error.strerror,
            ) from error
        try:
            stage = outer / here.name
            (stage / homes[0].name).mkdir(parents=True)
            yield stage / homes[0].name if len(parts) == 1 else stage
            for home in homes:
                self._check_home(home)
            self._commit(stage, order, old)
        finally:
            if not is_staged_in(order.directory, outer):
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(outer)

    def _check_home(self, home: Path) -> None:
        if os.path.lexists(home) and (home.is_symlink() or not self.is_ours(home)):
            raise ArtifactExistsError(
                "a model of somebody else is there; it is never touched", stage="package", where=str(home), hint=_HINT
            )

    def _write(self, parts: Sequence[Part], stage: Path, order: Order) -> Sequence[str]:
        settings = read_settings(order.options)
        check_parts(order.options, [part.name for part in parts])
        *names, whole = _names(parts, order) if len(parts) > 1 else [*_names(parts, order), ""]
        notes, steps, links, most = list[str](), list[Step](), list[Link](), 0
        for part, name in zip(parts, names, strict=True):
            model = stage / name if len(parts) > 1 else stage
            model.mkdir(exist_ok=True)
            own = read_settings(options_of(order.options, part.name))
            config, names_there, told = self._write_model(part, name, model, order, own)
            links.append((part, names_there))
            steps.append(Step(name, config["input"], config["output"]))
            most = min(most, config["max_batch_size"]) if len(steps) > 1 else config["max_batch_size"]
            notes += [*part.notes, *told]
        if len(parts) > 1:
            joined = ensemble_config(whole, steps, most)
            if joined is None:
                notes.append("no output of one model is an input of a later one by name: they are models of their own, without an ensemble")
            else:
                notes += _write_ensemble(stage / whole, order, joined, links, steps, settings)
        return notes

    def _write_model(
        self, part: Part, name: str, model: Path, order: Order, settings: Settings
    ) -> tuple[dict[str, Any], Mapping[str, str], list[str]]:
        version = model / str(1 if order.overwrite else _next_version(order.directory / name))
        version.mkdir()
        copies = self.copy_artifact(part, version)
        file = MODEL_FILES.get(part.artifact.format, copies[0].name)
        copies[0].rename(version / file)
        ports = served_ports(part, version / file, settings.names)
        curve = measure_batches(part) if settings.max_batch_size is None else {}
        most = choose_batch(curve) if curve else settings.max_batch_size or 0
        config = config_of(name, part, ports, settings, most, model)
        record = {
            "model": part.model,
            "strategy": part.artifact.strategy,
            "files": {file if path == copies[0] else path.name: part.artifact.digests[path.name] for path in copies},
            "proved": None if part.proof is None else {"cases": len(part.proof.cases), "worst_error": part.proof.worst_error},
            "goldens": write_goldens(part.goldens, ports.names, version) if settings.goldens else [],
            "goldens_from": part.goldens_from,
            **({"seconds_by_batch": {str(size): seconds for size, seconds in curve.items()}} if curve else {}),
        }
        _write_config(model, order, config, record, version)
        notes = [f"max_batch_size {most}: above it, a row gets no cheaper here"] if curve else []
        return config, ports.names, notes

    def _check(self, stage: Path, order: Order) -> None:
        """What a server that completes nothing would refuse, or answer wrong, is not handed over."""
        root = stage.parent if (stage / _CONFIG).is_file() else stage
        if not order.overwrite:  # a further version keeps the warm-up that its model has
            for model in root.iterdir():
                if (before := order.directory / model.name / WARMUP).is_dir():
                    shutil.copytree(before, model / WARMUP, dirs_exist_ok=True)
        if errors := check_repository(root, auto_complete=False).errors:
            raise PackageError(
                "a server would not serve what was written",
                where=errors[0].place,
                found="; ".join(f"{one.rule}: {one.message}{f' ({one.found})' if one.found else ''}" for one in errors),
                expected=errors[0].expected or None,
                hint=errors[0].fix,
            )

    def _commit(self, stage: Path, order: Order, old: Collection[str]) -> None:
        """Moves every model to its place."""
        if not order.directory.exists():
            with contextlib.suppress(OSError):  # somebody made it meanwhile: then as below
                stage.rename(order.directory)
                return
        moves = []
        for model in sorted(stage.iterdir(), key=_last):
            source, target = model, order.directory / model.name
            if model.name in old and not order.overwrite:
                [source] = [path for path in model.iterdir() if path.name.isdecimal()]
                target = target / source.name
            known = source.stat()
            moves.append(Move(source, target, model.name in old and order.overwrite, known.st_ino, known.st_mtime_ns))
        commit(order.directory, stage, moves, self.is_ours)


def finish_packaging(repository: Path | str) -> str:
    """Finishes what a killed packaging of several models left in a repository: all of them come, or none.

    Packaging into the repository and serving it do so by themselves.

    Args:
        repository: The repository.

    Returns:
        What was done; empty where there was nothing to do.

    Raises:
        PackageError: What was going to move is not there any more.
        UnusablePathError: The repository cannot be written.
    """
    return finish(Path(repository), TritonTarget().is_ours)


def _last(model: Path) -> tuple[bool, str]:
    """An ensemble comes after the models that it joins."""
    return 'platform: "ensemble"' in (model / _CONFIG).read_text(encoding="utf-8"), model.name


def _names(parts: Sequence[Part], order: Order) -> list[str]:
    """The models' names in the order of the parts; after several, the name of what they make together."""
    name = order.options.get("name")
    stems = [part.artifact.path.stem for part in parts]
    if len(parts) == 1:
        return [check_name(name or stems[0])]
    if name is None:
        wholes = {stem.removeprefix(f"{part.name}-") for part, stem in zip(parts, stems, strict=True)}
        if len(wholes) != 1:
            raise OptionError(
                "several artifacts need a name for what they make together",
                stage="package",
                where="options['name']",
                found=", ".join(stems),
                hint="options={'name': …}",
            )
        [name] = wholes
    names = [check_name(one) for one in (*(f"{part.name}-{name}" for part in parts), name)]
    if len(set(names)) < len(names):
        raise PackageError("two of the artifacts have one name", where="name", found=", ".join(names))
    return names


def _next_version(home: Path) -> int:
    taken = [int(path.name) for path in home.iterdir() if path.name.isdecimal()] if home.is_dir() else []
    return max(taken, default=0) + 1


def _write_ensemble(
    model: Path, order: Order, config: Mapping[str, Any], links: Sequence[Link], steps: Sequence[Step], settings: Settings
) -> list[str]:
    """Writes an ensemble with a golden case of its own; gives notes."""
    version = model / str(1 if order.overwrite else _next_version(order.directory / model.name))
    version.mkdir(parents=True)
    outputs = [port["name"] for port in config["output"]]
    single = {port["name"] for step in steps for port in (*step.inputs, *step.outputs) if "reshape" in port}
    golden = chained_golden(links, outputs, single) if settings.goldens else None
    named = {name: name for name in (*(port["name"] for port in config["input"]), *outputs)}
    record = {
        "model": None,
        "ensemble": [step.model for step in steps],
        "goldens": write_goldens([golden], named, version) if golden is not None else [],
        "goldens_from": "artifact",
    }
    _write_config(model, order, config, record, version)
    alone = "the golden inputs of the models do not go together: the ensemble has no case of its own"
    return [] if golden is not None or not settings.goldens else [alone]


def _write_config(model: Path, order: Order, config: Mapping[str, Any], record: Mapping[str, Any], version: Path) -> None:
    """Writes the configuration and the record of a version; a further version leaves the configuration as it is."""
    home = order.directory / model.name
    words = dict(sorted(order.metadata.items()))
    shared, own = config_texts(config, words)
    if home.is_dir() and not order.overwrite:
        own = _check_same(home, shared, own)
    (model / _CONFIG).write_text(shared + own, encoding="utf-8")
    document = {"torchport_triton": 1, "torchport": __version__, **record, "metadata": words, "configured": own}
    (version / _RECORD).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _check_same(home: Path, shared: str, own: str) -> str:
    """All versions of a model are served with one configuration; gives its end, which is that of the version that it came with."""
    before = (home / _CONFIG).read_text(encoding="utf-8")
    for end in (own, *_configured(home)):
        if shared + end == before:
            return end
    old, new = before.splitlines(), (shared + own).splitlines()
    differing = next(((a, b) for a, b in zip([*old, ""], [*new, ""], strict=False) if a != b), ("", ""))
    raise PackageError(
        "the new version needs another configuration than the model has, and all versions share one",
        where=str(home / _CONFIG),
        found=differing[1].strip() or "(the end)",
        expected=differing[0].strip() or "(the end)",
        hint=f"{_HINT}, or overwrite=True (--overwrite of torchport package) replaces the model with all of its versions",
    )


def _configured(home: Path) -> Iterator[str]:
    """How the configuration ends, as the versions that are there say."""
    for path in sorted(home.glob(f"*/{_RECORD}")):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            end = json.loads(path.read_text(encoding="utf-8")).get("configured")
            if isinstance(end, str):
                yield end
