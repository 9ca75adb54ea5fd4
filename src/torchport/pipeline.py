"""The pipeline: declare, take the reference, prepare, capture, emit, verify."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchport._collector import set_aside
from torchport._hooks import call_hook, defines, read_metadata, read_subnets
from torchport._naming import check_port_names
from torchport._options import ExportOptions, check_types, read_options, signature_of_export
from torchport._outcome import formats_that_decide, other_formats, worst
from torchport._own_words import own_words_only
from torchport._subject import Subject, declare, declare_subnet, explicit_names, names_of_types, reference_of, witnesses_of
from torchport._version import __version__
from torchport.capture import Captured, Failure, advice_on, advice_on_decision, asked_opset, is_only_a_check, keeps_decisions, strategies
from torchport.emit import Artifact, Format, Staging, commit_all, format_for, keep_rejected, staging, write_debug_map
from torchport.errors import CaptureError, FrozenDecisionError, OptionError, ProofError, TorchportError
from torchport.integrations import integration_for
from torchport.metadata import KEY, as_document, format_metadata
from torchport.packaging import choose_goldens
from torchport.ports.calling import FlatCall
from torchport.prepare import Prepared, Swap, check_prepare_names, kept_as_found, run_prepare_hooks, swap_modules, watched
from torchport.result import Attempt, Exported, ExportResult, Rejected
from torchport.verification import Proof, Reference, prove
from torchport.verification.power import Witnesses, prove_with_power
from torchport.verification.reproduction import Reproduction, check_place, reproduce, write_reproduction

if TYPE_CHECKING:
    import torch

__all__ = ["export", "one_at_a_time"]

_TURN = threading.RLock()

Stage = Callable[[str], None]


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Takes a turn: the exporters of torch keep process-wide state, so exports in several threads follow one another."""
    with _TURN, set_aside():
        yield


class _Watch:
    """CPU seconds by stage, and the announcement of each."""

    def __init__(self, announce: Stage) -> None:
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


def export(
    module: torch.nn.Module,
    output: str | os.PathLike[str],
    *,
    input_types: Mapping[str, Any] | None = None,
    output_types: Mapping[str, Any] | None = None,
    on_stage: Stage | None = None,
    **arguments: Any,
) -> ExportResult:
    """Exports ``module`` and proves the artifact equal to it.

    Args:
        module: The model; it is left as it was found.
        output: The path to write; its extension picks the format.
        input_types: Ports of the inputs, by name; they win over the module's own.
        output_types: Ports of the outputs, by name, in order.
        on_stage: Called with a sentence as each stage begins.
        **arguments: The arguments of `torchport.Exportable.export`, which explains them; ``inspect.signature`` and ``help`` show each with
            its default. Further ones reach ``_prepare_for_export``.

    Returns:
        The artifacts with their proof.

    Raises:
        TorchportError: One of its subclasses; nothing is written, and the model is as it was.

    Example:
        >>> torchport.export(module, "m.onnx", input_example=(x,), input_types={"x": "batch 80 time"})  # doctest: +SKIP
    """
    if isinstance(module, type) or not hasattr(module, "named_parameters"):
        raise OptionError(
            "only a torch.nn.Module can be exported",
            found=f"the class {module.__qualname__}" if isinstance(module, type) else type(module).__qualname__,
            hint="make an instance of the class; put a function into a module's forward",
        )
    options = read_options(output, arguments)
    asked_opset(options.onnx_opset_version)
    check_types(input_types=input_types, output_types=output_types)
    format = format_for(options.output)
    _check_format(options, format)
    if options.reproduction is not None:
        check_place(Path(options.reproduction))
    announce = on_stage or (_to_stderr if options.verbose else _silent)
    with one_at_a_time(), own_words_only(verbose=options.verbose), contextlib.ExitStack() as files, contextlib.ExitStack() as found:
        found.enter_context(kept_as_found(module))
        subnets = read_subnets(module)
        family = [part for _, part in subnets]
        subjects: list[Subject] = []
        parts: list[Exported] = []
        pending = []
        maps: list[tuple[Staging, tuple[Path, ...]]] = []
        watches = [_Watch(announce) for _ in subnets]
        for place, ((name, part), watch) in enumerate(zip(subnets, watches, strict=True)):
            if part is not module:
                found.enter_context(kept_as_found(part))
            if options.set_eval:
                part.eval()
            with watch.stage("declare", type(part).__name__), kept_as_found(part):
                own = _own_options(options, name, first=place == 0)
                read = declare if part is module else declare_subnet
                subject = read(part, own, input_types=input_types, output_types=output_types)
                subjects.append(dataclasses.replace(subject, metadata=_stated(module, name, subject)))
        known = {name for subject in subjects for name in (*subject.signature.inputs, *subject.signature.outputs)}
        for argument, names in (
            ("dynamic_axes", explicit_names(options)),
            ("input_types", names_of_types(input_types)),
            ("output_types", names_of_types(output_types)),
        ):
            if argument == "dynamic_axes" or len(subnets) > 1:
                check_port_names(names - known, known, module, argument)
        for (name, _), subject, watch in zip(subnets, subjects, watches, strict=True):
            own = _own_options(options, name, first=subject is subjects[0])
            stage = files.enter_context(staging(own.output, overwrite=options.overwrite))
            pending.append(stage)
            parts.append(_export_one(name, subject, own, format, stage.directory, watch, family))
            if options.debug_map is not None:
                maps.append(_debug_map(_subnet_path(Path(options.debug_map), name), parts[-1].artifact, options, files))
        found.close()  # a model that cannot be put back is an error: nothing is handed over then
        finals = commit_all(
            [*pending, *(stage for stage, _ in maps)], [*(part.artifact.paths for part in parts), *(paths for _, paths in maps)]
        )
    return ExportResult(
        tuple(
            dataclasses.replace(part, artifact=dataclasses.replace(part.artifact, paths=tuple(paths)))
            for part, paths in zip(parts, finals, strict=False)
        )
    )


