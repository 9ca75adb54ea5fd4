"""Values at the ends of what ports take: branches that usual values never meet."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torchport
from torchport.errors import ProofError

CHANNELS = {"inputs_0": "batch 4 time"}
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
                seen.append([one.numpy().item() for one in (ids.min(), ids.max(), share.min(), share.max(), pace)])
            return torch.stack([ids.float(), share], -1) * pace

    example = (torch.tensor([[2, 5, 3, 2], [4, 4, 5, 2]]), torch.rand(2, 4), torch.tensor(1.5))
    types = {"ids": "batch time", "share": "batch time", "pace": ""}
    result = torchport.export(Seeing(), tmp_path / "m.onnx", input_example=example, input_types=types)
    assert {case.label for case in result.proof.cases} >= {"zeros", "large", "constant"}
    low_id, high_id, low, high, pace = zip(*seen, strict=True)
    assert (min(low_id), max(high_id)) == (2, 5)
    assert min(low) == pytest.approx(float(example[1].min()), abs=1e-6)
    assert max(high) == pytest.approx(1, abs=1e-6)
    assert pace == pytest.approx([1.5] * len(pace), abs=1e-6)


def test_values_that_the_model_refuses_make_no_case_and_are_told(tmp_path):
    def picky(x):
        if not torch.jit.is_tracing() and x.abs().max().numpy().item() > 500:
            raise ValueError("too loud")
        return x * 2

    result = export(picky, tmp_path / "m.onnx", torch.randn(3, 29, 4), input_types=X_ONE, strategy="trace")
    assert "large" not in {case.label for case in result.proof.cases}
    assert any("refuses large values" in note and "too loud" in note for note in result.notes)


def test_a_case_that_is_rounding_alone_refuses_nothing(tmp_path):
    """A constant input less its mean is zero give or take rounding, which a norm makes large."""
    result = export(lambda x: (x - x.mean()) / x.std().clamp(min=1e-3), tmp_path / "m.onnx", torch.randn(3, 29, 4), input_types=X_ONE)
    assert "constant" in {case.label for case in result.proof.cases}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [1, 2])
def test_a_norm_of_a_constant_refuses_nothing(tmp_path, seed, groups):
    """The model says 0, in double precision as well; ONNX Runtime says what rounding left of it."""
    torch.manual_seed(seed)
    assert export(lambda x: nn.functional.group_norm(x, groups), tmp_path / "m.onnx", torch.randn(3, 4, 12), input_types=CHANNELS).proof.ok


def test_how_the_model_rounds_at_extreme_values_is_asked_only_where_the_file_differs_there(tmp_path):
    seen = []  # not on the model: there it would be put back

    def export_seen(function):
        def model(x):
            if not torch.jit.is_tracing():
                seen.append((not x.any(), bool(x.max() == x.min())))
            return function(x)

        torch.manual_seed(0)
        seen.clear()
        export(model, tmp_path / "m.onnx", torch.randn(3, 4, 12), input_types=CHANNELS, strategy="trace")
        return [sum(kind) for kind in zip(*seen, strict=True)]

    assert export_seen(lambda x: x * 2) == [1, 2], "zeros once, and one number everywhere once"
    zeros, constants = export_seen(lambda x: nn.functional.group_norm(x, 2))
    assert zeros == 1
    assert constants > 2


class Hooked(nn.Module):
    """A norm of its own, which preparing writes in another way: other roundings, the same function."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, x):
        centred = x - x.mean((1, 2), keepdim=True)
        return centred / (centred.pow(2).mean((1, 2), keepdim=True) + 1e-12).sqrt() * self.factor.detach() / self.factor.detach()

    def _prepare_for_export(self, **kwargs):
        self.factor.data.mul_(3.0)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_untouched_model_that_says_how_it_rounds_at_extreme_values(tmp_path, seed):
    torch.manual_seed(seed)
    model = Hooked()
    result = torchport.export(
        model, tmp_path / "m.onnx", input_example=torch.randn(3, 4, 29), input_types={"x": "batch 4 time"}, strategy="trace"
    )
    assert result.proof.ok
    assert model.factor.item() == 1.0


