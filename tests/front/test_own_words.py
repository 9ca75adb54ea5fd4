"""While a model is exported, what torch says of torchport's own calls stays away; what the model's code says comes through, once."""

import threading
import warnings

import pytest
import torch
from torch import nn

import torchport
from torchport._own_words import own_words_only
from torchport.errors import ReferenceRunError


class Spread(nn.Module):
    """torch's C++ code warns where a row has one element."""

    def forward(self, x):
        return x.std(1)


class Implicit(nn.Module):
    """torch's Python code warns, in the name of its caller."""

    def forward(self, x):
        return torch.nn.functional.softmax(x)


class Speaking(nn.Module):
    def forward(self, x):
        warnings.warn("the model's own words", stacklevel=1)
        return x + 1


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
@pytest.mark.parametrize("model", [Spread(), Implicit()], ids=["from C++", "from Python"])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_torch_says_of_other_sizes_stays_away(tmp_path, model, suffix):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        result = torchport.export(model, tmp_path / f"m.{suffix}", input_types={"x": "batch time"})
        torchport.verify(result.parts[0].artifact.path, model, input_types={"x": "batch time"})
    assert [str(one.message) for one in heard] == []
    with pytest.warns(UserWarning, match=r"degrees of freedom|Implicit dimension"):  # their own call shows it
        model(torch.ones(2, 1))


def test_what_the_model_says_comes_through_once(tmp_path):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        torchport.export(Speaking(), tmp_path / "m.onnx", input_types={"x": "batch time"})
    assert [(str(one.message), one.filename) for one in heard] == [("the model's own words", __file__)]


def test_the_users_own_filters_hold(tmp_path):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("ignore")
        torchport.export(Speaking(), tmp_path / "m.onnx", input_types={"x": "batch time"})
    assert heard == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ReferenceRunError, match="the model's own words"):
            torchport.export(Speaking(), tmp_path / "n.onnx", input_types={"x": "batch time"})


def test_other_threads_are_heard_and_nothing_stays_behind():
    filters, show = list(warnings.filters), warnings.showwarning

    def speak():
        warnings.warn("(Triggered internally at here)", stacklevel=1)

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with own_words_only():
            speak()
            other = threading.Thread(target=speak)
            other.start()
            other.join()
    assert len(heard) == 1
    assert (list(warnings.filters), warnings.showwarning) == (filters, show)


def test_verbose_lets_everything_through():
    with pytest.warns(UserWarning, match="Triggered"), own_words_only(verbose=True):
        warnings.warn("(Triggered internally at here)", stacklevel=1)
