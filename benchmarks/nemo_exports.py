"""What comes out of NeMo's models: torchport with its proof, beside NeMo's own export of the same model.

    .venv-nemo/bin/python benchmarks/nemo_exports.py [--only rnnt] [--formats onnx,ts] [--json nemo.json] [--markdown]

Every export runs in a process of its own, on a model built anew. The file is then run at sizes, ragged lengths and values that neither
export has seen, and held against NeMo's own methods for inference on the untouched model, which share no code with either export. The
number is the largest difference over all outputs, relative to each output's scale. NeMo's files get the benefit of the doubt: frames
past a row's length do not count, scores may be unnormalised, and an output that is missing is told, not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nemo_models as zoo

SIZES = ((1, 83), (4, 38), (2, 157), (3, 61), (5, 311))
SHORTER = ((1, 25), (4, 11), (2, 40))
"""For models of text, whose frames are many times their tokens."""
RIGHT = 2e-5
"""The tests hold torchport's files to it."""
TIMEOUT = 900.0


@dataclass
class Outcome:
    """What became of one export.

    Attributes:
        model: The configuration.
        format: ``onnx`` or ``ts``.
        exporter: ``torchport`` or ``nemo``.
        verdict: ``right``, ``wrong``, ``refused`` or ``error``.
        error: The worst difference; ``None`` where there is no file, or it does not run.
        reason: Why there is none, or what is missing or unlike in it.
        cpu_seconds: Of the export.
    """

    model: str
    format: str
    exporter: str
    verdict: str
    error: float | None = None
    reason: str = ""
    cpu_seconds: float = 0.0


def trial(name: str, format: str, exporter: str) -> Outcome:
    """Exports one model and runs what comes out."""
    start = time.process_time()
    outcome = Outcome(name, format, exporter, "right")
    with tempfile.TemporaryDirectory() as folder:
        try:
            parts = _by_torchport(name, Path(folder), format) if exporter == "torchport" else _by_nemo(name, Path(folder), format)
        except Exception as error:
            refused = exporter == "torchport" and type(error).__module__.startswith("torchport")
            outcome.verdict, outcome.reason = "refused" if refused else "error", _short(error)
            return outcome
        finally:
            outcome.cpu_seconds = time.process_time() - start
        model, worst, remarks = zoo.build(name), 0.0, []
        for subnet, path, names in parts:
            for seed, (batch, size) in enumerate(SHORTER if name.startswith("tts-fastpitch") else SIZES):
                inputs = zoo.inputs_for(model, subnet, batch, size, seed)
                expected = zoo.eager(model, subnet, inputs)
                try:
                    got = _run(path, inputs, names, list(expected))
                except Exception as error:
                    outcome.verdict, outcome.reason = "error", f"does not run at batch {batch}, size {size}: {_short(error)}"
                    return outcome
                missing = sorted(set(expected) - set(got))
                if missing:
                    remarks.append(f"{', '.join(missing)} not given")
                if exporter == "nemo":
                    expected, got, remark = _charitably(expected, got)
                    remarks += [remark] if remark else []
                worst = max(worst, zoo.worst_error(expected, got))
        outcome.error, outcome.reason = worst, "; ".join(dict.fromkeys(remarks))
        outcome.verdict = "right" if worst < RIGHT else "wrong"
    return outcome


def _by_torchport(name: str, folder: Path, format: str) -> list[tuple[str, Path, list[str]]]:
    import torchport

    result = torchport.export(zoo.build(name), folder / f"m.{format}")
    return [(part.name, part.artifact.path, list(part.artifact.signature.outputs)) for part in result.parts]


def _by_nemo(name: str, folder: Path, format: str) -> list[tuple[str, Path, list[str]]]:
    model = zoo.build(name)
    subnets = list(model.list_export_subnets())
    parts = {subnet: model.get_export_subnet(subnet) for subnet in subnets}
    files, _ = model.export(str(folder / f"m.{format}"))
    return [(subnet, Path(file), list(parts[subnet].output_names)) for subnet, file in zip(subnets, files, strict=True)]


def _run(path: Path, inputs: dict[str, Any], names: list[str], expected: list[str]) -> dict[str, Any]:
    """What a file answers, by output name; inputs that it does not take are left out."""
    import torch

    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        taken, given = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]
        values = session.run(None, {name: inputs[name].numpy() for name in taken if name in inputs})
        return dict(zip(given, values, strict=True))
    script = torch.jit.load(str(path))
    taken = len(script.forward.schema.arguments) - 1
    with torch.no_grad():
        answer = script(*[value.clone() for value in list(inputs.values())[:taken]])
    flat: list[Any] = []
    stack = [answer]
    while stack:  # NeMo's files nest their states
        one = stack.pop(0)
        stack[:0] = list(one) if isinstance(one, (tuple, list)) else []
        flat += [] if isinstance(one, (tuple, list)) else [one.numpy()]
    return dict(zip(names if len(names) >= len(flat) else expected, flat, strict=False))


