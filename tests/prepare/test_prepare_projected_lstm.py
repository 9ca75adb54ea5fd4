"""An LSTM with projections exports as plain LSTMs and linears, which compute the same."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import torchport
from torchport.prepare import replace_for_export
from torchport.prepare.projected_lstm import PlainLSTM, ProjectedLSTMReplacement

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

KINDS = [
    {"num_layers": layers, "bidirectional": both, "batch_first": first, "bias": bias}
    for layers, both, first, bias in itertools.product((1, 3), (False, True), (False, True), (False, True))
]


def pair(**settings):
    old = nn.LSTM(6, 10, proj_size=4, **settings).eval()
    return old, PlainLSTM(old)


def close(expected, got):
    torch.testing.assert_close(got[0], expected[0], atol=1e-6, rtol=1e-5)
    for one, other in zip(expected[1], got[1], strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("settings", KINDS)
def test_it_computes_the_same_from_nothing_and_from_a_state(settings):
    old, new = pair(**settings)
    x = torch.randn(5, 5, 6)
    states = torch.randn(old.num_layers * new.directions, 5, 4), torch.randn(old.num_layers * new.directions, 5, 10)
    with torch.no_grad():
        close(old(x), new(x))
        close(old(x, states), new(x, states))


def test_it_takes_a_single_sequence_and_a_packed_batch():
    old, new = pair(num_layers=2, bidirectional=True)
    single, packed = torch.randn(7, 6), pack_padded_sequence(torch.randn(7, 3, 6), torch.tensor([7, 4, 2]))
    with torch.no_grad():
        close(old(single), new(single))
        (expected, after), (got, states) = old(packed), new(packed)
    close((expected.data, after), (got.data, states))
    assert torch.equal(expected.batch_sizes, got.batch_sizes)
    assert new.flatten_parameters() is None


class Encoder(nn.Module, torchport.Exportable):
    input_types = {"x": ("batch time 6", "float32")}
    output_types = {"y": ("batch time 8", "float32")}

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 10, 2, batch_first=True, bidirectional=True, proj_size=4)

    def forward(self, x):
        return self.lstm(x)[0]


@pytest.mark.parametrize("name", ["m.onnx", "m.ts"])
def test_a_model_with_projections_is_exported_and_proved(tmp_path, name):
    model = Encoder().eval()
    result = model.export(tmp_path / name)
    assert [(swap.path, swap.old, swap.new) for swap in result.parts[0].swaps] == [("lstm", "LSTM", "PlainLSTM")]
    assert result.proof.ok
    assert type(model.lstm) is nn.LSTM
    x = torch.randn(2, 23, 6)
    with torchport.load(result.path) as artifact, torch.no_grad():
        torch.testing.assert_close(torch.tensor(artifact(x=x)["y"]), model(x), atol=1e-6, rtol=1e-5)


def test_what_must_not_be_swapped_is_not():
    matches = ProjectedLSTMReplacement().matches
    assert matches(nn.LSTM(6, 10, 2, proj_size=4, dropout=0.1).eval())
    assert not matches(nn.LSTM(6, 10, 2, proj_size=4, dropout=0.1))
    assert not matches(nn.LSTM(6, 10))

    class Own(nn.LSTM):
        pass

    assert not matches(Own(6, 10, proj_size=4))


def test_its_own_probe_proves_it_without_a_model():
    model = nn.Sequential(nn.LSTM(6, 10, proj_size=4)).eval()
    replace_for_export(model)
    assert isinstance(model[0], PlainLSTM)
