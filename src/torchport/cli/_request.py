"""``torchport request``: asks a server, and compares what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from torchport.cli._common import output_of
from torchport.cli._output import Output, table
from torchport.errors import OptionError

if TYPE_CHECKING:
    from torchport._comparison import Array, Difference
    from torchport.serving import Asked, ModelClient

__all__ = ["request"]

_WRONG = 3
_TOLERANCE = 1e-5


def request(
    context: typer.Context,
    repository: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="The model repository: the golden cases of its models are sent.")
    ] = None,
    url: Annotated[
        str, typer.Option(metavar="URL", help="The server: http://…, or grpc://… with the extra grpc.")
    ] = "http://127.0.0.1:8000",
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Only this model.")] = None,
    inputs: Annotated[Path | None, typer.Option("--input", metavar="FILE", help="Send these arrays instead: .npz, by input name.")] = None,
    expected: Annotated[Path | None, typer.Option(metavar="FILE", help="Compare with these arrays: .npz, by output name.")] = None,
    save: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Keep the answer: .npz.")] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="For --expected: relative to the scale of each output.")] = _TOLERANCE,
) -> int:
    """Ask a Triton server: golden cases or a file; exit code 3 where an answer is not the expected one."""
    from torchport.serving import connect

    shown = output_of(context)
    if inputs is None:
        if repository is None or expected is not None or save is not None:
            raise OptionError(
                "there is nothing to send",
                stage="request",
                where="DIR",
                expected="a model repository with golden cases, or --model NAME --input FILE",
            )
        with connect(url) as client:
            return _goldens(shown, client, repository, model)
    if model is None or repository is not None:
        raise OptionError("a file is sent to one model", stage="request", where="--input", expected="--model NAME, and no repository")
    answers = None if expected is None else _read(expected, "--expected")
    with connect(url) as client:
        return _file(shown, client, model, _read(inputs, "--input"), answers, save, tolerance)


def _goldens(shown: Output, client: ModelClient, repository: Path, model: str | None) -> int:
    from torchport.serving import ask_goldens, golden_cases

    cases = [case for case in golden_cases(repository) if model in (None, case.model)]
    if not cases:
        raise OptionError(
            "there are no golden cases",
            stage="request",
            where=str(repository) if model is None else f"{repository}: {model}",
            hint="torchport package … --target triton writes them; --model NAME --input FILE sends a file",
        )
    asked = list(ask_goldens(client, iter(cases)))
    wrong = [one for one in asked if not one.ok]
    sent = [one for one in asked if one.ok and not one.reason]
    rows = [(one.case.model, one.case.version, one.case.name, _words(one)) for one in asked]
    count = f"{len(sent)} equal, {len(wrong)} wrong, {len(asked) - len(sent) - len(wrong)} not sent"
    shown.result(
        {"url": client.url, "ok": not wrong and bool(sent), "cases": [_document(one) for one in asked]},
        table("Golden cases", ("model", "version", "case", "answer"), rows),
        f"[bold {'red' if wrong or not sent else 'green'}]{count}[/]",
    )
    return 0 if sent and not wrong else _WRONG


def _words(asked: Asked) -> str:
    if asked.reason:
        return asked.reason if asked.refused else f"not sent: {asked.reason}"
    odd = {name: one for name, one in asked.differences.items() if one.kind is not None}
    return "; ".join(_differs(name, one) for name, one in odd.items()) or f"equal, off by {asked.error:.1e}"


def _differs(name: str, one: Difference) -> str:
    place = "" if one.index is None else f" at {list(one.index)}"
    return f"{name} differs in {one.kind}{place}: {one.got}, expected {one.expected}"


def _document(asked: Asked) -> dict[str, Any]:
    return {
        "model": asked.case.model,
        "version": asked.case.version,
        "case": asked.case.name,
        "ok": asked.ok,
        "sent": not asked.reason or asked.refused,
        "error": asked.error,
        "words": _words(asked),
    }


def _file(
    shown: Output,
    client: ModelClient,
    model: str,
    inputs: dict[str, Array],
    expected: dict[str, Array] | None,
    save: Path | None,
    tolerance: float,
) -> int:
    import numpy as np

    from torchport.serving import compare_answers

    answer = client.ask(model, inputs)
    if save is not None:
        with save.open("wb") as file:
            np.savez(file, **answer)
    differences = {} if expected is None else compare_answers(expected, answer, dict.fromkeys(expected, tolerance))
    odd = {name: one for name, one in differences.items() if one.kind is not None}
    rows = [(name, str(array.dtype), str(list(array.shape)), _verdict(name, differences)) for name, array in answer.items()]
    lost = [_differs(name, odd[name]) for name in odd if name not in answer]
    shown.result(
        {
            "url": client.url,
            "model": model,
            "ok": not odd,
            "outputs": {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in answer.items()},
            "differences": {name: _differs(name, one) for name, one in odd.items()},
        },
        table(f"Answer of {model}", ("output", "dtype", "shape", "compared"), rows),
        *(escape(line) for line in lost),
    )
    return _WRONG if odd else 0


def _verdict(name: str, differences: dict[str, Difference]) -> str:
    if name not in differences:
        return "nothing to compare with"
    one = differences[name]
    return f"equal, off by {one.error:.1e}" if one.kind is None else _differs(name, one)


def _read(path: Path, option: str) -> dict[str, Array]:
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise OptionError(
            "the arrays cannot be read", stage="request", where=option, found=f"{path}: {error}", expected="an .npz file"
        ) from error
