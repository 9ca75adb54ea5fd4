"""The steps of FastPitch that count frames."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchport.models._fastpitch_aligner import monotonic_alignment
from torchport.models._fastpitch_durations import average_by_counts, frame_counts, repeat_by_counts
from torchport.models._fastpitch_transformer import FeedForwardTransformer, length_mask

rows = st.integers(1, 6).flatmap(
    lambda tokens: st.lists(st.lists(st.integers(0, 5), min_size=tokens, max_size=tokens), min_size=1, max_size=4)
)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_repeating_is_repeat_interleave_of_each_row(counts):
    numbers = torch.tensor(counts)
    x = torch.randn(*numbers.shape, 3)
    repeated, mask, totals = repeat_by_counts(x, numbers)
    assert totals.tolist() == numbers.sum(dim=1).tolist()
    assert repeated.shape[1] == max(1, int(totals.max()))
    for row, total in enumerate(totals.tolist()):
        assert torch.equal(repeated[row, :total], x[row].repeat_interleave(numbers[row], dim=0))
        assert not repeated[row, total:].any()
        assert mask[row].tolist() == [frame < total for frame in range(mask.shape[1])]


@pytest.mark.parametrize(
    ("duration", "pace", "frames"),
    [(2.0, 0.8, 3), (3.0, 2.0, 2), (2.4999, 1.0, 3), (2.499, 1.0, 2), (0.0, 1.0, 0), (60.0, 0.25, 75), (4.0, 100.0, 1), (1.0, -1.0, 4)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_duration_becomes_as_many_frames_in_either_precision(duration, pace, frames, dtype):
    counted = frame_counts(torch.tensor([[duration]], dtype=dtype), torch.tensor([[pace]], dtype=torch.float32).to(dtype), 75)
    assert counted.tolist() == [[frames]]
    assert counted.dtype == torch.int64


@settings(max_examples=40, deadline=None)
@given(rows)
def test_the_average_leaves_out_zeros(counts):
    numbers = torch.tensor(counts)
    values = torch.randint(-3, 4, (len(counts), max(1, int(numbers.sum(dim=1).max())))).float()
    averages = average_by_counts(values, numbers)
    for row, token in itertools.product(range(numbers.shape[0]), range(numbers.shape[1])):
        start = int(numbers[row, :token].sum())
        voiced = [value for value in values[row, start : start + int(numbers[row, token])].tolist() if value]
        assert averages[row, token].item() == pytest.approx(sum(voiced) / max(1, len(voiced)), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(tokens=st.integers(1, 4), extra=st.integers(0, 4), seed=st.integers(0, 1000))
def test_the_alignment_is_the_best_of_all_monotonic_paths(tokens, extra, seed):
    frames = tokens + extra
    probabilities = torch.rand(1, frames, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    path = monotonic_alignment(probabilities, torch.tensor([tokens]), torch.tensor([frames]))[0]
    scores = probabilities[0].log()
    best = max(
        sum(scores[frame, token].item() for frame, token in enumerate(owners))
        for owners in itertools.product(range(tokens), repeat=frames)
        if owners[0] == 0 and owners[-1] == tokens - 1 and all(b - a in (0, 1) for a, b in itertools.pairwise(owners))
    )
    assert path.sum(dim=1).tolist() == [1.0] * frames
    assert (path * scores).sum().item() == pytest.approx(best)


def test_the_alignment_of_a_shorter_row_leaves_its_padding_empty():
    probabilities = torch.rand(2, 7, 4)
    both = monotonic_alignment(probabilities, torch.tensor([4, 2]), torch.tensor([7, 5]))
    alone = monotonic_alignment(probabilities[1:, :5, :2], torch.tensor([2]), torch.tensor([5]))
    assert torch.equal(both[1, :5, :2], alone[0])
    assert not both[1, 5:].any()
    assert not both[1, :, 2:].any()


def test_a_row_without_a_single_valid_place_stays_finite():
    layers = FeedForwardTransformer(layers=2, channels=8, heads=2, head_channels=4, hidden=16, kernel=3, dropout=0.0)
    y = layers(torch.randn(2, 5, 8), length_mask(torch.tensor([5, 0]), 5))
    assert y.isfinite().all()
    assert not y[1].any()
