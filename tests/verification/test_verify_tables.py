"""Tables that end far from the traced size."""

from __future__ import annotations

import torch
from torch import nn

X = {"x": ("batch 4 time", "float32")}
Y = {"y": ("batch time", "float32")}
SIZES = {"batch": 3, "time": 37}


class Sliced(nn.Module):
    """A positional table that a dynamic size slices."""

    def __init__(self, rows):
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("table", torch.randn(1, rows))

    def forward(self, x):
        return x.sum(1) + self.table[:, : x.shape[2]]


class Growing(Sliced):
    """The same, made longer when an input is: what a file cannot do."""

    def forward(self, x):
        table = self.table
        while table.shape[1] < x.shape[2]:
            table = torch.cat([table, table * 2], 1)
        return x.sum(1) + table[:, : x.shape[2]]


class Looked(nn.Module):
    """Learned positions, half as many as frames."""

    def __init__(self, rows):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(rows, 4)

    def forward(self, x):
        x = x[:, :, ::2]
        return (x + self.table(torch.arange(x.shape[2])).T).sum(1)


def test_the_end_of_a_sliced_table_is_found_and_the_file_refuses_past_it(bench):
    model = bench(Sliced(500), X, Y, SIZES)
    reference = model.reference()
    assert reference.ranges == {"time": (1, 500)}
    assert reference.refusals[0].sizes["time"] == 501
    assert any("a table of 500 rows ends" in note for note in reference.notes)
    proof = model.proof()
    assert proof.ok, proof.table()
    assert not any("outside" in note for note in proof.notes)


def test_the_end_of_an_embedding_of_positions_is_found_in_frames(bench):
    model = bench(Looked(512), X, {"y": ("batch frames", "float32")}, SIZES)
    assert model.reference().ranges == {"time": (1, 1024)}


def test_a_table_that_the_model_makes_longer_is_tried_past_its_end(bench):
    model = bench(Growing(200), X, Y, SIZES)
    reference = model.reference()
    assert {200, 201} <= {case.sizes["time"] for case in reference.cases}
    assert reference.ranges == {}
    proof = model.proof()
    assert not proof.ok
    assert min(finding.sizes["time"] for finding in proof.findings) == 201
    assert "`while table.shape[1] < x.shape[2]:`) decides by a size" in proof.findings[0].cause


def test_a_table_far_beyond_the_traced_size_is_reported_when_it_cannot_be_tried(bench):
    reference = bench(Growing(5000), X, Y, SIZES).reference()
    assert any(note.startswith("weak: a table of 5000 rows ends at time 5000") for note in reference.notes)


def test_an_embedding_of_words_is_no_table_of_positions(bench):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(400, 4)

        def forward(self, ids):
            return self.table(ids).sum(2)

    example = {"ids": torch.randint(0, 400, (3, 37))}
    reference = bench(Words(), {"ids": ("batch time", "int64")}, Y, SIZES, example=example).reference()
    assert reference.ranges == {}
    assert reference.notes == ()


def test_a_table_that_ends_where_the_axis_is_declared_to_is_used_as_a_whole(bench):
    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(700, 4))

        def forward(self, x):
            return x + self.table[: x.shape[1]]

    reference = bench(Placed(), {"x": "batch time{max=700} 4"}, {"y": "batch time 4"}, {"batch": 3, "time": 37}).reference()
    assert max(case.sizes["time"] for case in reference.cases) == 700
    assert not reference.refusals
