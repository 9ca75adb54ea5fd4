"""What a decision in Python depends on: a size that torch's own layers check, or values that no example can settle."""

import numpy as np
import pytest
import torch
from torch import nn

import torchport
from torchport import Exportable


class Base(nn.Module, Exportable):
    input_types = {"x": "batch 4 time"}
    output_types = {"y": "batch 4 time"}


class Grouped(Base):
    def __init__(self):
        super().__init__()
        self.norm, self.lstm = nn.GroupNorm(2, 4), nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        return self.lstm(self.norm(x).transpose(1, 2))[0].transpose(1, 2)


class Attending(Base):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        h = x.transpose(1, 2)
        return self.attend(h, h, h)[0].transpose(1, 2)


@pytest.mark.parametrize(("kind", "suffix"), [(Grouped, "onnx"), (Grouped, "ts"), (Attending, "ts")])
def test_sizes_that_torchs_own_layers_check_are_no_decision_of_the_model(tmp_path, kind, suffix):
    result = kind().export(tmp_path / f"m.{suffix}", strategy="trace")
    assert result.strategy == "trace"
    assert result.proof.ok


def test_attention_in_a_models_own_forward_is_proved(tmp_path):
    assert Attending().export(tmp_path / "m.onnx").proof.ok


class Equal(Base):
    def forward(self, x):
        return x * 2 if torch.equal(x, x.abs()) else x + 1


class Close(Base):
    def forward(self, x):
        return x * 2 if torch.allclose(x, torch.zeros_like(x)) else x + 1


class Named(Base):
    def forward(self, x):
        return x * 2 if torch.equal(input=x, other=x.abs()) else x + 1


class Nonzero(Base):
    def forward(self, x):
        return x * 2 if torch.is_nonzero((x > 100).sum()) else x + 1


class Counted(Base):
    def forward(self, x):
        return x * 2 if (x > 100).nonzero().shape[0] > 0 else x + 1


class Length(Base):
    def forward(self, x):
        return x * 2 if len((x > 100).nonzero()) else x + 1


class Selected(Base):
    def forward(self, x):
        return x * 2 if torch.masked_select(x, x > 100).numel() else x + 1


class Indexed(Base):
    def forward(self, x):
        return x * 2 if x[x > 100].shape[0] > 0 else x + 1


class Shared(Base):
    def forward(self, x):
        return x * 2 if np.from_dlpack(x.detach())[0, 0, 0] > 1e9 else x + 1


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
@pytest.mark.parametrize("kind", [Shared, Equal, Close, Named, Nonzero, Counted, Length, Selected, Indexed])
def test_a_branch_that_values_decide_is_refused_with_its_line(tmp_path, kind, suffix):
    with pytest.raises(torchport.TorchportError, match="depends on values|depends on how many") as caught:
        kind().export(tmp_path / f"m.{suffix}", strategy="trace")
    assert "test_capture_evidence.py" in str(caught.value)
    assert not list(tmp_path.iterdir())


class Checked(Base):
    def forward(self, x):
        if torch.equal(x, x + 1):
            raise ValueError("infinite input")
        kept = (x[:, 0] > -1e9).nonzero()
        return x + 0 * kept.shape[0]


def test_a_check_that_only_raises_and_a_count_that_stays_a_tensor_are_fine(tmp_path):
    assert Checked().export(tmp_path / "m.onnx", strategy="trace").proof.ok


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_an_embedding_with_a_padding_index_decides_nothing(tmp_path, suffix):
    class Embedding(nn.Module, Exportable):
        input_types = {"tokens": ("batch time", "int64")}
        output_types = {"y": "batch time 4"}

        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 4, padding_idx=6)

        def input_example(self):
            return torch.arange(15).reshape(3, 5) % 7

        def forward(self, tokens):
            return self.table(tokens)

    assert Embedding().export(tmp_path / f"m.{suffix}", strategy="trace").proof.ok
