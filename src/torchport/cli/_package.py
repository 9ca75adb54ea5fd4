"""``torchport package``: artifacts that are there already, made ready for where they will run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.markup import escape

from torchport.cli._common import notes_text, output_of
from torchport.cli._output import size_text, table
from torchport.errors import OptionError

if TYPE_CHECKING:
    from torchport.check import Signer
    from torchport.packaging import Packaged

__all__ = ["package", "package_report", "read_signer", "read_texts"]


def package(
    context: typer.Context,
    artifacts: Annotated[list[Path], typer.Argument(metavar="ARTIFACT…", help="What torchport export wrote: .onnx, .ts, .pt or .pt2.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to make; its parent must exist.")],
    target: Annotated[str, typer.Option(help="The kind of package.")] = "bundle",
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=TEXT", help="A text to write down beside everything else; repeat it.")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="What the target takes: max_batch_size=8 for triton; repeat it.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Sign the manifest with this key.")] = None,
    signer: Annotated[str, typer.Option(help="The kind of signature.")] = "hmac-sha256",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older package of the same kind.")] = False,
) -> None:
    """Package artifacts with a manifest and golden answers, so that they prove themselves again elsewhere."""
    texts, settings = read_texts(metadata or (), "--metadata", "license=Apache-2.0"), read_texts(options or (), "--set", "max_batch_size=8")
    shown = output_of(context)
    with shown.progress(f"Packaging {', '.join(path.name for path in artifacts)}") as on_stage:
        on_stage("package")
        from torchport._package import package as run

        packaged = run(
            artifacts, output, target=target, overwrite=overwrite, metadata=texts, signer=read_signer(key, signer), options=settings
        )
    shown.result(packaged.to_dict(), *package_report(packaged))


def read_signer(key: Path | None, name: str) -> Signer | None:
    """The signer of a kind with the key in a file; ``None`` without a key."""
    if key is None:
        return None
    from torchport.check import signers

    return signers[name](key)


def read_texts(pairs: Sequence[str], option: str, example: str) -> dict[str, str]:
    """``KEY=TEXT`` words as a dict.

    Raises:
        OptionError: One is something else, or a key stands twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name or name in found:
            raise OptionError(f"{option} takes KEY=TEXT, each key once", where=option, found=pair, expected=example)
        found[name] = text
    return found


def package_report(packaged: Packaged, told: Collection[str] = ()) -> list[RenderableType]:
    """What was written, and how to check it; notes that were ``told`` already are not told again."""
    files = [(name, size_text((packaged.directory / name).stat().st_size)) for name in packaged.files]
    parts: list[RenderableType] = [
        f"[bold green]packaged[/] {escape(str(packaged.directory))} ({packaged.target})",
        table("Files", ("file", "size"), files, right=("size",)),
    ]
    if packaged.target == "bundle":
        parts.append(f"check it anywhere: python -m torchport.check {escape(str(packaged.directory))}")
    if notes := [note for note in packaged.notes if note not in told]:
        parts.append(notes_text(notes))
    return parts
