"""Two axes that share one room: found as a sum, and only where it is one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

INPUTS = {"x": ("batch time 4", "float32"), "cache": ("batch past 4", "float32")}
OUTPUTS = {"y": ("batch total 4", "float32")}
SIZES = {"batch": 2, "time": 13, "past": 9}


class Decoder(nn.Module):
    """Learned positions of steps that follow those in a cache."""

    def __init__(self, rows, offset=0):
        super().__init__()
        torch.manual_seed(0)
        self.offset = offset
        self.positions = nn.Embedding(rows, 4)

    def forward(self, x, cache):
        start = cache.shape[1] + self.offset
        return torch.cat([cache, x + self.positions(torch.arange(start, start + x.shape[1]))], 1)


class Joined(Decoder):
    """Two inputs, one after the other, in one table that is cut to both."""

    def forward(self, x, cache):
        joined = torch.cat([cache, x], 1)
        return joined + self.positions.weight[: joined.shape[1]]


class Apart(Decoder):
    """A table for each of two inputs."""

    def forward(self, x, cache):
        tables = (self.positions(torch.arange(one.shape[1])) for one in (x, cache))
        return torch.cat([one + table for one, table in zip((x, cache), tables, strict=True)], 1)


class Rounded(Decoder):
    """A cache that takes rows by eight: no plain sum."""

    def forward(self, x, cache):
        start = -(-cache.shape[1] // 8) * 8
        return torch.cat([cache, x + self.positions(torch.arange(start, start + x.shape[1]))], 1)


class Short(Decoder):
    """The new steps have a limit of their own, too."""

    def forward(self, x, cache):
        if x.shape[1] > 30:
            raise ValueError("too many steps at once")
        return super().forward(x, cache)


@pytest.mark.parametrize(
    ("model", "most"),
    [(Decoder(62), 62), (Decoder(62, 2), 60), (Joined(62), 62), (Decoder(46), 46), (Decoder(29), 29)],
)
def test_steps_and_a_cache_in_one_table_share_its_rows(bench, model, most):
    one = bench(model, INPUTS, OUTPUTS, SIZES)
    reference = one.reference()
    assert reference.limits.sentences[-1] == f"past + time must be at most {most}"
    assert f"past + time: at most {most}" in reference.notes
    assert reference.ranges == {"past": (1, most - 1), "time": (1, most - 1)}
    sums = {case.sizes["past"] + case.sizes["time"] for case in reference.cases}
    assert max(sums) == most
    assert {(1, most - 1), (most - 1, 1)} <= {(case.sizes["past"], case.sizes["time"]) for case in reference.cases}
    assert any(refusal.sizes["past"] + refusal.sizes["time"] == most + 1 for refusal in reference.refusals)
    proof = one.proof()
    assert not [finding for finding in proof.findings if finding.kind != "range"], proof.table()


@pytest.mark.parametrize(("model", "most"), [(Decoder(4000), 4000), (Decoder(4000, 2), 3998)])
def test_a_shared_table_is_found_however_far_its_end_is(bench, model, most):
    one = bench(model, INPUTS, OUTPUTS, SIZES)
    reference = one.reference()
    assert reference.limits.sentences[-1] == f"past + time must be at most {most}"
    assert reference.ranges == {"past": (1, most - 1), "time": (1, most - 1)}
    assert one.proof().findings[0].kind == "range"  # a bare trace checks nothing: one step past the end finds no row and is gone


def test_a_shared_table_that_the_model_makes_longer_is_told(bench):
    class Growing(Decoder):
        def forward(self, x, cache):
            past, end = cache.shape[1], cache.shape[1] + x.shape[1]
            table = self.positions.weight if end <= 4000 else self.positions.weight.repeat(2, 1)
            return torch.cat([cache, x + table[torch.arange(past, end)]], 1)

    reference = bench(Growing(4000), INPUTS, OUTPUTS, SIZES).reference()
    assert not reference.limits
    assert any("a table of 4000 rows ends at past + time 4000" in note for note in reference.notes)


def test_ids_of_words_share_no_table(bench):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.words = nn.Embedding(4000, 4)

        def forward(self, x, cache):
            return torch.cat([cache, self.words(x)], 1)

    inputs = {"x": ("batch time", "int64"), "cache": ("batch past 4", "float32")}
    reference = bench(Words(), inputs, OUTPUTS, SIZES).reference()
    assert not reference.limits
    assert not reference.notes


def test_two_tables_are_two_ranges(bench):
    reference = bench(Apart(60), INPUTS, OUTPUTS, SIZES).reference()
    assert not reference.limits.sums
    assert reference.ranges == {"past": (1, 60), "time": (1, 60)}


def test_an_axis_that_ends_for_a_reason_of_its_own_ends_there(bench):
    reference = bench(Short(90), INPUTS, OUTPUTS, SIZES).reference()
    assert [room.sentence for room in reference.limits.sums] == ["past + time must be at most 90"]
    assert reference.ranges == {"past": (1, 89), "time": (1, 30)}


@pytest.mark.parametrize(("rows", "own"), [(90, 45), (200, 95)])
def test_an_end_of_its_own_that_shows_only_in_small_company_is_found(bench, rows, own):
    class Brief(Decoder):
        def forward(self, x, cache):
            if cache.shape[1] > own:
                raise ValueError("too long a cache")
            return super().forward(x, cache)

    reference = bench(Brief(rows), INPUTS, OUTPUTS, SIZES).reference()
    assert [room.sentence for room in reference.limits.sums] == [f"past + time must be at most {rows}"]
    assert reference.ranges == {"past": (1, own), "time": (1, rows - 1)}
    assert not any("weak" in note for note in reference.notes)


def test_what_is_no_plain_sum_is_not_stated_as_one(bench):
    assert not bench(Rounded(62), INPUTS, OUTPUTS, SIZES).reference().limits.sums


def test_a_room_that_three_share_is_not_that_of_two(bench):
    class Three(Decoder):
        def forward(self, x, cache, prompt):
            joined = torch.cat([prompt, cache, x], 1)
            return joined + self.positions.weight[: joined.shape[1]]

    inputs = {**INPUTS, "prompt": ("batch first 4", "float32")}
    reference = bench(Three(80), inputs, OUTPUTS, {**SIZES, "first": 7}).reference()
    assert not reference.limits.sums


def test_a_third_axis_that_takes_no_part_is_left_as_it_is(bench):
    class Beside(Decoder):
        def forward(self, x, cache, prompt):
            return super().forward(x, cache) + prompt.sum(1, keepdim=True)

    inputs = {**INPUTS, "prompt": ("batch first 4", "float32")}
    reference = bench(Beside(60), inputs, OUTPUTS, {**SIZES, "first": 7}).reference()
    assert reference.limits.sentences[-1] == "past + time must be at most 60"
    assert "first" not in reference.ranges


def test_a_declared_end_of_one_is_kept(bench):
    inputs = {"x": ("batch time{max=20} 4", "float32"), "cache": ("batch past 4", "float32")}
    reference = bench(Decoder(62), inputs, OUTPUTS, SIZES).reference()
    assert [room.sentence for room in reference.limits.sums] == ["past + time must be at most 62"]
    assert reference.ranges["past"] == (1, 61)
    assert all(case.sizes["time"] <= 20 for case in reference.cases)
