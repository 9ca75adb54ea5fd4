"""The pipeline: declare, take the reference, prepare, capture, emit, verify."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchport._asked_axes import explicit_names
from torchport._attempts import StageWatch, class_name, first_proved
from torchport._collector import set_aside
from torchport._hooks import call_hook, defines, read_metadata, read_subnets
from torchport._naming import check_port_names
from torchport._options import ExportOptions, check_types, read_options, signature_of_export
from torchport._own_words import own_words_only
from torchport._subject import Subject, declare, declare_subnet, names_of_types, reference_of, witnesses_of
from torchport.capture import asked_opset, keeps_decisions, strategies
from torchport.emit import Artifact, Format, Staging, commit_all, format_for, staging, write_debug_map
from torchport.errors import OptionError
from torchport.integrations import integration_for
from torchport.metadata import as_document
from torchport.packaging import choose_goldens
from torchport.ports.calling import FlatCall
from torchport.prepare import Prepared, Swap, check_prepare_names, kept_as_found, run_prepare_hooks, swap_modules, watched
from torchport.result import Exported, ExportResult
from torchport.verification import Reference
from torchport.verification.power import Witnesses
from torchport.verification.reproduction import check_place

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
        watches = [StageWatch(announce) for _ in subnets]
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
    watch: StageWatch,
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
        artifact, proof, attempts, told = first_proved(prepared, reference, witnesses, feeds, options, format, directory, watch)
    finally:
        if not integration_for(module).speaks_for_its_modules and defines(module, "_export_teardown"):
            call_hook(module, "_export_teardown")
    return Exported(
        name=name,
        model=class_name(module),
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


def _weight_feeds(module: torch.nn.Module, options: ExportOptions) -> dict[str, Any]:
    """The untouched model's weights by qualified name, for an artifact that takes them as inputs: they are what its user has to feed."""
    if options.export_params:
        return {}
    tensors = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers(remove_duplicate=False))}
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
