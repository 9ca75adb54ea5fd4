"""A row that a mask hides as a whole: where nothing says that an input is a mask, the failed proof says how to."""

import numpy as np
import pytest
import torch
from torch import nn

import torchport
from torchport.errors import ProofError
from torchport.verification import Case
from torchport.verification.causes.hidden_rows import hidden_rows


class Encoder(nn.Module):
    """The fused path of eager mode answers a number where a row is padding as a whole, the graph of the slow path NaN."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, x, padding):
        return self.encoder(x, src_key_padding_mask=padding)


TYPES = {"x": "batch time 8", "padding": ("batch time", "bool")}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder()


def test_a_transformer_whose_mask_is_plain_booleans_is_told_to_show_its_padding(encoder, tmp_path):
    with pytest.raises(ProofError) as caught:
        torchport.export(encoder, tmp_path / "m.onnx", input_types=TYPES, strategy="torch_export")
    assert "every row that differs has `padding` all True" in caught.value.hint
    assert "pass an input_example" in caught.value.hint


def test_with_an_example_that_shows_its_padding_it_is_proved(encoder, tmp_path):
    padding = torch.zeros(3, 7, dtype=torch.bool)
    padding[1, 5:] = padding[2, 3:] = True
    result = torchport.export(
        encoder, tmp_path / "m.onnx", input_types=TYPES, strategy="torch_export", input_example=(torch.randn(3, 7, 8), padding)
    )
    assert result.proof.ok


MASK = np.array([[False, True], [True, True], [False, False]])
NAN = float("nan")


@pytest.mark.parametrize(
    ("got", "said"),
    [
        ([1.0, NAN, 1.0], "all True"),
        ([1.0, 1.0, NAN], "all False"),
        ([NAN, NAN, 1.0], ""),
        ([NAN, 1.0, 1.0], ""),
        ([1.0, 1.0, 1.0], ""),
    ],
)
def test_only_rows_of_one_value_are_hidden(got, said):
    case = Case({"batch": 3}, {"x": np.ones((3, 2), "float32"), "mask": MASK}, {"y": np.ones((3, 1), "float32")}, 0, "")
    text = hidden_rows(case, "y", np.array(got, "float32")[:, None])
    assert said in text if said else text == ""


def test_answers_of_other_kinds_tell_nothing_of_rows():
    case = Case({"batch": 3}, {"mask": MASK}, {"y": np.ones((3, 1), "int64"), "s": np.float32(1)}, 0, "")
    assert hidden_rows(case, "y", np.ones((3, 1), "int64")) == ""
    assert hidden_rows(case, "s", np.float32(NAN)) == ""
