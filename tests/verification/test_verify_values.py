"""Values at the ends of what ports take: branches that usual values never meet."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torchport
from torchport.errors import ProofError

X_ONE = {"inputs_0": "batch time 4"}


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def first_above_a_hundred(x):
    try:
        return x + x[x > 100][0]
    except IndexError:
        return x - 1


def export(function, path, *example, **settings):
    return torchport.export(Of(function), path, input_example=example, overwrite=True, **settings)


def test_an_exception_that_the_model_catches_is_no_way_to_hide_a_branch(tmp_path):
    with pytest.raises(ProofError):
        export(first_above_a_hundred, tmp_path / "m.onnx", torch.randn(3, 7, 4), input_types=X_ONE, strategy="trace")


@pytest.mark.parametrize(
    ("model", "twin", "seen_at"),
    [
        (lambda x: x.clamp(-100, 100), lambda x: x * 1.0, "large"),
        (lambda x: x / x.abs().sum((1, 2), keepdim=True), lambda x: x / (x.abs().sum((1, 2), keepdim=True) + 1e-12), "zeros"),
        (lambda x: torch.log(x.abs().sum(2) + 1e-9), lambda x: torch.log(x.abs().sum(2) + 1e-6), "zeros"),
        (lambda x: torch.where((x == x[:, :1, :1]).all(2).all(1)[:, None, None], x * 2, x), lambda x: x * 1.0, "constant"),
        (lambda x: x * (x > 0).any(2).any(1)[:, None, None], lambda x: x * 1.0, "negative"),
    ],
)
def test_what_only_extreme_values_show_is_seen(tmp_path, model, twin, seen_at):
    torch.manual_seed(0)
    example = torch.randn(3, 29, 4)
    path = tmp_path / "m.onnx"
    export(model, path, example, input_types=X_ONE)
    with pytest.raises(ProofError) as caught:
        torchport.verify(path, Of(twin), input_example=(example,), input_types=X_ONE)
    assert seen_at in {case.label for case in caught.value.proof.cases if case.findings}


def test_extremes_respect_what_an_example_shows(tmp_path):
    seen = []

    class Seeing(nn.Module):
        def forward(self, ids, share, pace):
            if not torch.jit.is_tracing():
                seen.append((int(ids.min()), int(ids.max()), float(share.min()), float(share.max()), float(pace)))
            return torch.stack([ids.float(), share], -1) * pace

    example = (torch.tensor([[2, 5, 3, 2], [4, 4, 5, 2]]), torch.rand(2, 4), torch.tensor(1.5))
    types = {"ids": "batch time", "share": "batch time", "pace": ""}
    result = torchport.export(Seeing(), tmp_path / "m.onnx", input_example=example, input_types=types)
    assert {case.label for case in result.proof.cases} >= {"zeros", "large", "constant"}
    low_id, high_id, low, high, pace = zip(*seen, strict=True)
    assert (min(low_id), max(high_id)) == (2, 5)
    assert min(low) == float(example[1].min())
    assert max(high) == 1
    assert set(pace) == {1.5}


def test_values_that_the_model_refuses_make_no_case_and_are_told(tmp_path):
    def picky(x):
        if not torch.jit.is_tracing() and float(x.abs().max()) > 500:
            raise ValueError("too loud")
        return x * 2

    result = export(picky, tmp_path / "m.onnx", torch.randn(3, 29, 4), input_types=X_ONE, strategy="trace")
    assert "large" not in {case.label for case in result.proof.cases}
    assert any("refuses large values" in note and "too loud" in note for note in result.notes)


def test_a_case_that_is_rounding_alone_refuses_nothing(tmp_path):
    """A constant input less its mean is zero give or take rounding, which a norm makes large."""
    result = export(lambda x: (x - x.mean()) / x.std().clamp(min=1e-3), tmp_path / "m.onnx", torch.randn(3, 29, 4), input_types=X_ONE)
    assert "constant" in {case.label for case in result.proof.cases}


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x, mask):
        return self.layer(x, src_key_padding_mask=mask)


def test_a_row_that_is_masked_as_a_whole_is_a_limit_that_is_told(tmp_path):
    mask = torch.zeros(3, 7, dtype=torch.bool)
    mask[1, 4:] = True
    types = {"x": "batch time 8", "mask": "batch time"}
    result = torchport.export(Attending(), tmp_path / "m.onnx", input_example=(torch.randn(3, 7, 8), mask), input_types=types)
    assert any(note.startswith("limit: a row that is masked as a whole") and "nan" in note for note in result.proof.notes)
