"""A mel front end under NeMo's name becomes convolutions that compute the same, at any size; `tests/nemo` holds the real one."""

import pytest
import torch
from nemo_fakes import FilterbankFeatures
from torch import nn

import torchport
from torchport.prepare.filterbanks import ConvolvedFilterbank, FilterbankReplacement, fourier_kernels
from torchport.types import LengthsType

SETTINGS = [
    {},
    {"normalize": "all_features"},
    {"normalize": None, "pad_to": 0},
    {"exact_pad": True, "power": 1.0},
    {"exact_pad": True, "preemph": None, "normalize": None},
    {"preemph": None, "power": 1.5},
    {"guard": ("clamp", "tiny"), "normalize": ""},
    {"log": False},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("samples", [200, 1013])
def test_it_computes_the_same(settings, samples):
    old = FilterbankFeatures(**settings).eval()
    assert FilterbankReplacement().matches(old)
    new = FilterbankReplacement().apply(old)
    assert isinstance(new, ConvolvedFilterbank)
    x, lengths = torch.randn(3, samples), torch.tensor([samples, samples // 2, 130])
    (expected, frames), (got, counts) = old(x, lengths), new(x, lengths)
    assert torch.equal(frames, counts)
    torch.testing.assert_close(got, expected, atol=3e-5, rtol=3e-5)


class FrontEnd(nn.Module, torchport.Exportable):
    input_types = {"wave": ("batch samples", "float32"), "lengths": torchport.NeuralType(("B",), LengthsType())}
    output_types = {"mel": ("batch 8 frames", "float32"), "frames": ("batch", "int64")}

    def __init__(self):
        super().__init__()
        self.features = FilterbankFeatures(normalize=None)

    def input_example(self):
        return torch.randn(3, 777), torch.tensor([777, 400, 100])

    def forward(self, wave, lengths):
        return self.features(wave, lengths)


def test_a_graph_from_the_waveform_on_is_exported_and_proved(tmp_path):
    model = FrontEnd().eval()
    result = model.export(tmp_path / "m.onnx")
    assert [swap.new for swap in result.parts[0].swaps] == ["ConvolvedFilterbank"]
    assert isinstance(model.features, FilterbankFeatures)
    wave, lengths = torch.randn(2, 1501), torch.tensor([900, 1501])
    with torchport.load(result.path) as artifact:
        got = artifact(wave=wave, lengths=lengths)
    torch.testing.assert_close(torch.tensor(got["mel"]), model(wave, lengths)[0], atol=3e-5, rtol=3e-5)


class Subclass(FilterbankFeatures):
    def forward(self, x, seq_len):
        return x, seq_len


@pytest.mark.parametrize(
    "change",
    [
        {"normalize": {"fixed_mean": [0.0], "fixed_std": [1.0]}},
        {"pad_to": "max"},
        {"frame_splicing": 2},
        {"use_grads": True},
        {"window": None},
        {"forward": lambda x, seq_len: (x, seq_len)},
    ],
)
def test_what_it_does_not_compute_is_left(change):
    module = FilterbankFeatures().eval()
    for name, value in change.items():
        setattr(module, name, value)
    assert not FilterbankReplacement().matches(module)
    assert not FilterbankReplacement().matches(FilterbankFeatures().train())
    assert not FilterbankReplacement().matches(Subclass().eval())


def test_the_kernels_are_those_of_a_transform_of_the_window_in_its_middle():
    window = torch.rand(50, dtype=torch.float64)
    wide = nn.functional.pad(window, (7, 7))
    x = torch.randn(64, dtype=torch.float64)
    expected = torch.fft.rfft(x * wide)
    got = fourier_kernels(window, 64)[:, 0] @ x[7:57]
    torch.testing.assert_close(torch.complex(got[:33], got[33:]), expected, atol=1e-12, rtol=1e-12)