def _charitably(expected: dict[str, Any], got: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The same answers where they matter: frames within the lengths, scores normalised."""
    import torch

    expected, got, remark = dict(expected), {name: torch.as_tensor(value) for name, value in got.items()}, ""
    lengths = expected.get("encoded_lengths")
    for name, axis in (("logprobs", 1), ("outputs", 2)):
        if lengths is not None and name in got and got[name].shape == expected[name].shape and expected[name].dim() == 3:
            mask = torch.arange(expected[name].shape[axis])[None] < lengths[:, None]
            mask = mask[:, :, None] if axis == 1 else mask[:, None]
            expected[name], got[name] = expected[name] * mask, got[name] * mask
    scores = got.get("outputs")
    if scores is not None and scores.dim() == 4 and scores.exp().sum(-1).sub(1).abs().max() > 1e-3:
        got["outputs"], remark = scores.log_softmax(-1), "scores not normalised"
    return expected, {name: value.numpy() for name, value in got.items()}, remark


def _short(error: Exception) -> str:
    message = getattr(error, "message", None) or str(error).strip().splitlines()
    text = message if isinstance(message, str) else (message[0] if message else "")
    return f"{type(error).__name__}: {text}"[:160]


def _child(name: str, format: str, exporter: str, pipe: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe.send(asdict(trial(name, format, exporter)))


def measured(name: str, format: str, exporter: str) -> Outcome:
    """One trial in a process of its own, which ends with it: NeMo's export leaves its classes changed."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(name, format, exporter, there))
    child.start()
    there.close()
    try:
        if here.poll(TIMEOUT):
            return Outcome(**here.recv())
    except EOFError:
        pass
    finally:
        child.kill()
        child.join()
    return Outcome(name, format, exporter, "error", reason=f"no answer: exit code {child.exitcode}")


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as a table: a row for each model, two columns for each format."""
    by = {(one.model, one.format, one.exporter): one for one in outcomes}
    columns = list(itertools.product(dict.fromkeys(one.format for one in outcomes), ("torchport", "nemo")))
    titles = [f"{format}: {'NeMo' if exporter == 'nemo' else exporter}" for format, exporter in columns]
    rows = [f"| model | {' | '.join(titles)} |", "|---|" + "---|" * len(columns)]
    for name in dict.fromkeys(one.model for one in outcomes):
        rows.append(f"| `{name}` | {' | '.join(_cell(by.get((name, *column))) for column in columns)} |")
    return "\n".join(rows)


def _cell(one: Outcome | None) -> str:
    if one is None:
        return ""
    reason = one.reason.replace("|", "/")[:90].strip()
    if one.error is None:
        return f"{one.verdict}: {reason}"
    size = "another shape or NaN" if one.error == float("inf") else f"{one.error:.0e}"
    return (f"{size}" if one.verdict == "right" else f"**wrong**: {size}") + (f" ({reason})" if reason else "")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="configurations whose name holds one of these words")
    parser.add_argument("--formats", default="onnx,ts")
    parser.add_argument("--json", type=Path, help="write every outcome there; one of an earlier run that is not measured again is kept")
    parser.add_argument("--markdown", action="store_true", help="print the table")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.disable(logging.WARNING)
    import nemo.collections.asr.models
    import nemo.collections.tts.models  # noqa: F401 - once, before the children are forked
    import torch

    torch.set_num_threads(1)
    earlier = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    found = {(one["model"], one["format"], one["exporter"]): Outcome(**one) for one in earlier}
    asked = [name for name in zoo.MODELS if any(word in name for word in options.only.split(","))]
    for key in itertools.product(asked, options.formats.split(","), ("torchport", "nemo")):
        found[key] = one = measured(*key)
        sys.stderr.write(f"{one.model} {one.format} {one.exporter}: {_cell(one)} ({one.cpu_seconds:.1f} s)\n")
        if options.json:
            options.json.write_text(json.dumps([asdict(each) for each in found.values()], indent=1) + "\n")
    order = list(zoo.MODELS)
    outcomes = sorted(found.values(), key=lambda one: (order.index(one.model), one.format))
    if options.markdown:
        print(table(outcomes))
    wrong = [one for one in outcomes if one.exporter == "torchport" and one.verdict in ("wrong", "error")]
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
