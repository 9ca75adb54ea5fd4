"""Running in double precision without copying the weights, and disturbing the rounding."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from torchport.verification.arrays import to_array, to_arrays, to_tensor
from torchport.verification.jitter import run_with_jitter
from torchport.verification.noise import measure_noise, turned_by_rounding
from torchport.verification.precision import run_in_double


def flat(module):
    def call(tensors):
        answer = module(*tensors.values())
        found = []

        def collect(value):
            if isinstance(value, torch.Tensor):
                found.append(value)
            else:
                for part in value:
                    collect(part)

        collect(answer)
        return {str(index): tensor for index, tensor in enumerate(found)}

    return call


def attention():
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)


MODULES = {
    "linear": (lambda: nn.Linear(8, 5), (3, 8)),
    "large linear": (lambda: nn.Linear(2100, 2100), (2, 2100)),
    "lstm": (lambda: nn.LSTM(8, 5, 2, bidirectional=True, batch_first=True), (2, 7, 8)),
    "lstm without bias": (lambda: nn.LSTM(8, 5, bias=False), (7, 2, 8)),
    "gru": (lambda: nn.GRU(8, 5, 2, batch_first=True), (2, 7, 8)),
    "attention": (attention, (2, 7, 8)),
    "convolution": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3, padding="same"), nn.BatchNorm1d(6), nn.ReLU(inplace=True)), (2, 4, 9)),
    "pool": (lambda: nn.Sequential(nn.ConvTranspose1d(4, 6, 4, 2), nn.AdaptiveAvgPool1d(3), nn.GELU()), (2, 4, 9)),
    "norm": (lambda: nn.Sequential(nn.InstanceNorm1d(4), nn.LayerNorm(9), nn.Softmax(-1)), (2, 4, 9)),
}


@pytest.mark.parametrize("name", MODULES)
@torch.no_grad()
def test_the_answer_is_the_one_of_a_model_converted_to_double(name):
    torch.manual_seed(0)
    make, shape = MODULES[name]
    module = make().eval()
    x = torch.randn(shape)
    wide = run_in_double(flat(module), {"x": x})
    truth = flat(copy.deepcopy(module).double())({"x": x.double()})
    for key, expected in truth.items():
        assert wide[key].dtype == torch.float64
        torch.testing.assert_close(wide[key], expected, rtol=1e-12, atol=1e-12)
        assert not torch.equal(wide[key], flat(module)({"x": x})[key].double())


class Particular(nn.Module):
    """Code that looks at dtypes, makes tensors, indexes and writes in place."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.register_buffer("position", torch.randn(1, 50, 8))
        self.out = nn.Linear(8, 20)

    def forward(self, ids):
        hidden = self.table(ids) + self.position[:, : ids.shape[1]]
        assert hidden.dtype == torch.float32 == self.out.weight.dtype
        mask = torch.zeros(ids.shape[1], ids.shape[1]).fill_(float("-inf")).triu(1)
        weights = torch.softmax(hidden @ hidden.transpose(1, 2) * 8**-0.5 + mask, -1)
        hidden = weights @ hidden
        other = torch.empty_like(hidden)
        other[:] = hidden
        other[:, 0] += 1
        other = other.masked_fill(ids.unsqueeze(-1) == 3, -1.0) + torch.arange(ids.shape[1]).float()[None, :, None] * 0.1
        other = other + torch.tensor(0.5) + torch.linspace(0, 1, 8) + torch.full((8,), 0.1)
        return self.out(other), self.out(other).argmax(-1), other.norm(), (other > 0).sum(1), other.double().sum()


