"""``torchport verify``: an artifact that is there already, held against its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from torchport.cli._bundled import one_artifact
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
    power_tables,
    proof_rows,
    proof_table,
    ranges_text,
)
from torchport.cli._export import check_trace_of
from torchport.cli._output import table
from torchport.cli._source import Source
from torchport.cli._values import read_answer, read_dynamic_axes, read_example, read_port_types

if TYPE_CHECKING:
    from torchport.verification import Proof

__all__ = ["verify"]


def verify(
    context: typer.Context,
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="A .onnx, .ts, .pt or .pt2 file, made by anybody; or a bundle.")],
    source: SourceText,
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
    allow_ties: AllowTies = False,
    power: Power = False,
    mutants: Mutants = None,
    subnet: Annotated[str | None, typer.Option(help="Which sub-model the artifact stands for, where its name does not tell.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that loading and each answer may take, in a runtime of its own process.")] = 600.0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every case of the proof.")] = False,
) -> None:
    """Prove an existing artifact against its model."""
    axes = read_dynamic_axes(dynamic_axes or ())
    types = read_port_types(input_types or (), "--input-type"), read_port_types(output_types or (), "--output-type")
    artifact = one_artifact(artifact, "ARTIFACT")
    shown = output_of(context)
    with shown.progress(f"Proving {artifact.name}") as on_stage:
        on_stage("load")
        given = None if input_example is None else read_example(input_example, "--input-example")
        answer = None if output_example is None else read_answer(output_example, "--output-example")
        further = check_trace_of(check_trace)
        module = Source(source, config, weights, tuple(trust or ()), seed, weights_key).build()
        from torchport.loading import verify as run

        on_stage("reference and proof")
        proof = run(
            artifact,
            module,
            input_example=given,
            output_example=answer,
            input_types=types[0],
            output_types=types[1],
            use_dynamic_axes=use_dynamic_axes,
            dynamic_axes=axes,
            set_eval=set_eval,
            check_trace=further,
            check_tolerance=check_tolerance,
            allow_ties=allow_ties,
            power=mutants or power,
            subnet=subnet,
            timeout=timeout,
        )
    parts: list[RenderableType] = [f"[bold green]proved[/] {escape(proof.summary())}", proof_table(proof) if verbose else _brief(proof)]
    parts.extend(power_tables(proof))
    if proof.ranges:
        parts.append(f"ranges  {escape(ranges_text(proof.ranges))}")
    if proof.notes:
        parts.append(notes_text(proof.notes))
    shown.result(proof.to_dict(), *parts)


def _brief(proof: Proof) -> Table:
    brief = table("", ("", ""), proof_rows(proof))
    brief.show_header = False
    return brief
