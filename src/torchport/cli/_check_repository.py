"""``torchport check-repository``: what is wrong with a model repository for Triton, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.markup import escape

from torchport.cli._common import output_of
from torchport.cli._output import table

if TYPE_CHECKING:
    from torchport.repository import Report

__all__ = ["check_repository"]

_ERRORS, _WARNINGS = 7, 8
_COLOURS = {"error": "red", "warning": "yellow"}


def check_repository(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with one folder for each model.")],
    ignore: Annotated[list[str] | None, typer.Option(metavar="RULE", help="A rule whose findings do not count; repeat it.")] = None,
    auto_complete: Annotated[
        bool, typer.Option(help="The server completes configurations; off: it runs with --disable-auto-complete-config.")
    ] = True,
    warnings: Annotated[bool, typer.Option(help="Warnings count for the exit code, too.")] = True,
    rules: Annotated[bool, typer.Option("--rules", help="List every rule that is checked, and nothing else.")] = False,
) -> None:
    """Check a model repository for Triton without a server: 7 the server refuses a model or serves it wrong, 8 only warnings."""
    shown = output_of(context)
    with shown.progress(f"Checking {directory.name}") as on_stage:
        on_stage("load")
        from torchport.repository import RULES
        from torchport.repository import check_repository as check

        if rules:
            listed = [(rule.id, rule.severity, rule.words, rule.fix) for rule in RULES.values()]
            columns = ("rule", "severity", "words", "fix")
            shown.result([dict(zip(columns, row, strict=True)) for row in listed], table("", columns, listed))
            return
        on_stage("check")
        report = check(directory, auto_complete=auto_complete, ignore=ignore or ())
    shown.result({"repository": str(directory), "auto_complete": auto_complete, **report.to_dict()}, *_report(report))
    if report.errors:
        raise typer.Exit(_ERRORS)
    if report.findings and warnings:
        raise typer.Exit(_WARNINGS)


def _report(report: Report) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for finding in report.findings:
        colour = _COLOURS[finding.severity]
        found = f"\n    found: {escape(finding.found)}" if finding.found else ""
        expected = f"\n    expected: {escape(finding.expected)}" if finding.expected else ""
        head = f"[bold {colour}]{finding.severity}[/] {escape(finding.place)} [bold]{finding.rule}[/] {escape(finding.message)}"
        parts.append(f"{head}{found}{expected}\n    try: {escape(finding.fix)}")
    parts.append(table("", ("model", "the server"), [(name, _VERDICTS[verdict]) for name, verdict in report.models.items()]))
    parts.append(f"[bold {'red' if report.errors else 'yellow' if report.findings else 'green'}]{escape(report.summary())}[/]")
    return parts


_VERDICTS = {"loads": "loads it", "refused": "refuses it", "undecided": "may refuse it: files alone do not tell"}