@torch.no_grad()
def test_code_that_looks_at_dtypes_and_writes_in_place_runs_wide():
    torch.manual_seed(0)
    module = Particular().eval()
    ids = torch.randint(0, 20, (2, 7))
    plain, wide = flat(module)({"ids": ids}), run_in_double(flat(module), {"ids": ids})
    assert wide["1"].dtype == torch.int64
    assert torch.equal(wide["1"], plain["1"])
    assert torch.equal(wide["3"], plain["3"])
    for key in ("0", "2", "4"):
        assert wide[key].dtype == torch.float64
        torch.testing.assert_close(wide[key], plain[key].double(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_spectrogram_runs_wide_through_complex_numbers():
    def call(tensors):
        spectrum = torch.stft(tensors["x"], 64, 16, window=torch.hann_window(64), return_complex=True)
        return {"y": spectrum.abs()}

    x = torch.randn(2, 400)
    torch.testing.assert_close(run_in_double(call, {"x": x})["y"], call({"x": x})["y"].double(), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_the_models_own_tensors_stay_single_and_a_cache_written_in_place_is_kept():
    class Cache(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("last", torch.zeros(3))

        def forward(self, x):
            self.last.add_(x.sum(0))
            return self.last * 2

    module = Cache()
    x = torch.ones(2, 3)
    assert run_in_double(flat(module), {"x": x})["0"].tolist() == [4.0, 4.0, 4.0]
    assert module.last.dtype == torch.float32
    assert module.last.tolist() == [2.0, 2.0, 2.0]


@torch.no_grad()
def test_noise_against_double_is_a_few_units_in_the_last_place():
    torch.manual_seed(0)
    module = nn.Linear(64, 5).eval()
    inputs = {"x": to_array(torch.randn(3, 64))}
    noise = measure_noise(flat(module), inputs, to_arrays(flat(module)({"x": to_tensor(inputs["x"])})))
    assert noise.source == "double"
    assert 0 < noise.by_output["0"] < 2e-6


@torch.no_grad()
def test_a_model_that_reads_memory_falls_back_to_disturbed_rounding_and_says_so():
    module = nn.Linear(64, 5).eval()

    def call(tensors):
        return {"y": module(torch.from_numpy(tensors["x"].numpy() * 2.0))}

    inputs = {"x": to_array(torch.randn(3, 64))}
    noise = measure_noise(call, inputs, to_arrays(call({"x": to_tensor(inputs["x"])})))
    assert noise.source == "jitter"
    assert noise.reason
    assert 0 < noise.by_output["y"] < 1e-5


@torch.no_grad()
def test_a_scripted_model_gets_its_noise_too():
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        module = torch.jit.script(nn.Sequential(nn.Linear(8, 5), nn.Tanh()))
    inputs = {"x": to_array(torch.randn(3, 8))}
    noise = measure_noise(flat(module), inputs, to_arrays(flat(module)({"x": to_tensor(inputs["x"])})))
    assert 0 < noise.by_output["0"] < 1e-5


@torch.no_grad()
def test_disturbed_rounding_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    run_with_jitter(flat(nn.Tanh()), {"x": torch.ones(3)}, 1)
    assert torch.equal(before, torch.get_rng_state())


def test_only_elements_whose_scores_tie_turn_by_rounding():
    def call(tensors):
        x = tensors["x"]
        return {"best": torch.stack([x * 1.5, x * 3 / 2 + torch.tensor([0.0, 1.0])], 1).argmax(1)}

    inputs = {"x": to_array(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))}
    expected = to_array(call({"x": to_tensor(inputs["x"])})["best"])
    tied, clear = np.array([[True, False], [True, False]]), np.array([[False, True], [False, False]])
    assert turned_by_rounding(call, inputs, "best", expected, tied)
    assert not turned_by_rounding(call, inputs, "best", expected, clear)
    assert not turned_by_rounding(call, inputs, "best", expected, tied | clear)


def test_bfloat16_goes_to_numpy_and_back():
    tensor = torch.randn(3, 4).to(torch.bfloat16)
    assert torch.equal(to_tensor(to_array(tensor)), tensor)


def test_a_recurrent_layer_whose_output_is_viewed_runs_in_double():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(4, 3, batch_first=True, bidirectional=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.out(self.rnn(x)[0])

    torch.manual_seed(0)
    model, x = Tagger().eval(), torch.randn(3, 9, 4)
    wide = run_in_double(lambda tensors: {"y": model(tensors["x"])}, {"x": x})["y"]
    with torch.no_grad():
        expected = model.double()(x.double())
    assert torch.allclose(torch.as_tensor(wide), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_a_large_weight_is_widened_slab_by_slab_to_the_same_answer(bias, transposed):
    torch.manual_seed(0)
    weight, added, x = torch.randn(2011, 2003), torch.randn(2003), torch.randn(3, 2011)
    held = weight.t().contiguous().t() if transposed else weight

    def call(inputs):
        return {"y": torch.addmm(added, inputs["x"], held) if bias else torch.mm(inputs["x"], held)}

    with torch.no_grad():
        got = run_in_double(call, {"x": x})["y"]
    assert got.dtype is torch.float64
    expected = x.double() @ weight.double() + (added.double() if bias else 0)
    assert torch.allclose(got, expected, rtol=0, atol=1e-10)
