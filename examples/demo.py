"""What torchport does, in one go and without a network: ``make demo``.

Exports three models to ONNX and TorchScript, proves each file against the untouched model at sizes that it was not traced with, runs the
files, tells two voices apart with one of them, and shows how a wrong artifact is refused. Exits with 1 if anything is not as it should be.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import argparse
import contextlib
import sys
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

import torchport
from torchport.models.alexnet import AlexNet
from torchport.models.fastpitch import FastPitch
from torchport.models.speaker_encoder import SpeakerEncoder
from torchport.ports import make_inputs
from torchport.verification import Proof

ROOT = Path(__file__).resolve().parents[1]
RECORDINGS = ROOT / "tests" / "data"
console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
problems: list[str] = []


def check(holds: bool, what: str) -> str:
    """A mark for the screen; what does not hold ends the demo with an error."""
    if not holds:
        problems.append(what)
    return "[green]✓[/]" if holds else "[red]✗[/]"


def sizes_of(proof: Proof) -> str:
    """The sizes that a proof tried: ``10: batch 1 to 5, time 1 to 112``."""
    symbols = {symbol: [case.sizes[symbol] for case in proof.cases] for symbol in proof.cases[0].sizes}
    return f"{len(proof.cases)}: " + ", ".join(f"{symbol} {min(sizes)} to {max(sizes)}" for symbol, sizes in symbols.items())


def eager(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], names: list[str]) -> dict[str, npt.NDArray[Any]]:
    """What the model itself answers."""
    with torch.no_grad():
        answer = getattr(model, "forward_for_export", model.forward)(**inputs)
    tensors = answer if isinstance(answer, tuple) else (answer,)
    return {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}


def fresh_run(path: Path, model: torch.nn.Module) -> float:
    """Runs a file at sizes that neither the trace nor the proof used; the worst difference, relative to each output's scale."""
    with torchport.load(path) as artifact:
        sizes = {symbol: 4 if symbol == "batch" else axis.smallest + 60 for symbol, axis in artifact.signature.symbols.items()}
        inputs = make_inputs(artifact.signature, sizes, seed=2024)
        expected = eager(model, inputs, list(artifact.signature.outputs))
        answer = artifact(inputs)
    return max(float(np.abs(answer[name] - array).max() / max(np.abs(array).max(), 1e-12)) for name, array in expected.items())


def export_all(models: Mapping[str, torch.nn.Module], folder: Path) -> None:
    """Every model to both formats, as one table."""
    table = Table(title="Exported, and proved equal to the untouched model", title_justify="left", title_style="bold")
    for column in ("model", "file", "strategy", "proved at sizes", "worst error", "allowed", "a fresh run", "size", "CPU"):
        table.add_column(column, justify="right" if column in ("worst error", "allowed", "a fresh run", "size", "CPU") else "left")
    for name, model in models.items():
        for suffix in (".onnx", ".ts"):
            with console.status(f"{name} to {suffix}") if console.is_terminal else contextlib.nullcontext():
                result = torchport.export(model, folder / f"{name}{suffix}", overwrite=True)
                proof, part = result.proof, result.parts[0]
                assert proof is not None  # only verify=False leaves it out
                error = fresh_run(result.path, model)
            worst = max(proof.cases, key=lambda case: case.error)
            table.add_row(
                name,
                f"{check(proof.ok, f'{result.path.name} is not proved')} {result.path.name}",
                result.strategy,
                sizes_of(proof),
                f"{worst.error:.1e}",
                f"{worst.tolerance:.1e}",
                f"{check(error < 1e-5, f'{result.path.name} is off by {error:.1e} in a fresh run')} {error:.1e}",
                f"{result.path.stat().st_size / 2**20:.1f} MB",
                f"{sum(part.timings.values()):.1f} s",
            )
    console.print(table)
    console.print(
        "errors are relative to the output's scale; the allowance comes from the model's own rounding (float32 against float64)\n"
    )


