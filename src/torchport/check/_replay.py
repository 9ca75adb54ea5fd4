"""Runs the golden inputs again, and compares the answers with the golden outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torchport._comparison import Array, compare
from torchport.check._arrays import read_arrays
from torchport.check._artifact import Changed
from torchport.check._report import Problem, Replayed

__all__ = ["replay"]

Answer = Callable[[Mapping[str, Array]], dict[str, Array]]


def replay(
    directory: Path, artifact: Mapping[str, Any], changed: Mapping[str, Changed], notes: list[str]
) -> tuple[list[Replayed], list[Problem]]:
    """Answers every golden case of an artifact whose files are those of the manifest.

    Args:
        directory: The bundle.
        artifact: Its entry in the manifest.
        changed: The bundle's changed files: goldens among them are not run.
        notes: What was left out is added here.
    """
    path = directory / artifact["files"][0]
    dtypes = {part: {port["name"]: port["dtype"] for port in artifact[part]} for part in ("inputs", "outputs")}
    try:
        run, close = _opened(path, artifact)
    except Exception as error:  # noqa: BLE001 - a runtime refuses a file in its own words
        return [], [Problem("runtime", path.name, f"the artifact cannot be opened here: {_short(error)}")]
    replayed: list[Replayed] = []
    problems: list[Problem] = []
    try:
        for case in artifact["goldens"]["cases"]:
            where = f"{path.name}: {case['name']}"
            if case["inputs"] in changed or case["outputs"] in changed:
                notes.append(f"{where} was not run: its goldens were changed")
                continue
            try:
                inputs = read_arrays(directory / case["inputs"], dtypes["inputs"])
                expected = read_arrays(directory / case["outputs"], dtypes["outputs"])
            except (ValueError, OSError, ImportError) as error:
                problems.append(Problem("values", where, f"the goldens cannot be read: {_short(error)}"))
                continue
            try:
                got = run(inputs)
            except Exception as error:  # noqa: BLE001 - likewise
                problems.append(Problem("runtime", where, f"the artifact does not answer: {_short(error)}"))
                continue
            one, wrong = _compared(where, case, expected, got)
            replayed.append(Replayed(artifact["name"], case["name"], case["sizes"], *one))
            problems.extend(wrong)
    finally:
        close()
    return replayed, problems


def _compared(
    where: str, case: Mapping[str, Any], expected: Mapping[str, Array], got: Mapping[str, Array]
) -> tuple[tuple[float, float], list[Problem]]:
    worst, allowed = 0.0, 0.0
    problems = []
    if list(expected) != list(case["tolerances"]):
        problems.append(Problem("values", where, "the goldens hold other outputs", ", ".join(case["tolerances"]), ", ".join(expected)))
    for name, array in expected.items():
        if name not in got:
            problems.append(Problem("values", f"{where}: {name}", "the artifact gives no such output", found=", ".join(got)))
            continue
        tolerance = float(case["tolerances"].get(name, 0.0))
        difference = compare(array, got[name], tolerance)
        if difference.error > worst or allowed == 0.0:
            worst, allowed = difference.error, tolerance
        if difference.kind is not None:
            at = f"{name}{list(difference.index)}" if difference.index is not None else name
            off = f": off by {difference.error:.1e} of the output's scale, allowed {tolerance:.1e}" if difference.kind == "value" else ""
            message = f"the answer has another {difference.kind} than the golden one{off}"
            problems.append(Problem("values", f"{where}: {at}", message, difference.expected, difference.got))
    return (worst, allowed), problems


def _opened(path: Path, artifact: Mapping[str, Any]) -> tuple[Answer, Callable[[], None]]:
    if artifact["format"] != "onnx":
        return _opened_by_torch(path)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    taken = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        given = {name: array for name, array in inputs.items() if name in taken}
        return dict(zip(names, session.run(names, given), strict=True))

    return run, lambda: None


def _opened_by_torch(path: Path) -> tuple[Answer, Callable[[], None]]:
    """Other formats than ONNX run in the runtime that proved them, and that takes torch."""
    try:
        from torchport.verification import open_artifact
    except ImportError as error:
        raise RuntimeError(f"{path.suffix} files are run by torch, which is not here ({error})") from error
    session = open_artifact(path)

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return session.run({name: array for name, array in inputs.items() if name in session.input_names})

    return run, session.close


def _short(error: BaseException) -> str:
    text = " ".join(f"{error}".split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:200]} … {text[-90:]}"
