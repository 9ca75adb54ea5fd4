"""A model of one's own, from its class to a file that runs elsewhere: train, export, prove, run, train on.

Run it with ``python examples/own_model.py [folder]``.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

import torchport
from torchport import Axis, AxisKind, AxisType, Exportable, NeuralType
from torchport.types import LengthsType, LogitsType, MelSpectrogramType

MELS, WORDS = 40, 12


class KeywordSpotter(nn.Module, Exportable):
    """Which of a dozen words was spoken, and where in the recording it seems to be."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(MELS, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Conv1d(64, 64, 5, padding=2), nn.ReLU()
        )
        self.attention = nn.Conv1d(64, 1, 1)
        self.head = nn.Linear(64, WORDS)

    @property
    def input_types(self) -> OrderedDict[str, NeuralType]:
        """Mel frames, and how many of them count."""
        frames = Axis("frames", kind=AxisKind.Time, min=4)
        return OrderedDict(
            mel=NeuralType(("B", AxisType(AxisKind.Dimension, MELS), frames), MelSpectrogramType()),
            mel_length=NeuralType(("B",), LengthsType()),
        )

    @property
    def output_types(self) -> OrderedDict[str, NeuralType]:
        """Scores of the words; the weight of each frame."""
        return OrderedDict(
            scores=NeuralType(("B", AxisType(AxisKind.Dimension, WORDS)), LogitsType()),
            weights=NeuralType(("B", Axis("frames", kind=AxisKind.Time))),
        )

    def forward(self, mel: Tensor, mel_length: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and weights.

        Args:
            mel: Mel frames, ``(batch, mels, frames)``.
            mel_length: Frames that count, int64 ``(batch,)``.
        """
        padding = torch.arange(mel.shape[2], device=mel.device) >= mel_length[:, None]
        hidden = self.encoder(mel.masked_fill(padding[:, None], 0.0))
        weights = self.attention(hidden).squeeze(1).masked_fill(padding, -1e9).softmax(1)
        return self.head((hidden * weights[:, None]).sum(2)), weights


def train(model: nn.Module, steps: int) -> float:
    """A few steps on made-up data; the last loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    lengths = torch.tensor([50, 37, 44, 29])
    mel, words = torch.randn(4, MELS, 50), torch.tensor([1, 5, 7, 2])
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(mel, lengths)[0], words)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def main(folder: Path) -> None:
    """The whole way."""
    torch.manual_seed(0)
    model = KeywordSpotter()
    print(f"trained to a loss of {train(model, 5):.3f}")
    for name in ("spotter.onnx", "spotter.ts"):
        result = model.export(folder / name, overwrite=True)
        print(result.descriptions[0])
    print(result.signature)

    mel, lengths = torch.randn(2, MELS, 61), torch.tensor([61, 20])
    with torchport.load(folder / "spotter.onnx") as spotter:
        answer = spotter(mel=mel, mel_length=lengths)
    print(f"words {answer['scores'].argmax(1).tolist()}, weights {answer['weights'].shape}")
    assert model.training
    print(f"trained on to a loss of {train(model, 5):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
