"""Rows of a batch: independent of each other, of their order and of their padding, or said to depend."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torchport
from torchport import NeuralType
from torchport.types import LengthsType, SpectrogramType


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def rows(tmp_path, model, example, **settings):
    result = torchport.export(model, tmp_path / "m.onnx", input_example=example, overwrite=True, **settings)
    assert result.to_dict()["artifacts"][0]["proof"]["rows"] == dict(result.proof.rows)
    return dict(result.proof.rows)


X = {"x": "batch time 4"}


@pytest.mark.parametrize(
    ("function", "verdict"),
    [
        (lambda x: x.softmax(2), "independent"),
        (lambda x: x.softmax(0), "depends on the other rows"),
        (lambda x: x / x.abs().amax(), "depends on the other rows"),
        (lambda x: x - x[:1], "depends on the other rows"),
        (lambda x: x + torch.arange(x.shape[0])[:, None, None], "depends on the other rows"),
        (lambda x: x + (x.shape[0] > 1), "depends on the other rows"),
        (lambda x: x.mean((0, 1)), "one for the whole batch"),
    ],
)
def test_what_a_row_depends_on_is_said(tmp_path, function, verdict):
    (found,) = rows(tmp_path, Of(function), torch.randn(3, 17, 4), input_types=X, strategy="trace").values()
    assert found.startswith(verdict)


def test_a_recurrence_over_the_batch_is_seen_on_a_second_axis(tmp_path):
    class Recurrent(nn.Module):
        def __init__(self, batch_first):
            super().__init__()
            self.gru = nn.GRU(4, 4, batch_first=batch_first)

        def forward(self, x):
            return self.gru(x)[0]

    types = {"x": "time batch 4"}
    assert rows(tmp_path, Recurrent(False), torch.randn(7, 3, 4), input_types=types) == {"output": "independent"}
    (found,) = rows(tmp_path, Recurrent(False), torch.randn(3, 7, 4), input_types=X).values()
    assert found.startswith("depends on the other rows")


class Pooled(nn.Module, torchport.Exportable):
    """The mean over time, of all steps or of those that count."""

    def __init__(self, masked, pooled=True):
        super().__init__()
        self.masked, self.pooled = masked, pooled
        self.convolution = nn.Conv1d(4, 4, 3, padding=1)

    @property
    def input_types(self):
        return {"x": NeuralType(("B", "D", "T"), SpectrogramType()), "lengths": NeuralType(("B",), LengthsType())}

    @property
    def output_types(self):
        return {"y": NeuralType(("B", "D", "T") if not self.pooled else ("B", "D"), SpectrogramType())}

    @property
    def input_example(self):
        return torch.randn(3, 4, 19), torch.tensor([19, 11, 6])

    def forward(self, x, lengths):
        mask = (torch.arange(x.shape[2], device=x.device)[None] < lengths[:, None])[:, None]
        if self.masked:
            x = torch.where(mask, x, 0)
        y = self.convolution(x)
        if not self.pooled:
            return y + 0 * lengths[:, None, None]
        return torch.where(mask, y, 0).sum(2) / lengths[:, None]


@pytest.mark.parametrize("pooled", [True, False])
def test_the_padding_is_told(tmp_path, pooled):
    assert Pooled(True, pooled).export(tmp_path / "m.onnx").proof.rows == {"y": "independent"}
    result = Pooled(False, pooled).export(tmp_path / "n.onnx")
    assert result.proof.rows["y"].startswith("depends on the padding")
    assert any(note.startswith("rows: output `y` depends on the padding") for note in result.proof.notes)


def test_padding_is_told_for_ports_that_are_only_named(tmp_path):
    class Summed(nn.Module):
        def forward(self, x, x_lengths):
            return x.sum(1) / x_lengths[:, None]

    (found,) = rows(
        tmp_path, Summed(), (torch.randn(3, 9, 4), torch.tensor([9, 5, 4])), input_types={"x": "batch time 4", "x_lengths": "batch"}
    ).values()
    assert found.startswith("depends on the padding")


@pytest.mark.parametrize("suffix", ["ts", "pt2"])
def test_every_format_is_asked(tmp_path, suffix):
    result = torchport.export(Of(lambda x: x.softmax(0)), tmp_path / f"m.{suffix}", input_example=torch.randn(3, 17, 4), input_types=X)
    assert next(iter(result.proof.rows.values())).startswith("depends on the other rows")


def test_without_a_batch_axis_nothing_is_said(tmp_path):
    assert rows(tmp_path, Of(lambda x: x * 2), torch.randn(17, 4), input_types={"x": "time 4"}) == {}


def test_rows_that_are_never_alone_are_not_asked_alone(tmp_path):
    found = rows(
        tmp_path, Of(lambda x: x + (x.shape[0] < 2)), torch.randn(3, 17, 4), input_types={"x": "batch{min=2} time 4"}, strategy="trace"
    )
    assert set(found.values()) == {"independent"}


class Repeated(nn.Module):
    """Every token as often as it says itself, so rows differ in length by their values."""

    def __init__(self, masked):
        super().__init__()
        self.masked = masked
        self.first, self.last = nn.Conv1d(1, 3, 3, padding=1), nn.Conv1d(3, 2, 3, padding=1)

    def forward(self, tokens):
        ends = tokens.clamp(1, 4).cumsum(1)
        place = torch.arange(ends[:, -1].max())
        inside = (place[None] < ends[:, -1:]).unsqueeze(1)
        which = (place[None, :, None] >= ends[:, None]).sum(2)
        taken = torch.gather(nn.functional.pad(tokens, (0, 1)), 1, which.clamp(max=tokens.shape[1]))
        inner = self.first(taken[:, None].float()).sigmoid()
        return self.last(inner * inside if self.masked else inner) * inside, ends[:, -1]


@pytest.mark.parametrize("masked", [True, False])
def test_a_row_beside_one_that_its_values_make_longer_is_asked_alone(tmp_path, masked):
    """The last row is not the shortest: each is asked by itself."""
    torch.manual_seed(0)
    found = rows(
        tmp_path,
        Repeated(masked),
        torch.tensor([[1, 2, 1, 1, 2], [3, 2, 4, 4, 2], [4, 4, 4, 4, 4]]),
        input_types={"tokens": ("batch time", "int64")},
        output_types={"y": "batch 2 frames", "frames": ("batch", "int64")},
    )
    assert found["frames"] == "independent"
    assert found["y"].startswith("independent" if masked else "depends on the other rows")
