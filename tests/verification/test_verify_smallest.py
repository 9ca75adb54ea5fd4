"""A failing case is shrunk to the smallest sizes that still fail."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_verify_proof import SIZES, Of, X, Y
from torch import nn

from torchport.verification import prove, smallest_failure
from torchport.verification.smallest import shrink

ONES = {"batch": 1, "time": 1}


class Limited(nn.Module):
    """Right up to ``last`` frames, and refused below ``least``; the exporters keep the branch of the traced size."""

    def __init__(self, last, least=1):
        super().__init__()
        self.last, self.least = last, least

    def forward(self, x):
        if x.shape[2] < self.least:
            raise ValueError(f"fewer than {self.least} frames")
        return x.sum(1) if x.shape[2] <= self.last else x.sum(1) + 1


def smallest(made, module=None):
    reference = made.reference()
    artifact = made.onnx(module, reference=reference)
    proof = prove(artifact, reference, made.export_options)
    assert not proof.ok
    return smallest_failure(proof, artifact, reference, made.export_options)


def test_the_edge_is_found(bench):
    found = smallest(bench(Limited(40), X, Y, SIZES))
    assert found.cases[0].sizes == {"batch": 1, "time": 41}
    assert [finding.kind for finding in found.findings] == ["value"]
    assert "time 41" in found.table()


def test_sizes_that_the_model_refuses_are_not_failures(bench):
    right = Limited(0, least=5)
    found = smallest(bench(right, X, Y, SIZES), Of(lambda x: x.sum(1)))
    assert found.cases[0].sizes == {"batch": 1, "time": 5}


def test_steps_of_an_axis_are_kept(bench):
    made = bench(Limited(40), {"x": ("batch 4 time{multiple_of=4}", "float32")}, Y, {"batch": 3, "time": 36})
    assert smallest(made).cases[0].sizes == {"batch": 1, "time": 44}


def test_a_crash_of_the_runtime_is_shrunk_too(bench):
    rows = torch.randn(200, 4)
    held = bench(Of(lambda x: x.transpose(1, 2) + rows[: x.shape[2]]), X, {"y": ("batch time 4", "float32")}, SIZES)
    found = smallest(held, Of(lambda x: x.transpose(1, 2) + rows[: x.shape[2]][:40]))
    assert found.cases[0].sizes == {"batch": 1, "time": 41}
    assert found.findings[0].kind == "runtime"


def test_a_model_without_dynamic_axes_fails_at_its_only_size(bench):
    made = bench(Of(lambda x: x.sum(1)), {"x": ("3 4 5", "float32")}, {"y": ("3 5", "float32")}, {})
    found = smallest(made, Of(lambda x: x.mean(1)))
    assert dict(found.cases[0].sizes) == {}


def test_what_is_wrong_with_the_file_alone_has_no_sizes(bench):
    made = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    reference = made.reference()
    artifact = made.onnx(reference=reference)
    proof = prove(artifact, reference, made.export_options)
    assert proof.ok
    assert smallest_failure(proof, artifact, reference, made.export_options) is None


@pytest.mark.parametrize("seed", range(3))
def test_what_fails_at_one_small_size_only_is_met(seed):
    odd = 2 + seed
    assert shrink({"time": 100}, {"time": 1}, {"time": 1}, lambda sizes: sizes["time"] in (odd, 100)) == {"time": odd}


AXES = st.dictionaries(st.sampled_from(["batch", "time", "width"]), st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 60)))


@given(AXES, st.data())
def test_shrunk_sizes_fail_and_no_axis_goes_lower(axes, data):
    steps = {name: step for name, (step, _, _) in axes.items()}
    least = {name: step * low for name, (step, low, _) in axes.items()}
    start = {name: least[name] + steps[name] * more for name, (_, _, more) in axes.items()}
    limits = {name: data.draw(st.integers(0, size)) for name, size in start.items()}
    asked = []

    def fails(sizes):
        assert all(size >= least[name] and size % steps[name] == 0 for name, size in sizes.items())
        assert sizes not in asked
        asked.append(dict(sizes))
        return all(sizes[name] >= limit for name, limit in limits.items())

    found = shrink(start, least, steps, fails)
    assert all(found[name] >= limits[name] for name in found)
    for name in found:
        assert found[name] == least[name] or found[name] - steps[name] < limits[name]


def test_the_search_ends():
    asked = []
    shrink({"a": 10**9, "b": 10**9}, {"a": 1, "b": 1}, {"a": 1, "b": 1}, lambda sizes: asked.append(sizes) or sum(sizes.values()) % 7 == 3)
    assert len(asked) <= 200