def read_wave(path: Path) -> torch.Tensor:
    """Samples from -1 to 1 of a 16-bit recording."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    return torch.from_numpy(samples.astype(np.float32) / 32768)


def tell_voices_apart(encoder: torch.nn.Module, folder: Path) -> None:
    """Two recordings of one voice must be nearer to each other than two voices are: in eager, in ONNX Runtime and in TorchScript."""
    names = ("voice_low_1", "voice_low_2", "voice_high_1", "voice_high_2")
    waves = [read_wave(RECORDINGS / f"{name}.wav") for name in names]
    lengths = torch.tensor([len(one) for one in waves])
    inputs = {"waveform": torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), "waveform_length": lengths}
    answers = {"eager": eager(encoder, inputs, ["embedding"])["embedding"]}
    for runtime, suffix in (("ONNX Runtime", ".onnx"), ("TorchScript", ".ts")):
        with torchport.load(folder / f"speaker-encoder-en{suffix}") as artifact:
            answers[runtime] = artifact(inputs)["embedding"]
    table = Table(title="Four recordings, two voices: similarity of embeddings", title_justify="left", title_style="bold")
    for column in ("run by", "low voice, two sentences", "high voice, two sentences", "one sentence, two voices", "verdict"):
        table.add_column(column)
    for runtime, vectors in answers.items():
        near = vectors @ vectors.T
        same, other = (near[0, 1], near[2, 3]), max(near[0, 2], near[1, 3])
        holds = min(same) > other
        verdict = "the voices are told apart" if holds else "the voices are mixed up"
        table.add_row(runtime, f"{same[0]:.4f}", f"{same[1]:.4f}", f"{other:.4f}", f"{check(holds, f'{runtime}: {verdict}')} {verdict}")
    console.print(table, "")


class WithPositions(torch.nn.Module):
    """Reads a size as a Python number: whoever traces it freezes that size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds to each element its place."""
        return x + torch.arange(int(x.shape[1]))


class WithPositionsWell(torch.nn.Module):
    """The same without ``int``: the size stays what it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds to each element its place."""
        return x + torch.arange(x.shape[1])


def refuse_wrong(folder: Path) -> None:
    """A model that no exporter gets right: refused with a table; then the same model, written well."""
    path = folder / "positions.onnx"
    path.unlink(missing_ok=True)
    inputs, outputs = {"x": ("batch time", "float32")}, {"y": "batch time"}
    console.print("[bold]A model that exporters get wrong[/]: x + arange(int(x.shape[1]))")
    refusal = None
    try:
        torchport.export(WithPositions(), path, input_types=inputs, output_types=outputs)
    except torchport.ProofError as error:
        refusal = error.proof
    check(isinstance(refusal, Proof), "a wrong artifact was not refused")
    if isinstance(refusal, Proof):
        table = Table(title=f"ProofError: {len(refusal.findings)} findings, the first three", title_justify="left", title_style="bold red")
        for column in ("port", "sizes", "expected", "got", "likely cause"):
            table.add_column(column, overflow="fold")
        for one in refusal.findings[:3]:
            table.add_row(one.port, ", ".join(f"{name} {size}" for name, size in one.sizes.items()), one.expected, one.got, one.cause)
        console.print(table)
        console.print(f"{check(not path.exists(), 'a refused artifact was left behind')} nothing was written")
    result = torchport.export(WithPositionsWell(), path, input_types=inputs, output_types=outputs)
    assert result.proof is not None
    mark = check(result.proof.ok, "the model written well is not proved")
    console.print(f"{mark} x + arange(x.shape[1]): proved at sizes {sizes_of(result.proof)}\n")


def main() -> int:
    """Runs the demo; the exit code says whether all of it held."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo", help="where the files go")
    parser.add_argument("--small", action="store_true", help="a quarter of AlexNet's width, to save time")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    models: dict[str, torch.nn.Module] = {
        "speaker-encoder-en": SpeakerEncoder.from_pretrained("speaker-encoder-en"),
        "alexnet": AlexNet.from_pretrained("alexnet-small-random" if given.small else "alexnet-random"),
        "fastpitch": FastPitch.from_pretrained("fastpitch-random"),
    }
    console.print(f"torchport {torchport.__version__}, torch {torch.__version__}; the files go to {os.path.relpath(given.folder)}\n")
    export_all(models, given.folder)
    tell_voices_apart(models["speaker-encoder-en"], given.folder)
    refuse_wrong(given.folder)
    for problem in problems:
        console.print(f"[bold red]failed[/] {problem}")
    if not problems:
        console.print("[bold green]everything held[/]")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
