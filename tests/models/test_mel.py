"""The mel front end, against librosa 0.11.0.

The reference numbers come from ``librosa.feature.melspectrogram(y=y, sr=16000, n_fft=400, hop_length=160, n_mels=40).T`` on `chirp` in
float64, and from ``librosa.filters.mel(sr=16000, n_fft=400, n_mels=40, dtype=np.float64)``.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchport.models._mel import MelFrontEnd, mel_filters

REFERENCE = {
    (0, 0): 0.135292895,
    (0, 6): 1.28215791,
    (0, 14): 0.355144636,
    (12, 5): 14.7878285,
    (12, 6): 1.60381617,
    (12, 13): 0.000309360618,
    (12, 36): 0.0487532826,
    (25, 6): 1.46613781,
    (25, 16): 0.104413111,
    (25, 39): 0.000352914682,
}
FILTERS = {
    (0, 1): 0.00739020936979,
    (0, 2): 0.0124045207854,
    (10, 20): 0.0118794897707,
    (20, 46): 0.00284903815659,
    (39, 190): 0.00121515392248,
}


def chirp(samples: int) -> torch.Tensor:
    t = np.arange(samples) / 16000
    return torch.from_numpy(
        0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * (1000 + 900 * t) * t) + 0.05 * np.cos(2 * np.pi * 6100 * t)
    )


def test_the_filters_are_librosas():
    filters = mel_filters(sample_rate=16000, window=400, bands=40)
    assert filters.shape == (40, 201)
    for place, value in FILTERS.items():
        assert filters[place].item() == pytest.approx(value, rel=1e-10)


def test_the_frames_are_librosas():
    mel = MelFrontEnd()(chirp(4000).float().unsqueeze(0), torch.tensor([4000]))[0]
    assert mel.shape == (26, 40)
    for place, value in REFERENCE.items():
        assert mel[place].item() == pytest.approx(value, rel=1e-5, abs=1e-6 * 14.8)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (159, 1), (160, 2), (161, 2), (16000, 101), (16001, 101)])
def test_there_is_a_frame_at_every_hop(samples, frames):
    front_end = MelFrontEnd()
    assert front_end(torch.zeros(2, samples), torch.tensor([samples, 1])).shape == (2, frames, 40)
    assert front_end.frames(torch.tensor([samples, 1])).tolist() == [frames, 1]


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 1200), padding=st.integers(0, 800), junk=st.floats(-5, 5))
def test_the_padding_changes_no_frame_of_the_row(length, padding, junk):
    front_end = MelFrontEnd()
    row = chirp(length).float().unsqueeze(0)
    alone = front_end(row, torch.tensor([length]))
    padded = front_end(torch.nn.functional.pad(row, (0, padding), value=junk), torch.tensor([length]))
    torch.testing.assert_close(padded[:, : alone.size(1)], alone, rtol=1e-5, atol=1e-5)


def test_it_runs_in_float64():
    mel = MelFrontEnd().double()(chirp(4000).unsqueeze(0), torch.tensor([4000]))
    assert mel.dtype == torch.float64
    assert mel[0, 12, 5].item() == pytest.approx(REFERENCE[12, 5], rel=1e-6)
