"""Checks a model repository: each model by itself, against its files, then ensembles against their models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path as FilePath

from torchport.errors import UnknownNameError, UnusablePathError
from torchport.repository._against_file import check_against_file, check_drift, complete_batch
from torchport.repository._backend import ENSEMBLE, ONNX, TORCH, check_backend
from torchport.repository._ensemble import check_ensemble, check_steps, ensemble_order
from torchport.repository._files import VersionFile, read_versions
from torchport.repository._folder import Model, Notes, open_models
from torchport.repository._ports import check_ports
from torchport.repository._records import Report, Verdict
from torchport.repository._rules import RULES, Effect
from torchport.repository._scheduling import check_cache, check_dynamic_batching, check_instances, check_labels
from torchport.repository._sequence import check_sequence, filled_inputs
from torchport.repository._unfinished import check_unfinished
from torchport.repository._versions import check_versions
from torchport.repository._warmup import check_warmup

__all__ = ["check_repository"]


def check_repository(directory: str | FilePath, *, auto_complete: bool = True, ignore: Collection[str] = ()) -> Report:
    r"""Says of every model in a repository for Triton whether the server takes it, and what is wrong with it; no server is asked.

    Args:
        directory: The repository: a folder with one folder for each model.
        auto_complete: Whether the server completes configurations, as it does unless started with ``--disable-auto-complete-config``.
        ignore: Ids of rules whose findings do not count.

    Raises:
        UnusablePathError: There is no such folder.
        UnknownNameError: There is no such rule.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> (folder / "tagger" / "1").mkdir(parents=True)
        >>> _ = (folder / "tagger" / "config.pbtxt").write_text('backend: "onnxruntime"\nmax_batch_size = 8')
        >>> for finding in check_repository(folder).errors:
        ...     print(finding.rule, finding.place)
        config/syntax tagger/config.pbtxt:2:16
    """
    root = FilePath(directory)
    if not root.is_dir():
        raise UnusablePathError("there is no such folder", stage="check", where=str(root), expected="a model repository")
    for rule in ignore:
        if rule not in RULES:
            raise UnknownNameError(f"unknown rule {rule!r}", stage="check", found=rule, expected=", ".join(RULES))
    notes = Notes(root, auto_complete)
    check_unfinished(notes)
    models = open_models(notes)
    files = {name: _check_model(notes, model) for name, model in models.items()}
    for ensemble in ensemble_order(notes, models):
        check_steps(notes, ensemble, models, files)
    found = sorted(notes.findings, key=lambda one: (one.model, one.file, one.line, one.column))
    kept = [finding for finding in found if finding.rule not in ignore]
    return Report(
        {name: _verdict(notes, model, files[name]) for name, model in models.items()},
        kept,
        [finding for finding in found if finding.rule in ignore],
    )


def _check_model(notes: Notes, model: Model) -> dict[int, VersionFile]:
    check_backend(notes, model)
    if not model.stated:
        known: Effect | None = "loads" if model.backend == ONNX and notes.auto_complete else None
        notes.say("config/missing", model, "there is no config.pbtxt", file=model.path, effect=known)
    if model.stated and model.config is None:
        return {}
    check_versions(notes, model)
    files = read_versions(notes, model)
    if notes.auto_complete:
        complete_batch(model, files)
    if model.config is None:
        return files
    config = model.message
    if not model.config.states("max_batch_size"):
        notes.say("config/batch-size-unstated", model, "max_batch_size is not stated")
    check_ports(notes, model)
    check_dynamic_batching(notes, model)
    check_sequence(notes, model, files)
    check_cache(notes, model)
    check_labels(notes, model)
    if model.backend == ENSEMBLE:
        check_ensemble(notes, model)
        return files
    check_instances(notes, model)
    check_warmup(notes, model, files)
    if not config.input or not config.output:
        effect: Effect = "loads" if model.backend == ONNX else "depends"
        if not notes.auto_complete:
            effect = "wrong" if config.input else "refused"  # a server takes a model without outputs, and nobody can ask it for any
        left = " and ".join(kind for kind in ("input", "output") if not getattr(config, kind))
        notes.say("config/incomplete", model, f"no {left} is listed", effect=effect)
    for version in model.served:
        if version in files:
            check_against_file(notes, model, files[version], filled_inputs(model))
    check_drift(notes, model, files)
    return files


def _verdict(notes: Notes, model: Model, files: Mapping[int, VersionFile]) -> Verdict:
    if model.name in notes.refused:
        return "refused"
    if any(finding.model == model.name and finding.effect == "depends" for finding in notes.findings):
        return "undecided"
    if model.backend == TORCH:  # where the arguments are known: nobody looks at more before a request comes
        return "loads" if all(version in files and files[version].inputs for version in model.served) else "undecided"
    return "loads" if model.backend in (ONNX, ENSEMBLE) else "undecided"