class Packed(nn.Module):
    """A tagger whose answer is as long as the longest row, or as the axis."""

    def __init__(self, whole):
        super().__init__()
        self.whole = whole
        self.lstm = nn.LSTM(4, 6, batch_first=True)

    def forward(self, x, x_len):
        packed = nn.utils.rnn.pack_padded_sequence(x, x_len.cpu(), batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1] if self.whole else None)[0]


@pytest.mark.parametrize("whole", [True, False])
def test_rows_that_are_all_shorter_than_the_axis_are_tried(tmp_path, whole):
    types = {"x": "batch time 4", "x_len": "batch"}
    arguments = {"input_example": (torch.randn(3, 9, 4), torch.tensor([9, 5, 7])), "input_types": types, "strategy": "trace"}
    model = Packed(whole)
    path = torchport.export(model, tmp_path / "m.onnx", **arguments).path
    x, x_len = torch.randn(2, 9, 4), torch.tensor([3, 6])
    with torchport.load(path) as artifact, torch.no_grad():
        answer = artifact(x=x, x_len=x_len)["output"]
        assert answer.shape == (2, 9 if whole else 6, 6)
        torch.testing.assert_close(torch.from_numpy(answer), model(x, x_len), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_scores_that_large_values_saturate_refuse_nothing(tmp_path, seed):
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores, self.boxes = nn.Linear(12, 12), nn.Linear(12, 12)

        def forward(self, x):
            best, places = self.scores(x).sigmoid().topk(3, 1)
            return best, places, self.boxes(x).gather(1, places)

    torch.manual_seed(seed)
    result = torchport.export(Detector(), tmp_path / "m.onnx", input_example=torch.randn(3, 12), input_types={"x": "batch 12"})
    assert result.proof.ok


class Stretched(nn.Module):
    """As long as its values say."""

    def forward(self, x):
        steps = int(x[..., 0].clamp(min=1).long().sum(1).max())
        return x[:, :1].expand(-1, steps, -1).mean(1)


def test_large_values_never_decide_how_much_memory_is_taken(tmp_path):
    result = torchport.export(
        Stretched(), tmp_path / "m.ts", input_example=torch.rand(2, 7, 4) + 0.1, input_types={"x": "batch time 4"}, strategy="script"
    )
    assert "large" not in {case.label for case in result.proof.cases}


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x, mask):
        return self.layer(x, src_key_padding_mask=mask)


class Averaging(nn.Module):
    """A row without a number has the mean 0 here, and none once the guard is lost on the way."""

    def forward(self, x, mask):
        weights = torch.softmax(torch.zeros_like(mask, dtype=x.dtype).masked_fill(mask, float("-inf")), -1)
        weights = weights if torch.jit.is_tracing() else weights.nan_to_num()
        return (x * weights.unsqueeze(-1)).sum(1)


@pytest.mark.parametrize("model", [Attending(), Averaging()], ids=["attending", "averaging"])
def test_a_row_that_is_masked_as_a_whole_is_a_limit_that_is_told(tmp_path, model):
    mask = torch.zeros(3, 7, dtype=torch.bool)
    mask[1, 4:] = True
    types = {"x": "batch time 8", "mask": "batch time"}
    result = torchport.export(model, tmp_path / "m.onnx", input_example=(torch.randn(3, 7, 8), mask), input_types=types, strategy="trace")
    told = any(note.startswith("limit: a row that is masked as a whole") and "nan" in note for note in result.proof.notes)
    assert told == isinstance(model, Averaging), "torch's attention answers such a row, and so does the file"


def test_a_case_where_only_dtype_and_shape_could_be_held_is_told(tmp_path):
    """A sine of large numbers is what rounding makes of it: a file that rounds otherwise is right, and its values say nothing there."""

    class Turned(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.dtype = dtype
            torch.manual_seed(0)
            self.mixed = nn.Linear(64, 16)

        def forward(self, x):
            weight, bias = self.mixed.weight.to(self.dtype), self.mixed.bias.to(self.dtype)
            return (4 * nn.functional.linear(x.to(self.dtype), weight, bias).to(x.dtype)).sin()

    types = {"x": "batch time 64"}
    result = torchport.export(Turned(torch.float64), tmp_path / "m.onnx", input_types=types)
    proof = torchport.verify(result.paths[0], Turned(torch.float32), input_types=types)
    assert proof.ok
    assert [note for note in proof.notes if "only dtype and shape were held" in note and "large values" in note]
