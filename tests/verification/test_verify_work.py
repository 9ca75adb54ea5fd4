"""What a run costs is counted, not timed: what is tried is the same on a busy machine."""

from __future__ import annotations

import itertools
import time

import pytest
import torch
from torch import nn

import torchport
from torchport.verification.tables import TableWatch
from torchport.verification.work import seconds_of


class Lost(nn.Module):
    """Makes a plain number of its size: sizes far away are tried, as far as they cost little."""

    def __init__(self):
        super().__init__()
        self.mixed = nn.Linear(64, 64)

    def forward(self, x):
        half = int(x.shape[1]) // 2 + 1
        return self.mixed(x)[:, :half]


def seconds(module, *inputs):
    watch = TableWatch()
    with torch.no_grad(), watch:
        module(*inputs)
    return watch.seconds


def test_a_busy_machine_tries_the_same_sizes(tmp_path, monkeypatch):
    usual = torchport.export(Lost(), tmp_path / "usual.ts", input_types={"x": "batch time 64"})
    clock = itertools.count(0, 1000)
    monkeypatch.setattr(time, "process_time", lambda: float(next(clock)))
    busy = torchport.export(Lost(), tmp_path / "busy.ts", input_types={"x": "batch time 64"})
    assert [case.sizes for case in busy.proof.cases] == [case.sizes for case in usual.proof.cases]
    assert max(case.sizes["time"] for case in usual.proof.cases) >= 370


@pytest.mark.parametrize(
    ("module", "make"),
    [
        (nn.Linear(256, 256), lambda size: (torch.ones(size, 256),)),
        (nn.Conv1d(32, 32, 9), lambda size: (torch.ones(1, 32, size),)),
        (nn.LSTM(64, 64), lambda size: (torch.ones(size, 1, 64),)),
        (nn.GRU(64, 64), lambda size: (torch.ones(size, 1, 64),)),
    ],
)
def test_work_grows_with_the_size(module, make):
    module.eval()
    small, large = seconds(module, *make(2000)), seconds(module, *make(8000))
    assert 3 < large / small < 5
    assert seconds(module, *make(2000)) == small


def test_attention_grows_with_the_square():
    def attend(size):
        query = torch.ones(1, 8, size, 64)
        return seconds(nn.functional.scaled_dot_product_attention, query, query, query)

    assert 12 < attend(4096) / attend(1024) < 18


def test_views_cost_a_call_only():
    whole = torch.ones(1000, 1000)
    assert seconds_of(torch.ops.aten.t.default, (whole,), {}, whole.t()) == pytest.approx(1e-5)
