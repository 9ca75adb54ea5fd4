"""``torchport export``: a model in, a proved artifact out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.markup import escape
from typer.core import TyperCommand

from torchport._counted import counted
from torchport.cli._common import (
    AllowTies,
    CheckTolerance,
    CheckTrace,
    Config,
    DynamicAxes,
    InputExample,
    InputTypes,
    Mutants,
    OutputExample,
    OutputTypes,
    Power,
    Seed,
    SetEval,
    SourceText,
    Trust,
    UseDynamicAxes,
    Weights,
    WeightsKey,
    notes_text,
    output_of,
    port_text,
    power_tables,
    proof_rows,
    proof_table,
    ranges_text,
)
from torchport.cli._output import size_text, table
from torchport.cli._package import package_report, read_signer, read_texts
from torchport.cli._source import Source
from torchport.cli._values import EXAMPLE_SUFFIXES, read_answer, read_dynamic_axes, read_example, read_keywords, read_port_types
from torchport.errors import OptionError, TorchportError

if TYPE_CHECKING:
    from torchport.packaging import Packaged
    from torchport.result import Exported, ExportResult

__all__ = ["ExamplesCommand", "check_trace_of", "export"]

UNPACKAGED = 9
"""The exit code where the artifact was written and its package was not."""

_ITSELF = "itself"
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
_FORMAT, _PROOF, _PREPARE, _BUNDLE = "Format", "Proof", "Preparing", "Bundle"


class ExamplesCommand(TyperCommand):
    """Lets ``--check-trace`` stand alone, or before any number of files."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments."""
        try:
            return super().parse_args(ctx, _spelled_out(args))
        except _USAGE_ERROR as error:
            if "unexpected extra argument" in error.message and any(word.endswith("-type") for word in args):  # type: ignore[attr-defined]
                error.message += '; a value with spaces stands in quotes: --input-type "mel=batch 80 time"'  # type: ignore[attr-defined]
            raise


def _spelled_out(args: Sequence[str]) -> list[str]:
    """``--check-trace a.npz b.npz`` as the option twice; alone, as the option with the word for the example itself.

    Example:
        >>> _spelled_out(["--check-trace", "a.npz", "b.pt", "m.onnx"])
        ['--check-trace=a.npz', '--check-trace=b.pt', 'm.onnx']
        >>> _spelled_out(["--check-trace", "--verbose"])
        ['--check-trace=itself', '--verbose']
    """
    words = list(args)
    spelled: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            return [*spelled, word, *words]
        if word != "--check-trace":
            spelled.append(word)
            continue
        files = []
        while words and words[0].lower().endswith(EXAMPLE_SUFFIXES) and not words[0].startswith("-"):
            files.append(words.pop(0))
        spelled.extend(f"--check-trace={file}" for file in files or [_ITSELF])
    return spelled


def check_trace_of(texts: Sequence[str] | None) -> bool | list[Any]:
    """The ``check_trace`` argument: off, on, or further examples."""
    files = [text for text in texts or () if text != _ITSELF]
    return [read_example(Path(file), "--check-trace") for file in files] if files else bool(texts)


