"""What the collector has to walk over while an export runs."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

import torchport
from torchport._collector import set_aside


class Node:
    """Something in a cycle with itself."""

    def __init__(self) -> None:
        self.me = self


def test_what_was_there_is_set_aside_and_comes_back():
    before = Node()
    with set_aside():
        assert not any(one is before for one in gc.get_objects())
    assert any(one is before for one in gc.get_objects())


def test_what_is_made_meanwhile_is_collected():
    with set_aside():
        reference = weakref.ref(Node())
        gc.collect()
        assert reference() is None


def test_what_was_garbage_before_is_collected_afterwards():
    gc.collect()
    gc.disable()  # so that it is still there when the context begins
    try:
        reference = weakref.ref(Node())
        gc.enable()
        with set_aside():
            gc.collect()
            assert reference() is not None
    finally:
        gc.enable()
    gc.collect()
    assert reference() is None


def test_what_somebody_else_has_set_aside_stays_so():
    mine = Node()  # not the count of all: what is set aside may still die by itself
    gc.freeze()
    try:
        with set_aside():
            assert not any(one is mine for one in gc.get_objects())
        assert not any(one is mine for one in gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_collector_that_is_off_is_left_alone():
    gc.disable()
    try:
        with set_aside():
            assert gc.get_freeze_count() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("fails", [False, True])
def test_an_export_leaves_the_collector_as_it_was(tmp_path, fails):
    seen = []

    class Seeing(torch.nn.Module):
        def forward(self, x):
            seen.append(gc.get_freeze_count() > 0)
            if fails:
                raise ValueError("no")
            return x * 2

    arguments = {"input_example": torch.randn(3, 5), "input_types": {"x": "batch 5"}}
    if fails:
        with pytest.raises(torchport.TorchportError):
            torchport.export(Seeing(), tmp_path / "m.onnx", **arguments)
    else:
        torchport.export(Seeing(), tmp_path / "m.onnx", **arguments)
    assert all(seen)
    assert gc.get_freeze_count() == 0
