"""The zoo of planted faults, through ONNX: none is handed over wrong, every correct twin is proved, and every fault is one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from zoo import FAULTS
from zoo._bare import bare
from zoo._judge import differs, judge, mixes_rows
from zoo._trials import try_fault, try_twin

KNOWN_MISSED: dict[str, str] = {}
"""Faults that are handed over wrong today; each goes from here as soon as it is found."""

KNOWN_ALARMS: dict[str, str] = {}
"""What is right as any exporter writes it, and refused today."""

REFUSED_WHEN_TRACED = {"split-in-chunks"}
"""Faults that the next strategy is in danger of handing over."""

RIGHT_WHEN_TRACED = {"time-major-recurrence", "hook-on-the-model"}
"""Faults of other exporters than the one that the test below asks."""


def named(*kinds):
    return [name for name, fault in FAULTS.items() if fault.kind in kinds and "onnx" in fault.formats]


def marked(names, known):
    marks = {name: pytest.mark.xfail(strict=True, reason=known[name]) for name in names if name in known}
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]


@pytest.mark.parametrize("name", marked(named("capture", "artifact", "rows", "unservable"), KNOWN_MISSED))
def test_no_fault_is_handed_over_wrong(name):
    fault = FAULTS[name]
    # By `auto`, a traced fault goes on to torch.export, which takes seconds: the benchmark runs that.
    traced = fault.kind in ("capture", "artifact") and name not in REFUSED_WHEN_TRACED
    found = try_fault(fault, 0, "onnx", "trace" if traced else "auto")
    assert found.verdict in ("detected", "right"), f"{found.verdict}: {found.reason}"


@pytest.mark.parametrize("name", named("capture", "artifact", "rows", "unservable", "trap"))
def test_every_twin_is_proved(name):
    found = try_twin(FAULTS[name], 0, "onnx", "auto")
    assert found.verdict == "proved", f"{found.verdict}: {found.reason}"


@pytest.mark.parametrize("name", marked(named("trap"), KNOWN_ALARMS))
def test_what_only_looks_like_a_fault_is_handed_over(name):
    found = try_fault(FAULTS[name], 0, "onnx", "auto")
    assert found.verdict == "right", f"{found.verdict}: {found.reason}"


@pytest.mark.parametrize("name", [name for name in named("capture") if name not in RIGHT_WHEN_TRACED])
def test_a_plain_export_of_a_fault_is_wrong_or_refused(name, tmp_path):
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            bare(FAULTS[name], "faulty", 0, "onnx", "trace", path)
        except Exception:
            return
    assert judge(FAULTS[name], path, "faulty", 0)


@pytest.mark.parametrize("name", named("rows"))
def test_rows_of_a_fault_depend_on_their_neighbours_and_those_of_its_twin_do_not(name):
    assert mixes_rows(FAULTS[name], "faulty", 0)
    assert not mixes_rows(FAULTS[name], "twin", 0)


def test_what_is_known_is_of_the_zoo():
    assert set(KNOWN_MISSED) | set(KNOWN_ALARMS) <= set(FAULTS)


def test_weights_and_examples_are_drawn_anew_with_each_seed():
    fault = FAULTS["weight-scaled"]
    same, other = (torch.cat([one.flatten() for one in fault.model("twin", seed).parameters()]) for seed in (0, 1))
    assert not torch.equal(same, other)
    assert torch.equal(same, torch.cat([one.flatten() for one in fault.model("faulty", 0).parameters()]))
    assert not torch.equal(fault.example(0)[0], fault.example(1)[0])
    assert torch.equal(fault.example(0)[0], fault.example(0)[0])


@pytest.mark.parametrize(
    ("expected", "got", "says"),
    [
        ([1.0, 2.0], [1.0, 2.0], ""),
        ([1.0, 2.0], [1.0, 2.1], "off by"),
        ([1.0, float("nan")], [1.0, 2.0], "NaN"),
        ([1.0, float("inf")], [1.0, float("-inf")], "infinity"),
        ([1.0, float("nan")], [1.0, float("nan")], ""),
        ([1.0, 2.0], [[1.0, 2.0]], "[1, 2], not [2]"),
        ([1, 2], [1, 3], "1 of 2"),
        ([1, 2], [1.0, 2.0], "float64, not int64"),
    ],
)
def test_the_judge_sees_values_shapes_dtypes_and_nan(expected, got, says):
    found = differs([np.array(expected)], [np.array(got)], 1e-4)
    assert says in found if says else not found
