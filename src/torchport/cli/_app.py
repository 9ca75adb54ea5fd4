"""The application: the commands, the options that all of them share, and how it ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from torchport._version import __version__
from torchport.cli._check_repository import check_repository
from torchport.cli._diff import diff
from torchport.cli._doctor import doctor
from torchport.cli._export import ExamplesCommand, export
from torchport.cli._inspect import inspect
from torchport.cli._kserve import kserve
from torchport.cli._models import models
from torchport.cli._output import Output
from torchport.cli._package import package
from torchport.cli._request import request
from torchport.cli._serve import serve
from torchport.cli._spelling import spelling_of
from torchport.cli._verify import verify

__all__ = ["app", "main"]

_SHARED = ("--json", "--traceback")


class _Group(TyperGroup):
    """Takes the shared options wherever they stand, and ends every command with its exit code."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Runs the command line; exits with its code."""
        arguments, shared = _split(sys.argv[1:] if args is None else args)
        helps = "--help" in arguments[: arguments.index("--")] if "--" in arguments else "--help" in arguments
        spelling = spelling_of(self.commands, arguments)
        output = Output(as_json="--json" in shared and not helps, tracebacks="--traceback" in shared, spelling=spelling)
        call = partial(super().main, args=arguments, prog_name=prog_name or "torchport", standalone_mode=False, obj=output, **extra)
        code = output.run(call)
        if not standalone_mode:
            return code
        sys.exit(code)


def _split(args: Sequence[str]) -> tuple[list[str], set[str]]:
    """The arguments without the shared options, which may stand before the command and behind it; nothing after ``--`` is touched."""
    words = list(args)
    end = words.index("--") if "--" in words else len(words)
    shared = {word for word in words[:end] if word in _SHARED}
    return [word for word in words[:end] if word not in _SHARED] + words[end:], shared


app = typer.Typer(
    cls=_Group,
    name="torchport",
    help="Export PyTorch models to ONNX, TorchScript and .pt2, proved equal to the model.",
    epilog="--json and --traceback may stand behind the command too. "
    "Exit codes: 0 done, 2 bad input, 3 a proof failed, 4 to 6 a contract changed (see diff), 7 and 8 a repository has faults "
    "(see check-repository), 9 the artifact is written and its package is not, 1 anything else.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)
app.command(cls=ExamplesCommand)(export)
app.command(cls=ExamplesCommand)(verify)
app.command()(package)
app.command()(inspect)
app.command()(diff)
app.command()(check_repository)
app.command()(serve)
app.command()(request)
app.command()(kserve)
app.command()(models)
app.command()(doctor)


def _version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.find_root().obj.result({"version": __version__}, f"torchport {__version__}")
        raise typer.Exit


@app.callback()
def shared(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")] = False,
    tracebacks: Annotated[bool, typer.Option("--traceback", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Export PyTorch models to ONNX, TorchScript and .pt2, proved equal to the model."""
    # The group took --json and --traceback before the words came here; they stand here for --help.


def _terminated(number: int, _: Any) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> NoReturn:
    """The entry point: a termination unwinds like an interruption, so that nothing half-written stays behind."""
    signal.signal(signal.SIGTERM, _terminated)
    app()
    raise SystemExit(0)