export.__signature__ = signature_of_export(export)  # type: ignore[attr-defined]  # what inspect reads; the options say it once


def _stated(module: torch.nn.Module, name: str, subject: Subject) -> dict[str, Any]:
    """What the model says of the artifact's use, held against the schema and against the graph's ports; empty where it says nothing."""
    ports = (*subject.signature.inputs, *subject.signature.outputs)
    said = read_metadata(module, name, subject.module, ports)
    where = f"{type(module).__name__}.export_metadata"
    return as_document(said, inputs=subject.signature.inputs, outputs=subject.signature.outputs, where=where) if said else {}


def _debug_map(path: Path, artifact: Artifact, options: ExportOptions, files: contextlib.ExitStack) -> tuple[Staging, tuple[Path, ...]]:
    """The debug map of an artifact, staged beside its own place."""
    stage = files.enter_context(staging(path, overwrite=options.overwrite))
    staged = stage.directory / path.name
    write_debug_map(staged, artifact.path, artifact.strategy, artifact.digests, artifact.origins)
    return stage, (staged,)


def _silent(_: str) -> None:
    return None


def _to_stderr(sentence: str) -> None:
    sys.stderr.write(f"torchport: {sentence}\n")


def _check_format(options: ExportOptions, format: Format) -> None:
    """The format can do what was asked of it."""
    strategy = options.strategy
    if not options.export_params and not format.can_lift_weights:
        raise OptionError(
            f"export_params=False leaves the weights as inputs; {format.name} always holds them",
            where="export_params",
            found=False,
            expected=f"True for {options.output.suffix}",
            hint="leave export_params out, or write .onnx",
        )
    if strategy != "auto" and strategy not in format.strategies:
        strategies[strategy]
        raise OptionError(
            f"strategy {strategy!r} cannot make {format.name}", found=strategy, expected=", ".join(("auto", *format.strategies))
        )


def _subnet_path(output: Path, name: str) -> Path:
    return output if name == "self" else output.with_name(f"{name}-{output.name}")


def _own_options(options: ExportOptions, subnet: str, *, first: bool) -> ExportOptions:
    """The options as one subnet sees them: the caller's examples go to the first."""
    output = _subnet_path(options.output, subnet)
    if first:
        return dataclasses.replace(options, output=output)
    check = options.check_trace if isinstance(options.check_trace, bool) else False
    return dataclasses.replace(options, output=output, input_example=None, output_example=None, check_trace=check)


