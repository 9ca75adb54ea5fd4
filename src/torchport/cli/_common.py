"""Arguments and options that several commands share, each spelled out once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from torchport._counted import counted
from torchport.cli._output import Output, table

if TYPE_CHECKING:
    from torchport.ports import Port
    from torchport.verification import Proof

__all__ = [
    "AllowTies",
    "CheckTolerance",
    "CheckTrace",
    "Config",
    "DynamicAxes",
    "InputExample",
    "InputTypes",
    "Mutants",
    "OutputExample",
    "OutputTypes",
    "Power",
    "Seed",
    "SetEval",
    "SourceText",
    "Trust",
    "UseDynamicAxes",
    "Weights",
    "WeightsKey",
    "notes_text",
    "output_of",
    "port_text",
    "power_tables",
    "proof_rows",
    "proof_table",
    "ranges_text",
]

_MODEL, _EXAMPLES, _AXES, _PROOF = "Model", "Examples", "Ports and axes", "Proof"

SourceText = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="A name from `torchport models`, package.module:Class, file.py:Class (or :function), or an archive.nemo."
    ),
]
Config = Annotated[
    Path | None, typer.Option(metavar="FILE.yaml", help="The model's config; for a plain class, its keywords.", rich_help_panel=_MODEL)
]
Weights = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Weights to load: .ckpt, .pt, .safetensors, .nemo; nothing in it is run.", rich_help_panel=_MODEL),
]
WeightsKey = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which of several state dicts in --weights: model, ema, …", rich_help_panel=_MODEL)
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS",
        help="A class that an archive or config may name beside the known ones: package.module.Class or file.py:Class; repeat it.",
        rich_help_panel=_MODEL,
    ),
]
Seed = Annotated[
    int | None, typer.Option(help="Where random weights start, so that `verify` makes the same; 0 if not given.", rich_help_panel=_MODEL)
]

InputExample = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Inputs to trace with: .npz (by name), .npy, or .pt.", rich_help_panel=_EXAMPLES),
]
OutputExample = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What the model answers to the input example.", rich_help_panel=_EXAMPLES)
]
CheckTrace = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[FILE…]",
        help="Also compare on the example within the check tolerance; with files, on those examples.",
        rich_help_panel=_EXAMPLES,
    ),
]
CheckTolerance = Annotated[float, typer.Option(help="Relative tolerance of --check-trace.", rich_help_panel=_EXAMPLES)]

InputTypes = Annotated[
    list[str] | None,
    typer.Option("--input-type", metavar="NAME=AXES[,DTYPE]", help='A port: "mel=batch 80 time"; repeat it.', rich_help_panel=_AXES),
]
OutputTypes = Annotated[
    list[str] | None,
    typer.Option("--output-type", metavar="NAME=AXES[,DTYPE]", help="The same for outputs, in order.", rich_help_panel=_AXES),
]
UseDynamicAxes = Annotated[bool, typer.Option(help="Dynamic axes at all.", rich_help_panel=_AXES)]
DynamicAxes = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=AXIS[:SYMBOL],…", help="Explicit dynamic axes: x=0:batch,1:time; repeat it.", rich_help_panel=_AXES),
]

SetEval = Annotated[bool, typer.Option(help="Eval mode while exporting.", rich_help_panel=_MODEL)]
AllowTies = Annotated[bool, typer.Option("--allow-ties", help="Accept another index where two scores tie.", rich_help_panel=_PROOF)]

Power = Annotated[
    bool, typer.Option("--power", help="Mutate the artifact and show what the proof would have noticed.", rich_help_panel=_PROOF)
]
Mutants = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="So many mutants instead of 40; switches --power on.", rich_help_panel=_PROOF)
]


def output_of(context: typer.Context) -> Output:
    """Where the command at hand prints to."""
    output = context.find_root().obj
    assert isinstance(output, Output)
    return output


def proof_table(proof: Proof) -> Table:
    """The cases of a proof that holds."""
    rows = [
        (case.label, ", ".join(f"{name} {size}" for name, size in case.sizes.items()) or "-", f"{case.error:.1e}", f"{case.tolerance:.1e}")
        for case in proof.cases
    ]
    return table(
        f"Proved in {proof.runtime} against the untouched model",
        ("case", "sizes", "worst error", "tolerance"),
        rows,
        right=("worst error", "tolerance"),
    )


def proof_rows(proof: Proof) -> list[tuple[str, str]]:
    """A proof that holds in a few lines: the cases, the sizes that they cover, the worst error."""
    labels = [case.label for case in proof.cases if case.label and case.label != "example"]
    sizes = counted(len(proof.cases) - len(labels), "size")
    tried: dict[str, list[int]] = {}
    for case in proof.cases:
        for name, size in case.sizes.items():
            tried.setdefault(name, []).append(size)
    covered = ", ".join(f"{name} {min(found)} to {max(found)}" for name, found in tried.items())
    rows = [("proved in", f"{proof.runtime}, against the untouched model"), ("cases", ", ".join((sizes, *dict.fromkeys(labels))))]
    if covered:
        rows.append(("sizes tried", covered))
    worst = max(proof.cases, key=lambda case: case.error / case.tolerance if case.tolerance else case.error, default=None)
    if worst is not None:
        at = ", ".join(f"{name} {size}" for name, size in worst.sizes.items())
        rows.append(("worst error", f"{worst.error:.1e} of {worst.tolerance:.1e} allowed{f', at {at}' if at else ''}"))
    return [*rows, ("each case", "--verbose shows it")]


def power_tables(proof: Proof) -> list[RenderableType]:
    """What the proof would have noticed, where that was asked for."""
    power = proof.power
    if power is None:
        return []
    numbers = ("mutants", "noticed", "without effect", "missed")
    counts = [(one.kind, one.mutants, one.killed, one.equivalent, one.survived) for one in power.by_kind.values()]
    parts: list[RenderableType] = [table(f"Power: {power.summary()}", ("mutation", *numbers), counts, right=numbers)]
    if power.survivors:
        missed = [(one.kind, one.where, one.change, f"{one.effect:.1f}") for one in power.survivors]
        parts.append(table("Missed", ("mutation", "where", "change", "effect, in tolerances"), missed))
    if power.smallest:
        least = [(one.weights, one.example, _amount(one.element), _amount(one.scaled)) for one in power.smallest]
        columns = ("weights", "tried", "one element, of the tensor's scale", "the tensor, by a factor beside 1")
        parts.append(table("The least change that is noticed", columns, least))
    if power.notes:
        parts.append(notes_text(power.notes))
    return parts


def _amount(amount: float | None) -> str:
    return "none up to 1" if amount is None else f"{amount:.0e}"


def port_text(port: Port) -> str:
    """A port in one line: ``float32 [batch 80 time]``."""
    axes = "any rank" if port.shape is None else " ".join(str(size) for size in port.shape) or "a scalar"
    return f"{port.dtype} [{axes}]"


def ranges_text(ranges: Mapping[str, Any]) -> str:
    """Ranges in words: ``time: 9 to 5000``."""
    parts = []
    for symbol, (low, high) in ranges.items():
        parts.append(f"{symbol}: {low} or more" if high is None else f"{symbol}: {low} to {high}")
    return "; ".join(parts)


def notes_text(notes: tuple[str, ...] | list[str]) -> str:
    """Notes as lines."""
    return "\n".join(f"[yellow]note[/] {escape(note)}" for note in notes)
