"""Authors of formats and replacements assert what is promised; whatever is not kept is named."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

import torchport.testing
from torchport.emit import formats
from torchport.emit.onnx import Onnx
from torchport.errors import ExtensionError, OptionError, TorchportError, UnknownNameError
from torchport.prepare import PairReplacement, Replacement, kept_as_found, replacements, state_digest
from torchport.testing import assert_format, assert_replacement
from torchport.verification import runtimes
from torchport.verification.runtimes.onnxruntime import OnnxRuntime


def test_the_promises_are_public_names():
    assert {"assert_format", "assert_replacement", "ExtensionError"} <= set(torchport.testing.__all__)
    assert issubclass(ExtensionError, AssertionError)
    assert issubclass(ExtensionError, TorchportError)


def test_a_registered_format_keeps_them():
    assert_format("onnx", strategies=["trace"])


class Other(Onnx):
    name = "other"
    suffixes = (".other",)
    strategies = ("trace",)
    runtime = "other"
    change = staticmethod(lambda path: None)

    def _write(self, captured, path, options, metadata):
        written = super()._write(captured, path, options, metadata)
        self.change(path)
        return written


class OtherRuntime(OnnxRuntime):
    name = "other"
    suffixes = (".other",)


@pytest.fixture
def other():
    """Registers a format for the time of a test."""
    added = []

    def add(**changes):
        formats.add("other", type("Changed", (Other,), changes)())
        added.append(formats)
        runtimes.add("other", OtherRuntime())
        added.append(runtimes)

    yield add
    for registry in added:
        registry.remove("other")


def broken(name="other"):
    with pytest.raises(ExtensionError) as caught:
        assert_format(name)
    return str(caught.value)


COUNT = itertools.count()


def stamp(path):
    import onnx

    model = onnx.load(path)
    model.doc_string = f"written by export {next(COUNT)}"
    onnx.save(model, path)


def leak(path):
    import onnx

    model = onnx.load(path)
    model.doc_string = str(Path(path).parent)
    onnx.save(model, path)


def test_a_format_that_forgets_what_it_shall_say(other):
    other(read_metadata=lambda self, path: {})
    assert "read_metadata gives back" in broken()


def test_a_format_that_writes_other_bytes_each_time(other):
    other(change=staticmethod(stamp), read_metadata=lambda self, path: dict.fromkeys(torchport.testing._extensions._STATED, "x"))
    assert "the same model gives the same bytes" in broken()
    assert_format("other", same_bytes=False)


def test_a_format_that_writes_a_path(other):
    other(change=staticmethod(leak), read_metadata=lambda self, path: dict.fromkeys(torchport.testing._extensions._STATED, "x"))
    assert "holds no path of the machine" in broken()


def test_a_format_whose_extension_is_in_upper_case(other):
    other(suffixes=(".Other",))
    assert "in lower case" in broken()


def test_a_format_whose_extension_is_somebody_elses(other):
    other(suffixes=(".onnx",))
    assert ".onnx is its own" in broken()


def test_a_format_that_cannot_write(other):
    def fail(self, *args):
        raise RuntimeError("no paper")

    other(_write=fail)
    assert "no paper" in broken()


def test_an_unknown_format():
    with pytest.raises(UnknownNameError):
        assert_format("nothing")


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x * 2 * self.weight


class New(nn.Module):
    def __init__(self, weight, factor=2):
        super().__init__()
        self.weight, self.factor = weight, factor

    def forward(self, x):
        return self.factor * x * self.weight


class Right(Replacement):
    name = "twice"

    def matches(self, module):
        return type(module) is Twice

    def replace(self, module):
        return New(module.weight)

    def probe(self, module):
        return (torch.randn(2, 3),)


def test_a_right_replacement_keeps_them_and_leaves_nothing_behind():
    module, known = Twice(), set(replacements)
    before = state_digest(module)
    assert_replacement(Right(), module, [torch.ones(2, 3)])
    assert state_digest(module) == before
    assert_replacement(Right(), module)
    assert set(replacements) == known


def test_registered_replacements_keep_them():
    assert_replacement(replacements["dropout"], nn.Dropout(), [torch.randn(2, 3)])
    assert_replacement(replacements["Conv1d-2d"], nn.Conv1d(3, 4, 3))


def lazily(self, module):
    module.weight.data *= 2
    return New(module.weight)


def stuck(self, module):
    new = New(module.weight)
    new.train = lambda mode=True: new
    return new


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"replace": lambda self, module: New(module.weight, 3)}, "does not compute the same"),
        ({"replace": lambda self, module: module}, "must return a new module"),
        ({"replace": lambda self, module: 1 / 0}, "ZeroDivisionError"),
        ({"replace": lazily}, "the old module is unchanged"),
        ({"replace": stuck}, "has the mode of the old one"),
        ({"matches": lambda self, module: False}, "it matches a module that it is for"),
        ({"matches": lambda self, module: True}, "it matches no plain module"),
        ({"matches": lambda self, module: type(module) in (Twice, New)}, "does not match what it made itself"),
    ],
)
def test_a_wrong_replacement_is_told_what_it_does_not_keep(changes, said):
    wrong, module, known = type("Wrong", (Right,), changes)(), Twice(), set(replacements)
    with kept_as_found(module), pytest.raises(ExtensionError) as caught:
        assert_replacement(wrong, module)
    assert said in str(caught.value)
    assert set(replacements) == known


def test_what_cannot_be_asserted_is_refused():
    with pytest.raises(OptionError, match="no inputs to compare with"):
        assert_replacement(type("Blind", (Right,), {"probe": Replacement.probe})(), Twice())
    folding = next(one for one in replacements.values() if isinstance(one, PairReplacement))
    with pytest.raises(OptionError, match="a pair is folded"):
        assert_replacement(folding, nn.BatchNorm1d(3), [torch.randn(2, 3)])
