"""Runs of pytest within pytest, that leave the imported libraries as they are."""

import sys
from pathlib import Path

import hypothesis  # noqa: F401 - its plugin imports it in every inner run, otherwise
import pytest


class Keeper:
    """Remembers what the inner run imported: pytester takes it out of ``sys.modules`` again, and torch can be imported only once."""

    def __init__(self, folder):
        self.folder = folder
        self.kept = {}

    def pytest_unconfigure(self):
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file is None or not Path(file).is_relative_to(self.folder):
                self.kept[name] = module


@pytest.fixture
def inner(pytester, monkeypatch):
    """pytest with the plugin, in this process."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*args):
        keeper = Keeper(pytester.path)
        result = pytester.runpytest_inprocess("-p", "torchport.testing.plugin", *args, plugins=[keeper])
        for name, module in keeper.kept.items():
            sys.modules.setdefault(name, module)
        return result

    return run