def export(
    context: typer.Context,
    source: SourceText,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The file to write; its extension picks the format.")],
    config: Config = None,
    weights: Weights = None,
    weights_key: WeightsKey = None,
    trust: Trust = None,
    seed: Seed = None,
    set_eval: SetEval = True,
    input_example: InputExample = None,
    output_example: OutputExample = None,
    check_trace: CheckTrace = None,
    check_tolerance: CheckTolerance = 0.01,
    input_types: InputTypes = None,
    output_types: OutputTypes = None,
    use_dynamic_axes: UseDynamicAxes = True,
    dynamic_axes: DynamicAxes = None,
    verify: Annotated[bool, typer.Option(help="Prove the artifact over its dynamic axes.", rich_help_panel=_PROOF)] = True,
    allow_ties: AllowTies = False,
    power: Power = False,
    mutants: Mutants = None,
    keep_rejected: Annotated[
        bool, typer.Option("--keep-rejected", help="Leave an artifact that failed as OUT.rejected.", rich_help_panel=_PROOF)
    ] = False,
    debug_map: Annotated[
        Path | None,
        typer.Option("--debug-map", metavar="FILE", help="Also write the source line of every node, as JSON.", rich_help_panel=_FORMAT),
    ] = None,
    reproduction: Annotated[
        Path | None,
        typer.Option("--reproduction", metavar="DIR", help="Where the proof fails, write a small reproduction.", rich_help_panel=_PROOF),
    ] = None,
    strategy: Annotated[str, typer.Option(help="auto, or the one to use: trace, torch_export, script.", rich_help_panel=_FORMAT)] = "auto",
    try_script: Annotated[bool, typer.Option("--try-script", help="TorchScript: script first.", rich_help_panel=_FORMAT)] = False,
    onnx_opset_version: Annotated[
        int | None, typer.Option("--onnx-opset-version", "--opset", help="ONNX: 13 or later.", rich_help_panel=_FORMAT)
    ] = None,
    export_params: Annotated[bool, typer.Option(help="Weights inside the artifact.", rich_help_panel=_FORMAT)] = True,
    do_constant_folding: Annotated[bool, typer.Option(help="ONNX: fold constants.", rich_help_panel=_FORMAT)] = True,
    keep_initializers_as_inputs: Annotated[
        bool, typer.Option("--keep-initializers-as-inputs", help="ONNX: list the weights as inputs too.", rich_help_panel=_FORMAT)
    ] = False,
    replace_1d_2d: Annotated[
        bool, typer.Option("--replace-1d-2d", help="Swap 1-D convolutions, norms and pools for 2-D ones.", rich_help_panel=_PREPARE)
    ] = False,
    keywords: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A keyword for the model's _prepare_for_export; repeat it.", rich_help_panel=_PREPARE
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing artifact, and an older bundle.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also package it there, with the model's own answers as goldens.", rich_help_panel=_BUNDLE),
    ] = None,
    bundle_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sign the bundle's manifest with this key.", rich_help_panel=_BUNDLE)
    ] = None,
    bundle_signer: Annotated[str, typer.Option(help="The kind of signature.", rich_help_panel=_BUNDLE)] = "hmac-sha256",
    package: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also package it there for --target, with its proof: into a repository.", rich_help_panel=_BUNDLE),
    ] = None,
    target: Annotated[str, typer.Option(help="For --package: the kind of package.", rich_help_panel=_BUNDLE)] = "triton",
    options: Annotated[  # what `Target` calls it: messages say options={…}, and the command line spells it as it is here
        list[str] | None,
        typer.Option(
            "--package-set",
            metavar="KEY=VALUE",
            help="For --package: what the target takes, max_batch_size=8 for triton; repeat it.",
            rich_help_panel=_BUNDLE,
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Show every case of the proof; print each stage, and the exporter's own log, to standard error."
        ),
    ] = False,
) -> None:
    """Export a model and prove the artifact equal to it."""
    further = read_keywords(keywords or ())
    if replace_1d_2d:
        further["replace_1D_2D"] = True
    # What the command line itself can refuse, it refuses before torch is imported.
    axes = read_dynamic_axes(dynamic_axes or ())
    types = read_port_types(input_types or (), "--input-type"), read_port_types(output_types or (), "--output-type")
    if output.exists() and not overwrite:
        raise OptionError("the output exists", where="--output", found=str(output), hint="--overwrite replaces it, or choose another path")
    shown = output_of(context)
    if bundle is None and bundle_key is not None:
        raise OptionError("a key signs the bundle, and none was asked for", where="--bundle-key", found=bundle_key, hint="--bundle DIR")
    settings = read_texts(options or (), "--package-set", "max_batch_size=8")
    if package is None and settings:
        raise OptionError(
            "settings are for a package, and none was asked for", where="--package-set", found=next(iter(settings)), hint="--package DIR"
        )
    with shown.progress(f"Exporting {source}", verbose=verbose) as on_stage:
        on_stage("load")
        examples = {
            "input_example": None if input_example is None else read_example(input_example, "--input-example"),
            "output_example": None if output_example is None else read_answer(output_example, "--output-example"),
            "check_trace": check_trace_of(check_trace),
        }
        module = Source(source, config, weights, tuple(trust or ()), seed, weights_key).build()
        from torchport.packaging import Order, targets
        from torchport.pipeline import export as run

        signer = read_signer(bundle_key, bundle_signer)
        if bundle is not None:
            targets["bundle"].check_export(Order(bundle, overwrite), output)  # before the dear part, not after it
        if package is not None:
            targets[target].check_export(Order(package, options=settings), output)
        result = run(
            module,
            output,
            input_types=types[0],
            output_types=types[1],
            on_stage=on_stage,
            **examples,
            verbose=verbose,
            export_params=export_params,
            do_constant_folding=do_constant_folding,
            keep_initializers_as_inputs=keep_initializers_as_inputs,
            onnx_opset_version=onnx_opset_version,
            try_script=try_script,
            set_eval=set_eval,
            use_dynamic_axes=use_dynamic_axes,
            dynamic_axes=axes,
            check_tolerance=check_tolerance,
            verify=verify,
            overwrite=overwrite,
            strategy=strategy,
            keep_rejected=keep_rejected,
            debug_map=debug_map,
            reproduction=reproduction,
            allow_ties=allow_ties,
            power=mutants or power,
            **further,
        )
        made: dict[str, Packaged] = {}
        if bundle is not None or package is not None:
            on_stage("package")
        if bundle is not None:
            with _written_already([*result.paths]):
                made["bundle"] = result.package(bundle, overwrite=overwrite, signer=signer)
        if package is not None:  # it is added to what is there: --overwrite means the artifact
            with _written_already([*result.paths, *(one.directory for one in made.values())]):
                made["package"] = result.package(package, target=target, options=settings)
    document = {**result.to_dict(), **{name: one.to_dict() for name, one in made.items()}} if shown.as_json else None
    lines = _report(result, verbose=verbose)
    told = {note for part in result.parts for note in _notes(part)}
    for one in made.values():
        lines.extend(package_report(one, told))
        told.update(one.notes)
    shown.result(document, *lines)


