"""What the command line prints: results for people or one JSON document, errors without a traceback, progress for a terminal."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from torchport.cli._spelling import Spelling
from torchport.errors import TorchportError

__all__ = ["INTERRUPTED", "Output", "Verbatim", "size_text", "table"]

INTERRUPTED = 130
_PIPE_WIDTH = 160
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]


class Verbatim(Text):
    """Lines to copy: nothing in them is read as markup, and none is broken."""


class Output:
    """Where a command's result, its errors and its progress go.

    Args:
        as_json: One JSON document on standard output and nothing else, whatever user code prints.
        tracebacks: Show the traceback of an error.
        spelling: How messages spell the arguments that they name.
    """

    def __init__(self, *, as_json: bool = False, tracebacks: bool = False, spelling: Spelling | None = None) -> None:
        self.as_json = as_json
        self.tracebacks = tracebacks
        self._spelling = spelling or Spelling()
        self._document: Any = None

    def result(self, document: Any, *parts: RenderableType) -> None:
        """Shows the result: ``document`` as JSON, or ``parts`` to people."""
        if self.as_json:
            self._document = document
            return
        console = _console(sys.stdout)
        for part in parts:
            console.print(self._spelling(part) if isinstance(part, str) else part, soft_wrap=isinstance(part, Verbatim))

    @contextlib.contextmanager
    def progress(self, title: str, *, verbose: bool = False) -> Iterator[Callable[[str], None]]:
        """Gives a function to announce stages with: a spinner on a terminal, lines when ``verbose``, else nothing."""
        if verbose:
            yield lambda stage: print(f"torchport: {stage}", file=sys.stderr, flush=True)  # noqa: T201 - the command line prints
            return
        if not sys.stderr.isatty():
            yield lambda _: None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(file=sys.stderr), transient=True, redirect_stdout=not self.as_json) as progress:
            task = progress.add_task(escape(title))
            yield lambda stage: progress.update(task, description=f"{escape(title)}: {escape(stage)}")

    def run(self, command: Callable[[], Any]) -> int:
        """Runs a command and shows what becomes of it.

        Returns:
            The exit code: 0, the error's own, 130 after an interruption.
        """
        with _stdout_kept_clean() if self.as_json else contextlib.nullcontext():
            code, error = self._guarded(command)
        if self.as_json and (error is not None or self._document is not None):
            document = self._document if error is None else {"error": error, "exit_code": code}
            try:
                sys.stdout.write(json.dumps(_plain(document), indent=2, default=str) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                _nobody_reads()
                return 1
        return code

    def _guarded(self, command: Callable[[], Any]) -> tuple[int, dict[str, Any] | None]:
        try:
            code = command()
            if code == INTERRUPTED:  # typer made it of Ctrl-C, and said nothing
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            self._complain("interrupted")
            return INTERRUPTED, {"type": "KeyboardInterrupt", "message": "interrupted"}
        except typer.Abort:
            self._complain("aborted")
            return 1, {"type": "Abort", "message": "aborted"}
        except BrokenPipeError:
            _nobody_reads()
            return 1, None
        except _USAGE_ERROR as error:
            if not self.as_json:
                error.show()  # type: ignore[attr-defined]  # typer's usage errors show themselves
            return 2, {"type": type(error).__name__, "message": _usage_words(error)}
        except TorchportError as error:
            self._respell(error)
            self._complain(str(error), *getattr(error, "__notes__", ()), error=error)
            return error.exit_code, _error_record(error)
        except Exception as error:  # noqa: BLE001 - the last resort of a command line: one line, not a traceback
            self._complain(
                f"unexpected {type(error).__name__}: {error}", "this may be a fault of torchport: --traceback shows where", error=error
            )
            return 1, {"type": type(error).__name__, "message": str(error)}
        return (code if isinstance(code, int) else 0), None

    def _respell(self, error: TorchportError) -> None:
        """What Python calls an argument becomes the option."""
        error.message = self._spelling(error.message)
        error.where = None if error.where is None else self._spelling.name(str(error.where))
        error.hint = None if error.hint is None else self._spelling(error.hint)
        error.expected = self._spelling(error.expected) if isinstance(error.expected, str) else error.expected

    def _complain(self, *lines: str, error: BaseException | None = None) -> None:
        if self.tracebacks and error is not None:
            traceback.print_exception(error, file=sys.stderr)
        if self.as_json:
            return
        console = _console(sys.stderr)
        first, *rest = lines
        head, _, tail = first.partition("\n")
        console.print(f"[bold red]error[/] {escape(head)}", highlight=False, soft_wrap=True)
        for line in (*tail.splitlines(), *rest):
            console.print(escape(line), highlight=False, soft_wrap=True)


def _usage_words(error: Any) -> str:
    """What a usage error says; one without a command says nothing by itself."""
    said: str = error.format_message()
    return said or f"a command is missing: {', '.join(getattr(error.ctx.command, 'commands', ()))}"


def _plain(value: Any) -> Any:
    """The document without the numbers that JSON does not have: they become ``null``."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _error_record(error: TorchportError) -> dict[str, Any]:
    text = {name: None if (value := getattr(error, name)) is None else str(value) for name in ("where", "found", "expected", "hint")}
    record = {
        "type": type(error).__name__,
        "stage": error.stage,
        "message": error.message,
        **text,
        "notes": [*(f"also tried {one}" for one in error.also_tried), *getattr(error, "__notes__", ())],
    }
    proof = getattr(error, "proof", None)
    return record if proof is None else {**record, "proof": proof.to_dict()}


@contextlib.contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """Sends everything that is printed meanwhile to standard error: Python's prints, and what C++ and child processes write."""
    real = sys.stdout is sys.__stdout__ and _descriptor() == 1
    with contextlib.redirect_stdout(sys.stderr):
        if not real:
            yield
            return
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _nobody_reads() -> None:
    """The reader of standard output went away (``head``, ``less``); Python would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _descriptor() -> int | None:
    try:
        return sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _console(stream: Any) -> Console:
    """A console as wide as the terminal; a pipe gets lines that are wide enough for the tables."""
    return Console(file=stream, width=None if stream.isatty() else _PIPE_WIDTH)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A table of texts; nothing in a cell is read as markup."""
    made = Table(title=escape(title) if title else None, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    return made


def size_text(count: int) -> str:
    """A size in bytes for people.

    Example:
        >>> size_text(1536), size_text(12)
        ('1.5 kB', '12 B')
    """
    number = float(count)
    for unit in ("B", "kB", "MB"):
        if number < 1024:
            return f"{count} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.2f} GB"
