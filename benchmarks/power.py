"""What the proof notices: artifacts are mutated, and every mutant that has an effect must fail its proof.

    .venv/bin/python benchmarks/power.py [--mutants 80] [--models gru,conformer] [--ways "onnx trace"]

For each model and each way of exporting it: how many mutants of each kind were made, how many the proof killed, how many are equivalent
(they change no output beyond its tolerance on further inputs either), and the survivors with their effect in units of the tolerance. The
exit code is 1 where fewer than 99 % of all mutants with an effect were killed, or a model could not be measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from networks import Bert, Conformer
from torch import Tensor, nn

import torchport
from torchport import NeuralType, Port
from torchport.types import AcousticEncodedRepresentation, EncodedRepresentation, LengthsType, MaskType, SpectrogramType, TokenIndex
from torchport.verification.power import Mutant, Power

WAYS = {
    "onnx trace": (".onnx", "trace"),
    "onnx torch_export": (".onnx", "torch_export"),
    "torchscript": (".ts", "auto"),
    "pt2": (".pt2", "auto"),
}
"""File extension and strategy by name."""

Made = tuple[nn.Module, dict[str, Any]]
"""A model with the arguments of its export."""


class Gated(nn.Module):
    """Two inputs, thresholds, a table, outputs of equal and of integer type."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.left, self.right = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, one: Tensor, other: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mixed = self.left(one) * self.right(other).sigmoid() + self.table(index)
        gated = torch.where(mixed > 0.25, mixed.clamp(max=4.0), 0.125 * mixed)
        return gated, mixed.cumsum(1) / (1 + torch.arange(mixed.shape[1])).unsqueeze(1), (gated.abs() * 8).long()


class Convolved(nn.Module):
    """Convolutions with batch norm, strides and a transposed one; interpolation and padding."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv1d(6, 8, 5, 2, 2), nn.BatchNorm1d(8), nn.PReLU(), nn.Conv1d(8, 8, 3, padding=2, dilation=2))
        self.up = nn.ConvTranspose1d(8, 6, 4, 2, 1)
        self.down[1].running_mean.normal_()  # type: ignore[union-attr, operator]

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.down(nn.functional.pad(x, (3, 3), mode="reflect"))) if x.shape[2] > 3 else self.up(self.down(x))
        return nn.functional.interpolate(y, scale_factor=2.0, mode="linear")


class Recurrent(nn.Module):
    """A bidirectional GRU over two layers and the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, _ = self.gru(x.transpose(1, 2))
        y = self.norm(y)
        return y, y.mean(1)


def gated() -> Made:
    inputs = {"one": Port("batch time 8"), "other": Port("batch time 8"), "index": Port("batch time", dtype="int64")}
    example = (torch.randn(3, 7, 8), torch.randn(3, 7, 8), torch.randint(0, 11, (3, 7)))
    outputs = {"gated": Port("batch time 8"), "means": Port("batch time 8"), "steps": Port("batch time 8", dtype="int64")}
    return Gated(), {"input_example": example, "input_types": inputs, "output_types": outputs}


def convolved() -> Made:
    return Convolved(), {"input_types": {"x": "batch 6 time{min=8}"}, "output_types": {"y": "batch 6 longer"}}


def recurrent() -> Made:
    return Recurrent(), {"input_types": {"x": "batch 6 time"}, "output_types": {"y": "batch time 10", "mean": "batch 10"}}


def bert() -> Made:
    types = {"ids": NeuralType(("B", "T"), TokenIndex(num_classes=60)), "mask": NeuralType(("B", "T"), MaskType())}
    outputs = {"hidden": NeuralType(("B", "T", "D"), EncodedRepresentation())}
    example = (torch.randint(0, 60, (3, 37)), torch.ones(3, 37, dtype=torch.bool))
    model = Bert(layers=2, width=24, heads=3, tokens=60, positions=128)
    return model, {"input_example": example, "input_types": types, "output_types": outputs}


