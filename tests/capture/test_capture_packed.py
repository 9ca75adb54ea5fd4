"""Recurrent layers over packed sequences of which only the last state is read, through the trace-based exporter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import torchport
from torchport.capture._packed import PaddedToLongest

EXAMPLE = (torch.randn(3, 11, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([11, 7, 4]))
TYPES = {"x": "batch time 6", "lengths": "batch"}


class Last(nn.Module):
    """The last state of a stack of recurrent layers."""

    def __init__(self, kind, *, layers=1, stacked=False, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.first = kind(6, 6, batch_first=True) if stacked else None
        self.last = kind(6, 8, layers, batch_first=True, **settings)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        if self.first is not None:
            packed, _ = self.first(packed)
        _, state = self.last(packed)
        return torch.cat([one.transpose(0, 1) for one in (state if isinstance(state, tuple) else (state,))], -1)


MODELS = {
    "lstm": (Last(nn.LSTM), True),
    "both ways": (Last(nn.GRU, bidirectional=True), True),
    "stacked": (Last(nn.LSTM, stacked=True), False),
    "projected": (Last(nn.LSTM, bidirectional=True, proj_size=4), True),
    "two layers": (Last(nn.RNN, layers=2), False),
    "two layers both ways": (Last(nn.LSTM, layers=2, bidirectional=True), False),
}


@pytest.mark.parametrize(("model", "helped"), MODELS.values(), ids=list(MODELS))
def test_a_last_state_alone_is_exported(tmp_path, model, helped):
    result = torchport.export(model, tmp_path / "m.onnx", input_example=EXAMPLE, input_types=TYPES, strategy="trace")
    assert result.proof.ok
    assert not model.last._forward_hooks
    assert any("the outputs of last" in note and "nobody reads" in note for note in result.notes) == helped


class Both(Last):
    def forward(self, x, lengths):
        outputs, state = self.last(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])[0], state


def test_outputs_that_are_read_need_no_help(tmp_path):
    result = torchport.export(Both(nn.GRU), tmp_path / "m.onnx", input_example=EXAMPLE, input_types=TYPES, strategy="trace")
    assert result.proof.ok
    assert not any("nobody reads" in note for note in result.notes)


class Longest(nn.Module):
    """Ends with the longest row, whichever axis comes first, or with the axis; and says how long the rows are."""

    def __init__(self, batch_first, whole):
        super().__init__()
        self.batch_first, self.whole = batch_first, whole
        self.layer = nn.GRU(6, 4, batch_first=batch_first, bidirectional=True)

    def forward(self, x, lengths):
        x = x if self.batch_first else x.transpose(0, 1)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=self.batch_first, enforce_sorted=False)
        total = x.shape[1 if self.batch_first else 0] if self.whole else None
        return pad_packed_sequence(self.layer(packed)[0], self.batch_first, padding_value=-1.0, total_length=total)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("opset", [13, None])
def test_rows_are_padded_as_in_torch(tmp_path, batch_first, whole, opset):
    model = Longest(batch_first, whole).eval()
    types = {"x": "batch time 6", "lengths": ("batch", "int64")}
    result = torchport.export(model, tmp_path / "m.onnx", input_types=types, strategy="trace", onnx_opset_version=opset)
    assert result.proof.ok
    x, lengths = torch.randn(2, 9, 6), torch.tensor([4, 7])
    with torchport.load(result.path) as artifact, torch.no_grad():
        for got, expected in zip(artifact(x=x, lengths=lengths).values(), model(x, lengths), strict=True):
            torch.testing.assert_close(torch.from_numpy(got), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("batch_first", [True, False])
def test_rows_are_padded_on_the_device_where_they_are(batch_first):
    """Lengths are always on the CPU, whatever device the rows are on."""
    packed = pack_padded_sequence(torch.ones(2, 5, 3), torch.tensor([4, 2]), batch_first=True)
    packed = PackedSequence(packed.data.to("meta"), packed.batch_sizes)
    with PaddedToLongest():
        padded, lengths = pad_packed_sequence(packed, batch_first, padding_value=-1.0)
    assert padded.is_meta
    assert padded.shape == ((2, 4, 3) if batch_first else (4, 2, 3))
    assert lengths.tolist() == [4, 2]
