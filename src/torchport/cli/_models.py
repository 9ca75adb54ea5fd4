"""``torchport models``: the names that SOURCE knows."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import RenderableType
from rich.markup import escape

from torchport.cli._common import output_of
from torchport.cli._output import table
from torchport.errors import TorchportError

__all__ = ["models"]


def models(context: typer.Context) -> None:
    """List the built-in models and the pretrained ones."""
    from torchport.models import families

    shown = output_of(context)
    listed: list[dict[str, Any]] = []
    problems: list[str] = []
    with shown.progress("Reading the model families") as on_stage:
        for family in families.values():
            on_stage(family.name)
            pretrained: list[dict[str, str]] = []
            try:
                pretrained = [
                    {"name": info.pretrained_model_name, "description": info.description, "location": info.location}
                    for info in family.load().list_available_models()
                ]
            except TorchportError as error:  # one broken plug-in must not hide the others
                problems.append(str(error))
            listed.append({"name": family.name, "class": family.path, "description": family.description, "pretrained": pretrained})
    rows = [(family["name"], family["class"], family["description"]) for family in listed]
    weights = [(info["name"], family["name"], info["description"]) for family in listed for info in family["pretrained"]]
    parts: list[RenderableType] = [
        table("Models: fresh weights", ("SOURCE", "class", "what it is"), rows),
        table("Pretrained", ("SOURCE", "model", "what it is"), weights),
    ]
    if problems:
        parts.append(f"[yellow]not importable[/] {escape('; '.join(problems))}")
    shown.result({"models": listed, "problems": problems}, *parts)