@contextlib.contextmanager
def _written_already(paths: Sequence[Path | str]) -> Iterator[None]:
    """What goes wrong after the export says what is there by then, and ends with a code of its own: 2 means that nothing is."""
    try:
        yield
    except TorchportError as error:
        error.add_note(f"written already, and kept: {', '.join(map(str, paths))}; only the package is missing")
        error.exit_code = UNPACKAGED
        raise


def _report(result: ExportResult, *, verbose: bool) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for part in result.parts:
        lines.extend(_part_report(part, verbose=verbose))
    return lines


def _part_report(part: Exported, *, verbose: bool) -> list[RenderableType]:
    artifact, proof = part.artifact, part.proof
    lines: list[RenderableType] = [f"[bold green]done[/] {escape(part.description)}"]
    facts = [
        *(
            ("file", f"{path} ({size_text(path.stat().st_size)}, sha256 {artifact.digests.get(path.name, '?')[:16]}…)")
            for path in artifact.paths
        ),
        ("inputs", "\n".join(f"{name}: {port_text(port)}" for name, port in artifact.signature.inputs.items())),
        ("outputs", "\n".join(f"{name}: {port_text(port)}" for name, port in artifact.signature.outputs.items())),
        *((("opset", str(artifact.opset)),) if artifact.opset is not None else ()),
        *((("swapped", f"{counted(len(part.swaps), 'module')}, each proved equal"),) if part.swaps else ()),
        *((("unused inputs", ", ".join(artifact.unused_inputs)),) if artifact.unused_inputs else ()),
        *((("ranges", ranges_text(proof.ranges)),) if proof is not None and proof.ranges else ()),
        *(proof_rows(proof) if proof is not None and not verbose else ()),
        ("CPU time", ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in part.timings.items())),
    ]
    facts_table = table("", ("", ""), facts)
    facts_table.show_header = False
    lines.append(facts_table)
    if len(part.attempts) > 1:
        rows = [(attempt.strategy, attempt.outcome, attempt.reason.partition("\n")[0]) for attempt in part.attempts]
        lines.append(table("Strategies", ("strategy", "outcome", "reason"), rows))
    if proof is not None:
        lines.extend([proof_table(proof)] if verbose else [])
        lines.extend(power_tables(proof))
    if notes := _notes(part):
        lines.append(notes_text(notes))
    return lines


def _notes(part: Exported) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*part.notes, *(part.proof.notes if part.proof is not None else ()))))
