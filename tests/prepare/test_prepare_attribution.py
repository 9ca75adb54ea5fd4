"""Warnings of a model that is watched name the model's own line, and are shown as often as the user's filters say."""

import inspect
import warnings

import pytest
import torch
from torch import nn

from torchport.prepare import kept_as_found, watched


class Warning_(nn.Module):
    def forward(self, x):
        warnings.warn("from the model itself", stacklevel=1)
        return nn.functional.softmax(x)  # torch warns of the missing dim, at its caller's line


def run(model):
    with kept_as_found(model), watched():
        model(torch.ones(2, 3))


def lines_of(text):
    source, first = inspect.getsourcelines(Warning_)
    return next(first + place for place, line in enumerate(source) if text in line)


@pytest.fixture(autouse=True)
def _fresh():
    globals().pop("__warningregistry__", None)


def test_each_warning_names_the_models_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(Warning_())
    assert [(one.filename, one.lineno) for one in caught] == [(__file__, lines_of("warnings.warn")), (__file__, lines_of("softmax"))]


def test_warnings_are_shown_as_often_as_the_filters_say():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            run(Warning_())
    assert len(caught) == 2


def test_warnings_that_are_errors_are_raised_in_the_model():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="from the model")
        with pytest.raises(UserWarning, match="Implicit dimension"):
            run(Warning_())


def test_the_way_that_warnings_are_shown_comes_back():
    before = warnings.showwarning
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        shown = warnings.showwarning
        run(Warning_())
        assert warnings.showwarning is shown
        with watched(), kept_as_found(Warning_()), watched(), watched():
            assert warnings.showwarning is not shown
        assert warnings.showwarning is shown
    assert warnings.showwarning is before
