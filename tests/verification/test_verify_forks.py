"""Decisions on sizes: every way that a model can take is tried, or its sizes are not promised."""

from __future__ import annotations

import bisect
import copy
import math
import pickle
import re
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

import torchport
from torchport.errors import ProofError, TorchportError
from torchport.types import LengthsType
from torchport.verification._records import sizes_text
from torchport.verification.forks import forks, lines_both_ways, next_sizes
from torchport.verification.noted_sizes import ForkWatch

X = {"x": "batch time 4"}


class Deciding(nn.Module):
    """Doubles its input, or triples it where ``rule`` says so."""

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def forward(self, x):
        if self.rule(x):
            return x * 3
        return x * 2


RULES = {
    "time past a threshold": (lambda x: x.shape[1] > 150, "time 151"),
    "batch past a threshold": (lambda x: x.size(0) >= 16, "batch 16"),
    "frames past a threshold": (lambda x: (x.shape[1] + 3) // 4 > 40, "time 1[56]"),
    "a multiple": (lambda x: x.shape[1] % 16 == 0, "time (16|32|48|112)"),
    "a remainder": (lambda x: -x.size(1) % 7 == 6, "time "),
    "a product": (lambda x: x.shape[0] * x.shape[1] > 300, "(batch|time) "),
    "a quotient that is 0 at all near sizes": (lambda x: x.shape[1] // 256 > 0, "time (2|3|4)"),
    "a shift": (lambda x: (x.shape[1] >> 8) > 0, "time (2|3|4)"),
    "one size": (lambda x: x.shape[1] == 50, "time 50"),
    "a quotient": (lambda x: x.shape[1] / 2 > 77.5, "time 15"),
    "the greater": (lambda x: max(x.shape[1], 90) > 90, "time (9|112)"),
    "a few sizes": (lambda x: x.shape[1] in (77, 200), "time (77|200)"),
    "elements": (lambda x: x.numel() > 900, "(batch|time) "),
}


@pytest.mark.parametrize("name", RULES)
def test_a_decision_that_a_trace_freezes_is_seen_at_a_size_of_the_other_way(tmp_path, name):
    rule, sizes = RULES[name]
    with pytest.raises(ProofError) as caught:
        torchport.export(Deciding(rule), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X, strategy="trace")
    (finding, *_) = caught.value.proof.findings
    assert re.search(sizes, sizes_text(finding.sizes))
    assert "test_verify_forks.py:" in finding.cause
    assert "the file holds one way only" in finding.cause
    assert not list(tmp_path.iterdir())


FACTORS = {600: 3.0, 900: 4.0}


def _big(size):
    return math.log2(size) > 9.5


UNSEEN = {
    "a function of C": lambda x: 3.0 if math.log2(x.shape[1]) > 9.5 else 2.0,
    "a function of the model's own": lambda x: 3.0 if _big(x.shape[1]) else 2.0,
    "a table": lambda x: FACTORS.get(x.shape[1], 2.0),
    "a set": lambda x: 3.0 if x.shape[1] in {600, 900} else 2.0,
    "steps": lambda x: 3.0 if len(range(0, x.shape[1], 100)) > 7 else 2.0,
    "NumPy": lambda x: 3.0 if np.log2(x.shape[1]) > 9.5 else 2.0,
    "a tensor of a size": lambda x: 3.0 if torch.tensor(x.shape[1]).item() > 700 else 2.0,
    "a plain number": lambda x: 3.0 if int(x.shape[1]) >= 700 else 2.0,
    "a plain remainder": lambda x: 3.0 if int(x.shape[1]) % 500 == 317 else 2.0,
    "bytes": lambda x: 3.0 if x.nbytes > 2**14 else 2.0,
    "one remainder": lambda x: 3.0 if x.shape[1] % 500 == 317 else 2.0,
    "a remainder far away": lambda x: 3.0 if x.shape[1] % 8192 == 0 else 2.0,
    "a common divisor": lambda x: 3.0 if math.gcd(x.shape[1], 1024) == 1024 else 2.0,
    "a place in a list": lambda x: 3.0 if bisect.bisect([100, 700, 5000], x.shape[1]) > 1 else 2.0,
    "one way in a comprehension": lambda x: sum([3.0 for _ in (1,) if math.log2(x.shape[1]) > 9.5], 2.0),
    "a whole number above": lambda x: 2.0 * math.ceil(x.shape[1] / 700),
    "a real number": lambda x: 2.0 * torch.tensor(float(x.shape[1])).clamp(min=700.0) / x.shape[1],
    "a number past which it grows": lambda x: 1.0 + max(1, int(x.shape[1]) - 900),
    "one way of two in a condition": lambda x: 3.0 if x.dim() == 3 and math.isqrt(x.shape[1]) > 25 else 2.0,
}


class Scaled(nn.Module):
    """Its input by a factor that depends on sizes."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor(x)


@pytest.mark.parametrize("name", UNSEEN)
def test_what_no_comparison_of_a_size_shows_is_tried_all_the_same(tmp_path, name):
    with pytest.raises(ProofError):
        torchport.export(Scaled(UNSEEN[name]), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X, strategy="trace")
    assert not list(tmp_path.iterdir())


class Limit:
    """Settings of an object."""

    def __init__(self):
        self.time = 900


class Holes(dict):
    """Settings that raise where they hold nothing."""

    def get(self, name, default=None):
        if name not in self:
            raise LookupError(name)
        return self[name]


class Configured(nn.Module):
    """Doubles its input, past a limit in its settings triples it."""

    def __init__(self, settings, read):
        super().__init__()
        self.settings = settings
        self.read = read

    def forward(self, x):
        return x * (2 + self.read(self, int(x.shape[1])))


SETTINGS = {
    "a mapping": ({"time": 900}, lambda self, size: size > self.settings["time"]),
    "a mapping in a mapping": (Holes(limits={"time": 900}), lambda self, size: size > self.settings["limits"]["time"]),
    "an object": (Limit(), lambda self, size: size > self.settings.time),
    "an object in a mapping": ({"limits": Limit()}, lambda self, size: size > self.settings["limits"].time),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_limit_in_the_settings_is_tried(tmp_path, name):
    model = Configured(*SETTINGS[name])
    with pytest.raises(ProofError):
        torchport.export(model, tmp_path / "m.onnx", input_example=torch.randn(3, 17, 4), input_types=X, strategy="trace")


class Grown(nn.Module):
    """Padded by a tenth."""

    def forward(self, x):
        return nn.functional.pad(x, (0, 0, 0, math.ceil(x.shape[1] * 1.1) - x.shape[1]))


def test_a_share_of_a_size_is_tried_where_single_precision_rounds_it_otherwise(tmp_path):
    """ceil(50 * 1.1) is 56 in Python, and 55 in single precision."""
    result = torchport.export(Grown(), tmp_path / "m.onnx", input_example=torch.randn(3, 9, 4), input_types=X, strategy="torch_export")
    assert {case.sizes["time"] for case in result.proof.cases} >= {50, 90}


def test_a_branch_that_turned_is_the_cause(tmp_path):
    class Long(nn.Module):
        def forward(self, x):
            if math.log2(x.shape[1]) > 7.5:
                return x * 3
            return x * 2

    with pytest.raises(ProofError) as caught:
        torchport.export(Long(), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X, strategy="trace")
    (finding, *_) = caught.value.proof.findings
    assert "(`if math.log2(x.shape[1]) > 7.5:`) decides by a size" in finding.cause


def test_a_branch_that_may_hang_on_a_size_and_never_turned_is_told(tmp_path):
    model = Scaled(lambda x: 3.0 if math.log2(x.shape[1]) > 30.5 else 2.0)
    result = torchport.export(model, tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X, strategy="trace")
    assert [note for note in result.proof.notes if note.startswith("weak: test_verify_forks.py:") and "may be a size" in note]


def test_a_number_made_of_a_size_that_made_no_difference_is_told(tmp_path):
    model = Scaled(lambda x: 2.0 + int(math.log2(x.shape[1]) / 30))
    result = torchport.export(model, tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X, strategy="trace")
    (note,) = [one for one in result.notes if one.startswith("weak:")]
    assert "test_verify_forks.py:" in note
    assert "a Python float, which depends on sizes of the inputs" in note
    assert "made no difference at the sizes that were tried" in note


@pytest.mark.filterwarnings("error")
def test_settings_and_kinds_are_no_branches_on_sizes(tmp_path):
    class Settings(nn.Module):
        def __init__(self):
            super().__init__()
            self.kind = {"deep": True}
            self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Identity()])

        def scaled(self, x, factor=None, twice=False, mode="plain"):
            factor = 2.0 if factor is None else factor
            again = twice or self.kind.get("deep")
            if mode == "other" or x.dtype == torch.float64 or x.dim() == 5 or not again:
                return x * 7
            return x * factor / math.sqrt(x.shape[-1])

        def forward(self, x):
            if self.training and not torch.jit.is_scripting():
                return x
            for layer in self.layers:
                x = layer(x) if isinstance(layer, nn.Linear) else x
            return self.scaled(x)

    result = torchport.export(Settings(), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X)
    assert not result.proof.notes
    assert max(case.sizes["time"] for case in result.proof.cases) < 40 * 37


def test_what_is_installed_counts_where_it_holds_a_module(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages" / "layers_of_others"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "import math\nimport torch\n\n\nclass Long(torch.nn.Module):\n    def forward(self, x):\n"
        "        if math.log2(x.shape[1]) > 8.5:\n            return x * 3\n        return x * 2\n"
    )
    monkeypatch.syspath_prepend(str(folder.parent))
    from layers_of_others import Long

    with pytest.raises(ProofError):
        torchport.export(Long(), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X, strategy="trace")


def test_a_tracer_of_the_user_is_put_back(tmp_path):
    seen = []

    def tracer(frame, event, argument):
        seen.append(event)

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        torchport.export(Scaled(lambda x: 2.0), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X)
        after = sys.gettrace()
    finally:
        sys.settrace(before)
    assert after is tracer
    assert seen


def test_a_decision_within_another_is_tried_where_it_is_met(tmp_path):
    model = Deciding(lambda x: x.shape[0] > 2 and x.shape[1] > 150)
    with pytest.raises(ProofError) as caught:
        torchport.export(model, tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X, strategy="trace")
    assert {finding.sizes["batch"] for finding in caught.value.proof.findings} == {3}


@pytest.mark.parametrize("suffix", ["onnx", "ts", "pt2"])
def test_no_format_is_handed_over_with_one_way_only(tmp_path, suffix):
    class Both(nn.Module):
        def forward(self, x):
            if x.shape[1] < 500:
                return x * 2
            return x * 3

    path = tmp_path / f"m.{suffix}"
    if suffix != "ts":
        with pytest.raises(ProofError, match="time 500"):
            torchport.export(Both(), path, input_example=torch.randn(3, 37, 4), input_types=X)
        return
    torchport.export(Both(), path, input_example=torch.randn(3, 37, 4), input_types=X)
    x = torch.randn(1, 501, 4)
    with torchport.load(path) as loaded:
        torch.testing.assert_close(torch.tensor(next(iter(loaded({"x": x}).values()))), x * 3)


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_where_both_ways_agree_at_the_very_turn_sizes_farther_on_tell(tmp_path, suffix):
    class Padded(nn.Module):
        def forward(self, x):
            return nn.functional.pad(x, (0, 0, 0, max(0, 150 - x.shape[1])))

    path = tmp_path / f"m.{suffix}"
    try:
        torchport.export(Padded(), path, input_example=torch.randn(3, 37, 4), input_types=X)
    except TorchportError:
        return
    x = torch.randn(1, 250, 4)
    with torchport.load(path) as loaded:
        torch.testing.assert_close(torch.tensor(next(iter(loaded({"x": x}).values()))), x)


def test_code_that_asks_for_the_very_type_of_a_size_is_answered(tmp_path):
    class Strict(nn.Module):
        def forward(self, x):
            assert torch.jit.is_tracing() or type(x.shape[1]) is int
            return x * 2

    assert torchport.export(Strict(), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X).proof.ok


def test_a_decision_whose_ways_agree_is_no_fault(tmp_path):
    class Agreeing(nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[1] < 200 else x + x

    result = torchport.export(Agreeing(), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X)
    assert any(case.sizes["time"] >= 200 for case in result.proof.cases)
    assert not any("weak" in note for note in result.notes)


def test_a_cut_that_no_size_can_reach_is_not_told(tmp_path):
    class Shifted(nn.Module):
        def forward(self, x):
            return nn.functional.pad(x, (0, 0, 1, 1))[:, 1:]

    result = torchport.export(Shifted(), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X)
    assert not result.proof.notes


@pytest.mark.parametrize("lengths", [[7, 5, 2], [7, 7, 4]])
def test_cuts_that_lengths_say_are_not_told(tmp_path, lengths):
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(4, 6, batch_first=True)

        def forward(self, x, x_len):
            packed = nn.utils.rnn.pack_padded_sequence(x, x_len, batch_first=True, enforce_sorted=False)
            return nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    types = {"x": "batch time 4", "x_len": torchport.NeuralType(("batch",), LengthsType())}
    result = torchport.export(Packed(), tmp_path / "m.onnx", input_example=(torch.randn(3, 7, 4), torch.tensor(lengths)), input_types=types)
    assert not [note for note in result.proof.notes if "decides by" in note]


def test_where_the_model_refuses_past_a_threshold_the_range_ends_there(tmp_path):
    class Limited(nn.Module):
        def forward(self, x):
            if x.shape[1] > 700:
                raise ValueError("too long")
            return x * 2

    for suffix in (".onnx", ".ts"):
        found = torchport.export(Limited(), tmp_path / f"m{suffix}", input_example=torch.randn(3, 37, 4), input_types=X)
        assert found.proof.ok
        assert found.proof.ranges == {"time": (1, 700)}


def test_sizes_past_a_threshold_too_large_to_run_are_not_promised(tmp_path):
    class Far(nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[1] < 10**9 else x * 3

    result = torchport.export(Far(), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X)
    low, high = result.proof.ranges["time"]
    assert low == 1
    assert high == max(case.sizes["time"] for case in result.proof.cases) > 1000
    assert any("too large to be tried" in note for note in result.notes)


def test_a_batch_too_large_to_run_is_told_and_no_batch_tried_for_it(tmp_path):
    class Split(nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[0] < 10**9 else x * 3

    result = torchport.export(Split(), tmp_path / "m.onnx", input_example=torch.randn(3, 37, 4), input_types=X)
    assert "batch" not in result.proof.ranges
    assert max(case.sizes["batch"] for case in result.proof.cases) < 40
    assert any("decides otherwise from about batch 1000000000" in note for note in result.notes)


CUTS = {
    "an end": (lambda x: x[:, :300] * 2, 301),
    "a start": (lambda x: torch.cat([x, x[:, 250:]], 1), 251),
    "chunks": (lambda x: torch.cat([part - part.mean(1, keepdim=True) for part in x.split(200, 1)], 1), 201),
    "an end behind an ellipsis": (lambda x: x.transpose(1, 2)[..., :300] * 2, 301),
}


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize(("suffix", "strategy"), [("onnx", "trace"), ("onnx", "torch_export"), ("ts", "trace"), ("pt2", "torch_export")])
def test_a_size_past_every_number_that_an_axis_is_cut_at_is_tried(tmp_path, name, suffix, strategy):
    class Cutting(nn.Module):
        def forward(self, x):
            return cut(x)

    cut, size = CUTS[name]
    example = torch.randn(3, 12, 4)
    try:
        proof = torchport.export(Cutting(), tmp_path / f"m.{suffix}", input_example=example, input_types=X, strategy=strategy).proof
    except ProofError as error:
        proof = error.proof
        if {finding.sizes["time"] for finding in proof.findings} == {size}:
            assert "decides by a size" in proof.findings[0].cause
    except TorchportError:
        return  # the exporter itself sees the number, and refuses
    assert size in {case.sizes["time"] for case in proof.cases}


def test_a_cut_at_a_share_of_the_size_is_no_decision():
    def model(x):
        return x[:, : x.shape[1] // 2], x[:, -3:], x[:, x.shape[1] // 3 :], x.split(max(1, x.shape[1] // 2), 1)

    assert [fork for fork in forks(watched(model, *SHAPES)) if "a cut" in str(fork.key)] == []


def watched(model, *shapes):
    seen = {}
    for shape in shapes:
        with ForkWatch() as watch:
            model(torch.zeros(shape))
        seen[("batch", shape[0]), ("time", shape[1])] = watch.decisions
    return seen


SHAPES = [(3, 37, 4), (1, 1, 4), (2, 12, 4), (5, 46, 4), (1, 112, 4)]


def test_a_loop_is_one_decision():
    def model(x):
        for step in range(x.shape[1]):
            if step <= x.shape[1] - 200:
                return x
        return x

    assert len(forks(watched(model, *SHAPES))) == 1


def test_a_decision_that_sizes_do_not_move_is_left_alone():
    def model(x):
        return x if x.shape[2] == 4 and x.dim() == 3 and x.shape[0] == x.clone().shape[0] else -x

    assert forks(watched(model, *SHAPES)) == []


def test_one_line_used_twice_is_two_decisions():
    def long(size):
        return size > 100

    def model(x):
        return (x, long(x.shape[1]), long(x.shape[0]))

    seen = watched(model, *SHAPES)
    assert [fork.outcome for fork in forks(seen)] == [False]  # the batch; the time went both ways
    assert lines_both_ways(seen) == frozenset()


@given(threshold=st.integers(1, 4999), strict=st.booleans(), stride=st.integers(1, 8))
def test_the_other_side_of_any_threshold_is_found_in_a_few_sizes(threshold, strict, stride):
    def way(frames):
        return frames > threshold if strict else frames >= threshold

    def model(x):
        return way(x.shape[1] // stride)

    assume(way(5000 * stride) and not way(1 // stride))
    seen, pending = {}, list(SHAPES)
    while pending:
        seen |= watched(model, pending.pop())
        if not pending and (found := forks(seen)):
            times = (sizes["time"] for sizes in next_sizes(found[0], {"batch": 1, "time": 37}, {"batch": 1, "time": 1}))
            pending.append((1, next(time for time in times if (("batch", 1), ("time", time)) not in seen), 4))
    assert len(seen) <= len(SHAPES) + 5


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["+", "-", "*", "//", "%", "/", "**0*"]))
def test_watched_sizes_count_like_plain_ones(a, b, operation):
    with ForkWatch():
        size = torch.zeros(a, 0).shape[0]
    for text in (f"size {operation} b", f"b {operation} size", f"-size {operation} b"):
        watched_value, plain = (eval(text, {"size": one, "b": b}) for one in (size, a))
        assert watched_value == plain
        assert isinstance(watched_value, type(plain))
    assert hash(size) == hash(a)
    assert f"{size}" == f"{a}"
    assert (size < b, size <= b, size == b, size != b, bool(size)) == (a < b, a <= b, a == b, a != b, bool(a))
    assert size != "a"


def test_a_watched_size_that_is_kept_becomes_a_plain_number_in_a_copy():
    with ForkWatch():
        size = torch.zeros(3).shape[0]
    assert type(pickle.loads(pickle.dumps(size))) is int
    assert type(copy.deepcopy(size)) is int
    assert type(copy.copy(size / 2)) is float


def test_a_branch_that_agrees_at_the_size_that_turns_it_is_tried_at_twice_the_size(tmp_path):
    """The mean over blocks of 48 is the mean over all where there is one block."""

    class Blocks(nn.Module):
        def forward(self, x):
            block = math.gcd(x.shape[1], 48)
            if block > 16:
                return x.unflatten(1, (-1, block)).mean(2).sum(1)
            return x.mean(1)

    for strategy in ("trace", "torch_export"):
        with pytest.raises(ProofError):
            torchport.export(Blocks(), tmp_path / "m.onnx", input_types={"x": "batch time 4"}, strategy=strategy)


def test_a_cut_that_every_size_is_past_is_no_decision(tmp_path):
    """The relative shift of Transformer-XL: an axis of twice the time is cut at one."""

    class Shifted(nn.Module):
        def forward(self, x):
            batch, time, _ = x.shape
            scores = nn.functional.pad(x @ x.new_ones(4, 2 * time - 1), (1, 0)).view(batch, -1, time)[:, 1:]
            return scores.reshape(batch, time, 2 * time - 1)[:, :, :time]

    result = torchport.export(Shifted(), tmp_path / "m.onnx", input_types={"x": "batch time 4"})
    assert not [note for note in result.notes if note.startswith("weak")]


FAST_PATHS = {
    "two remainders": (lambda x: x.shape[2] % 32 == 0 and x.shape[3] % 32 == 0, "batch 1 height width"),
    "three remainders": (lambda x: x.shape[0] % 2 == 0 and x.shape[2] % 32 == 0 and x.shape[3] % 48 == 0, "batch 1 height width"),
    "a remainder by bits": (lambda x: x.shape[2] & 63 == 0, "batch 1 height width"),
}


@pytest.mark.parametrize("name", FAST_PATHS)
def test_a_fast_path_for_sizes_that_fit_is_tried(tmp_path, name):
    fits, axes = FAST_PATHS[name]

    class Fast(nn.Module):
        def forward(self, x):
            if fits(x):
                return x * 2
            return x * 3

    with pytest.raises(ProofError):
        torchport.export(Fast(), tmp_path / "m.onnx", input_types={"x": axes}, strategy="trace")
