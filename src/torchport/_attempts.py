"""Tries the strategies of a format, the cheapest first, until one makes an artifact that is proved."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchport._options import ExportOptions
from torchport._outcome import formats_that_decide, other_formats, worst
from torchport._version import __version__
from torchport.capture import Captured, Failure, advice_on, advice_on_decision, is_only_a_check, strategies
from torchport.emit import Artifact, Format, keep_rejected
from torchport.errors import CaptureError, FrozenDecisionError, ProofError, TorchportError
from torchport.integrations import integration_for
from torchport.metadata import KEY, format_metadata
from torchport.prepare import Prepared
from torchport.result import Attempt, Rejected
from torchport.verification import Proof, Reference, prove
from torchport.verification.power import Witnesses, prove_with_power
from torchport.verification.reproduction import Reproduction, reproduce, write_reproduction

if TYPE_CHECKING:
    import torch

__all__ = ["StageWatch", "class_name", "first_proved"]


class StageWatch:
    """CPU seconds by stage, and the announcement of each.

    Args:
        announce: Called with a sentence as each stage begins.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._announce = announce

    @contextlib.contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        self._announce(f"{name} {detail}".strip())
        start = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


def first_proved(
    prepared: Prepared,
    reference: Reference,
    witnesses: Witnesses,
    feeds: Mapping[str, Any],
    options: ExportOptions,
    format: Format,
    directory: Path,
    watch: StageWatch,
) -> tuple[Artifact, Proof | None, tuple[Attempt, ...], tuple[str, ...]]:
    """Tries the format's strategies, the cheapest first, until one proves; the last part is what the user should know of its capture."""
    attempts: list[Attempt] = []
    errors: list[TorchportError] = []
    reproduction: Reproduction | None = None
    for strategy in _order(options, format):
        start = time.process_time()

        def done(outcome: Any, reason: str = "", *, strategy: str = strategy, start: float = start) -> None:
            attempts.append(Attempt(strategy, outcome, reason, time.process_time() - start))

        folder = directory / strategy
        folder.mkdir()
        try:
            artifact, told = _attempt(strategy, prepared, reference, options, format, folder, watch)
            if not options.verify and not reference.must_check:
                done("unproved")
                return artifact, None, tuple(attempts), told
            with watch.stage("verify", strategy):
                proof = (
                    prove_with_power(artifact, reference, witnesses, options, feeds=feeds)
                    if options.power
                    else prove(artifact, reference, options, feeds=feeds)
                )
            proof.raise_if_failed()
        except ProofError as error:
            first = not any(isinstance(one, ProofError) for one in errors)  # the file that the error is about
            kept = keep_rejected(artifact.paths, options.output) if options.keep_rejected and first else ()
            done("rejected", f"{error.message}; kept as {kept[0].name}" if kept else error.message)
            if options.reproduction is not None and first:
                reproduction = reproduce(artifact, reference, proof, feeds)
            if kept:
                error.add_note(f"the rejected artifact of {strategy} is kept as {', '.join(map(str, kept))}")
                error.rejected = Rejected(prepared.module, dataclasses.replace(artifact, paths=kept), reference, options, feeds)
            errors.append(error)
        except FrozenDecisionError as error:
            done("refused", error.message)
            errors.append(error)
        except TorchportError as error:
            done("failed", error.message)
            errors.append(error)
        else:
            done("proved" if options.verify else "unproved")
            return artifact, proof if options.verify else None, tuple(attempts), told
        shutil.rmtree(folder)
    chosen = worst(errors, attempts)
    if options.reproduction is not None and reproduction is not None:
        chosen.add_note(write_reproduction(reproduction, Path(options.reproduction)))
    raise chosen


def _attempt(
    strategy: str, prepared: Prepared, reference: Reference, options: ExportOptions, format: Format, folder: Path, watch: StageWatch
) -> tuple[Artifact, tuple[str, ...]]:
    with watch.stage("capture", strategy), integration_for(prepared.module).capturing(prepared.module):
        captured = strategies[strategy].capture(prepared, format.form, options)
    if isinstance(captured, Failure):
        if isinstance(captured.error, TorchportError):
            raise captured.error
        if not isinstance(captured.error, Exception):
            raise captured.error
        raise CaptureError(
            f"{strategy} cannot capture the model: {captured.reason}",
            where=class_name(prepared.module),
            hint=advice_on(captured, prepared.module, other_formats(format), formats_that_decide(format)),
        ) from captured.error
    decisive = next((one for one in captured.evidence if one.decisive), None)
    if decisive is not None:
        raise FrozenDecisionError(
            f"{strategy} would freeze a decision that depends on values: {decisive.message}",
            where=f"{decisive.file}:{decisive.line}" if decisive.file else class_name(prepared.module),
            hint=advice_on_decision(formats_that_decide(format), decisive),
        )
    with watch.stage("emit", format.name):
        artifact = format.write(captured, folder, options.output.stem, options, _metadata(prepared, captured))
    told = [one.message for one in captured.evidence if one.told]
    return artifact, (*told, *_decided_by_size(captured, reference))


def _decided_by_size(captured: Captured, reference: Reference) -> Iterator[str]:
    """What the file holds as it was at the traced sizes, and nothing that was tried shows wrong: branches, and numbers made of sizes."""
    for one in captured.evidence:
        file, line = one.file or "", one.line or 0
        if one.decisive or not file or not line or is_only_a_check(file, line):
            continue
        where = f"({Path(file).name}:{line})"
        if "Python boolean" in one.message:
            if (file, line) not in reference.lines_both_ways:
                yield f"weak: only the branch of the traced size is in the file {where}: {one.message}"
        elif one.message.startswith("a tensor becomes"):
            said = "and made no difference at the sizes that were tried"
            yield f"weak: a number of the traced size is in the file {where}, {said}: {one.message}"


def _order(options: ExportOptions, format: Format) -> tuple[str, ...]:
    if options.strategy != "auto":
        return (options.strategy,)
    names = format.strategies
    if options.try_script and "script" in names:
        names = ("script", *(name for name in names if name != "script"))
    return names


def _metadata(prepared: Prepared, captured: Captured) -> dict[str, str]:
    import json

    import torch

    return {
        "torchport.version": __version__,
        "torchport.model": class_name(prepared.module),
        "torchport.strategy": captured.strategy,
        "torchport.signature": json.dumps(prepared.signature.to_dict(), sort_keys=True),
        "torchport.torch": torch.__version__,
        **({"torchport.limits": json.dumps(prepared.limits.sentences)} if prepared.limits else {}),
        **({KEY: format_metadata(prepared.metadata)} if prepared.metadata else {}),
    }


def class_name(module: torch.nn.Module) -> str:
    """The class of a module, as a file names it."""
    return f"{type(module).__module__}.{type(module).__qualname__}"