def _export_one(
    name: str,
    subject: Subject,
    options: ExportOptions,
    format: Format,
    directory: Path,
    watch: _Watch,
    family: Sequence[torch.nn.Module],
) -> Exported:
    module = subject.module
    with watch.stage("reference"):
        reference = reference_of(subject, options)
        witnesses = witnesses_of(subject, reference) if options.power else Witnesses()
    feeds = _weight_feeds(module, options)
    try:
        with watch.stage("prepare"), integration_for(module).capturing(module):
            prepared = _prepare(subject, reference, options, family)
        artifact, proof, attempts, told = _first_proved(prepared, reference, witnesses, feeds, options, format, directory, watch)
    finally:
        if not integration_for(module).speaks_for_its_modules and defines(module, "_export_teardown"):
            call_hook(module, "_export_teardown")
    return Exported(
        name=name,
        model=_class_name(module),
        artifact=artifact,
        attempts=attempts,
        proof=proof,
        swaps=prepared.swaps,
        notes=(*subject.notes, *reference.notes, *_checked(reference, artifact), *told),
        timings=watch.seconds,
        goldens=choose_goldens(reference, options),
    )


def _checked(reference: Reference, artifact: Artifact) -> tuple[str, ...]:
    """What the file does outside the sizes that were found; where Python's own decisions are kept, the model's own checks are, too."""
    if not reference.limits or keeps_decisions(artifact.strategy):
        return ()
    return (f"the file checks its sizes and fails elsewhere: {'; '.join(reference.limits.sentences)}",)


def _class_name(module: torch.nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _prepare(subject: Subject, reference: Reference, options: ExportOptions, family: Sequence[torch.nn.Module]) -> Prepared:
    module = subject.module
    arguments = {field.name: getattr(options, field.name) for field in dataclasses.fields(options) if field.name != "prepare_kwargs"}
    integration = integration_for(module)
    if integration.speaks_for_its_modules:
        check_prepare_names(module, family, **arguments, **options.prepare_kwargs)
    else:
        run_prepare_hooks(module, family, **arguments, **options.prepare_kwargs)
    with watched():
        integration.prepare(module, swaps=options.export_params)
    if options.set_eval:
        module.eval()

    def example_call() -> Any:
        return _current_call(subject)(reference.example)

    swaps: tuple[Swap, ...] = ()
    if options.export_params:
        swaps = swap_modules(
            module,
            replace_1D_2D=bool(options.prepare_kwargs.get("replace_1D_2D", False)),
            example_call=example_call,
        )
    call = _current_call(subject)
    module.forward = call.positional(module.forward)
    return Prepared(
        module=module,
        signature=reference.signature,
        example=reference.example,
        native_forward=call.function,
        swaps=swaps,
        limits=reference.limits,
        metadata=subject.metadata,
    )


def _current_call(subject: Subject) -> FlatCall:
    """The subject's call with the method as it is now: hooks and a swap of the module itself may have changed it."""
    if not subject.forward_name:
        return subject.call
    return dataclasses.replace(subject.call, function=getattr(subject.module, subject.forward_name))


def _first_proved(
    prepared: Prepared,
    reference: Reference,
    witnesses: Witnesses,
    feeds: Mapping[str, Any],
    options: ExportOptions,
    format: Format,
    directory: Path,
    watch: _Watch,
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
    strategy: str, prepared: Prepared, reference: Reference, options: ExportOptions, format: Format, folder: Path, watch: _Watch
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
            where=_class_name(prepared.module),
            hint=advice_on(captured, prepared.module, other_formats(format), formats_that_decide(format)),
        ) from captured.error
    decisive = next((one for one in captured.evidence if one.decisive), None)
    if decisive is not None:
        raise FrozenDecisionError(
            f"{strategy} would freeze a decision that depends on values: {decisive.message}",
            where=f"{decisive.file}:{decisive.line}" if decisive.file else _class_name(prepared.module),
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
        "torchport.model": _class_name(prepared.module),
        "torchport.strategy": captured.strategy,
        "torchport.signature": json.dumps(prepared.signature.to_dict(), sort_keys=True),
        "torchport.torch": torch.__version__,
        **({"torchport.limits": json.dumps(prepared.limits.sentences)} if prepared.limits else {}),
        **({KEY: format_metadata(prepared.metadata)} if prepared.metadata else {}),
    }


def _weight_feeds(module: torch.nn.Module, options: ExportOptions) -> dict[str, Any]:
    """The untouched model's weights by qualified name, for an artifact that takes them as inputs: they are what its user has to feed."""
    if options.export_params:
        return {}
    tensors = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers(remove_duplicate=False))}
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
