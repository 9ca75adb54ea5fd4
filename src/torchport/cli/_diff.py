"""``torchport diff``: what changed from one artifact or contract lock to another, and what that means to clients."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from torchport.cli._bundled import one_artifact
from torchport.cli._common import output_of
from torchport.cli._output import table

if TYPE_CHECKING:
    from torchport.contract import Change, Changes

__all__ = ["diff"]

_DIGEST = re.compile("[0-9a-f]{64}")
_CODES = {"breaking": 4, "widening": 5, "cosmetic": 6}
_HEADS = {
    "breaking": "[bold red]breaking[/] clients that worked may not work any more",
    "widening": "[bold green]widening[/] every client still works, and more is possible",
    "cosmetic": "[bold green]cosmetic[/] no client sees a difference",
    "same": "[bold green]same[/] the contract is the same",
}


class FailOn(StrEnum):
    """The least change that is an error."""

    breaking = "breaking"
    widening = "widening"
    cosmetic = "cosmetic"
    never = "never"


def diff(
    context: typer.Context,
    before: Annotated[Path, typer.Argument(metavar="A", help="What clients were made for: an artifact, a bundle or a contract lock.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="What they would get: an artifact, a bundle or a contract lock.")],
    fail_on: Annotated[FailOn, typer.Option(help="The least change that ends with an exit code of its own.")] = FailOn.breaking,
    allow: Annotated[list[str] | None, typer.Option(metavar="RULE", help="A rule whose changes are accepted; repeat it.")] = None,
) -> None:
    """Compare two contracts: 4 breaking, 5 widening, 6 cosmetic where --fail-on says so, else 0."""
    shown = output_of(context)
    with shown.progress(f"Comparing {before.name} and {after.name}") as on_stage:
        on_stage("load")
        from torchport.contract import diff as compare
        from torchport.contract import read_contract

        first, second = (one_artifact(path, where) if path.is_dir() else path for path, where in ((before, "A"), (after, "B")))
        changes = compare(read_contract(first), read_contract(second), allow=allow or ())
    shown.result({"a": str(before), "b": str(after), "fail_on": fail_on.value, **changes.to_dict()}, *_report(changes))
    code = _CODES.get(changes.verdict)
    if code is not None and code <= _CODES.get(fail_on.value, 0):
        raise typer.Exit(code)


def _report(changes: Changes) -> list[RenderableType]:
    parts: list[RenderableType] = [_HEADS[changes.verdict]]
    rows = [_row(change, change.rule.grade) for change in changes.found] + [_row(change, "allowed") for change in changes.allowed]
    if rows:
        parts.append(table("", ("", "rule", "where", "before", "after"), rows))
    meant = dict.fromkeys(change.rule for change in changes.found)
    if meant:
        parts.append(table("", ("rule", "what it means"), [(rule.id, rule.words) for rule in meant]))
    return parts


def _row(change: Change, grade: str) -> tuple[str, ...]:
    return grade, change.rule.id, *(_visible(text) for text in (change.where, change.before, change.after))


def _visible(text: str) -> str:
    """Names come out of files: nothing in them steers the terminal."""
    text = f"{text[:12]}…" if _DIGEST.fullmatch(text) else text
    return text if text.isprintable() else ascii(text)
