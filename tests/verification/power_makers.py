"""A small model with everything that is mutated, and its artifacts in every format."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import torchport
from torchport._options import ExportOptions
from torchport._subject import declare, reference_of, witnesses_of
from torchport.emit import Artifact
from torchport.verification.power import Witnesses
from torchport.verification.power._base import Plan, workshops

TYPES = {
    "inputs": {"x": torchport.Port("batch 6 time"), "y": torchport.Port("batch 6 time")},
    "outputs": {"a": torchport.Port("batch 6 time"), "b": torchport.Port("batch 6 time"), "c": torchport.Port("batch flat")},
}


class Net(nn.Module):
    """Two inputs and two outputs of one shape, weights of one shape, a norm, constants, a computed shape, and a weight that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(6, 6)
        self.two = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        nn.init.normal_(self.norm.bias)
        self.dead = nn.Parameter(torch.ones(6, 1))

    def forward(self, x, y):
        a = self.one(x.transpose(1, 2)).tanh() * 0.75
        b = self.norm(self.two(y.transpose(1, 2)) + 0.5)
        kept = torch.where(x > 1e30, self.dead, x)
        return a.transpose(1, 2), b.transpose(1, 2), kept.reshape(x.shape[0], -1)


@dataclasses.dataclass
class Made:
    """An artifact with what its proof needs."""

    artifact: Artifact
    reference: torchport.verification.Reference
    witnesses: Witnesses
    options: ExportOptions

    def workshop(self, folder: Path, seed: int = 0):
        folder.mkdir(exist_ok=True)
        inputs = self.reference.cases[0].inputs
        return workshops[self.artifact.format](Plan(self.artifact, folder, self.reference.traced, inputs, random.Random(seed)))


def make(folder: Path, suffix: str, of: Callable[[], nn.Module] = Net, **options) -> Made:
    """Exports what ``of`` makes without a proof, and takes its reference."""
    torch.manual_seed(3)
    module = of().eval()
    settings = ExportOptions(output=folder / f"m{suffix}", input_example=(torch.randn(3, 6, 5), torch.randn(3, 6, 5)), power=8)
    subject = declare(module, settings, input_types=TYPES["inputs"], output_types=TYPES["outputs"])
    reference = reference_of(subject, settings)
    witnesses = witnesses_of(subject, reference)
    result = torchport.export(
        module,
        settings.output,
        input_example=settings.input_example,
        input_types=TYPES["inputs"],
        output_types=TYPES["outputs"],
        verify=False,
        **options,
    )
    return Made(result.parts[0].artifact, reference, witnesses, settings)
