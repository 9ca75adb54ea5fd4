"""Whole numbers that are lengths as their name says, in models that pack sequences."""

import pytest
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import torchport
from torchport.errors import ReferenceRunError
from torchport.ports import Signature
from torchport.ports.lengths import lengths_by_name


class Tagger(nn.Module):
    """Tags of frames, in the words of whoever wrote it: ``mels`` and ``mel_lens``."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(5, 4, batch_first=True)

    def forward(self, mels, mel_lens):
        packed = pack_padded_sequence(mels, mel_lens.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=mels.shape[1])[0]


class Weighed(nn.Module):
    """A number for each row that a table is looked up with, under a name that says something else."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(3, 5)

    def forward(self, x, word_length):
        return x + self.table(word_length)[:, None]


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_a_model_that_packs_sequences_needs_no_type_for_its_lengths(tmp_path, suffix):
    types = {"mels": "batch time 5", "mel_lens": ("batch", "int64")}
    result = torchport.export(Tagger(), tmp_path / f"m.{suffix}", input_types=types)
    assert "`mel_lens` holds lengths of `mels`, as its name says" in result.notes
    assert result.proof.ok
    assert len({case.sizes["time"] for case in result.proof.cases}) > 3
    assert not any("weak" in note for note in result.notes)


def test_a_model_that_does_not_take_them_so_is_asked_in_another_way(tmp_path):
    types = {"x": "batch time 5", "word_length": ("batch", "int64")}
    result = torchport.export(Weighed(), tmp_path / "m.onnx", input_types=types)
    assert not any("as its name says" in note for note in result.notes)
    assert result.proof.ok


@pytest.mark.parametrize(
    ("name", "port", "measured"),
    [
        ("mel_lens", ("batch", "int64"), "mels"),
        ("lengths", ("batch", "int32"), "mels"),
        ("len_text", ("batch", "int64"), "mels"),
        ("mel_length", ("batch", "float32"), None),
        ("mel_lens", ("batch time", "int64"), None),
        ("mel_lens", ("other", "int64"), None),
        ("mel_lens", ("", "int64"), None),
        ("challenge", ("batch", "int64"), None),
        ("silent", ("batch", "int64"), None),
    ],
)
def test_whole_numbers_for_each_row_are_lengths_by_name(name, port, measured):
    found = lengths_by_name(Signature.of(inputs={"mels": "batch time 5", name: port}))
    assert found.get(name, (None, None))[1] == measured
    assert not lengths_by_name(Signature.of(inputs={"mels": "batch 5", name: port}))


def test_whole_numbers_declared_as_fractions_are_told_with_what_to_write(tmp_path):
    table = nn.Embedding(9, 4)
    with pytest.raises(ReferenceRunError) as caught:
        torchport.export(table, tmp_path / "m.onnx", input_types={"input": "batch time"})
    way = 'input_types={"input": ("batch time", "int64")} (--input-type "input=batch time,int64")'
    assert f"`input` has to hold whole numbers, as in {way}" in caught.value.hint
    with pytest.raises(ReferenceRunError, match="one of x, word_length has to hold whole numbers"):
        torchport.export(Weighed(), tmp_path / "m.onnx", input_types={"x": "batch time 5", "word_length": "batch"})