def conformer() -> Made:
    inputs = {"features": NeuralType(("B", "D", "T"), SpectrogramType()), "length": NeuralType(("B",), LengthsType())}
    outputs = {
        "encoded": NeuralType(("B", "T", "D"), AcousticEncodedRepresentation()),
        "encoded_length": NeuralType(("B",), LengthsType()),
    }
    example = (torch.randn(3, 80, 37), torch.tensor([37, 29, 11]))
    return Conformer(layers=1, width=16, heads=2), {"input_example": example, "input_types": inputs, "output_types": outputs}


def builtin(name: str) -> Callable[[], Made]:
    def make() -> Made:
        from torchport.models.alexnet import AlexNet
        from torchport.models.fastpitch import FastPitch
        from torchport.models.speaker_encoder import SpeakerEncoder

        if name == "alexnet":
            return AlexNet({"num_classes": 10, "width": 0.0625, "image_size": 63}), {}
        if name == "fastpitch":
            return FastPitch.from_pretrained("fastpitch-random"), {}
        return SpeakerEncoder.from_pretrained("speaker-encoder-random"), {}

    return make


MODELS: dict[str, Callable[[], Made]] = {
    "gated": gated,
    "convolved": convolved,
    "recurrent": recurrent,
    "bert": bert,
    "conformer": conformer,
    **{name: builtin(name) for name in ("alexnet", "fastpitch", "speaker-encoder")},
}


NOT_CAPTURED = {("recurrent", "onnx torch_export"): "torch.export unrolls a bidirectional GRU at the traced time"}
"""What torch cannot export so; the export refuses it."""


def measure(name: str, way: str, mutants: int, folder: Path) -> Power | str:
    """The power of one proof, or why there is none."""
    suffix, strategy = WAYS[way]
    torch.manual_seed(0)
    model, arguments = MODELS[name]()
    try:
        result = torchport.export(model.eval(), folder / f"{name}-{strategy}{suffix}", strategy=strategy, power=mutants, **arguments)
    except torchport.TorchportError as error:
        return str(error).partition("\n")[0]
    assert result.proof is not None
    assert result.proof.power is not None
    power = result.proof.power
    return power if power.kill_rate is not None else "; ".join(power.notes) or power.summary()


def row(name: str, way: str, what: str, killed: int, equivalent: int, survived: int) -> str:
    """One row of the table."""
    rate = f"{killed / (killed + survived):.1%}" if killed + survived else "-"
    return f"| {name} | {way} | {what} | {killed + equivalent + survived} | {killed} | {equivalent} | {survived} | {rate} |"


def main() -> int:
    """Measures every model in every way and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=80)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--ways", default="onnx trace,onnx torch_export,torchscript")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    all_mutants: list[Mutant] = []
    lists: dict[str, list[str]] = {"Survivors": [], "Not measured": [], "The least change that is noticed": []}
    survivors, refused, smallest = lists.values()
    print("| model | way | mutation | mutants | killed | equivalent | survived | kill rate |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, way in product(arguments.models.split(","), arguments.ways.split(",")):
            if (name, way) in NOT_CAPTURED:
                continue
            start = time.process_time()
            power = measure(name, way, arguments.mutants, Path(folder))
            if isinstance(power, str):
                refused.append(f"{name}, {way}: {power}")
                continue
            for one in power.by_kind.values():
                print(row(name, way, one.kind, one.killed, one.equivalent, one.survived))
            equivalent = len(power.mutants) - power.killed - len(power.survivors)
            seconds = f"**all**, {time.process_time() - start:.0f} s CPU"
            print(row(name, way, seconds, power.killed, equivalent, len(power.survivors)), flush=True)
            all_mutants += power.mutants
            survivors += [f"{name}, {way}: {one.kind}, {one.where} ({one.change}): {one.effect:.3g} tolerances" for one in power.survivors]
            smallest += [f"{name}, {way}: {one.sentence()}" for one in power.smallest]
    total = Power(tuple(all_mutants))
    print(f"\nAll in all: {total.summary()}" + (f": {total.kill_rate:.2%}" if total.kill_rate is not None else ""))
    for title, lines in lists.items():
        print(f"\n{title}: {len(lines) or 'none'}")
        print("\n".join(f"- {line}" for line in lines))
    return int(bool(refused) or not total.ok)


if __name__ == "__main__":
    sys.exit(main())
