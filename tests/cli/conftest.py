"""A runner for the command line, in a folder of its own with a few models of users."""

import json
import sys
import textwrap

import pytest
from typer.testing import CliRunner

from torchport.cli import app

TOYS = """
    import torch


    class Scale(torch.nn.Module):
        input_types = {"x": ("batch 4 time", "float32")}
        output_types = {"y": "batch 3 time"}

        def __init__(self, bias=True):
            super().__init__()
            self.conv = torch.nn.Conv1d(4, 3, 1, bias=bias)

        def forward(self, x):
            return self.conv(x)


    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 2)

        def forward(self, x):
            return self.linear(x)


    class Loud(Scale):
        def forward(self, x):
            print("a print of the model")
            return super().forward(x)


    class Baked(torch.nn.Module):
        input_types = {"x": ("batch time", "float32")}
        output_types = {"y": "batch time"}

        def forward(self, x):
            return x + torch.arange(int(x.shape[1]))


    class Narrow(Scale):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv1d(4, 3, 3)
            self.pad = torch.nn.ReflectionPad1d(1)

        def forward(self, x):
            return self.conv(self.pad(x))


    class Tunable(Scale):
        def _prepare_for_export(self, *, gain=1, **kwargs):
            if gain != 1:
                raise RuntimeError(f"gain {gain}")


    class Needy(Scale):
        def __init__(self, size):
            super().__init__()


    class Outer:
        class Inner(Scale):
            pass


    def make():
        return Scale(bias=False)


    def nothing():
        return 5


    made = Scale()
    number = 7
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with ``toys.py``; what importing it did is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    (tmp_path / "toys.py").write_text(textwrap.dedent(TOYS))
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def torchport_cli(folder):
    """Runs a command line; the result has ``exit_code``, ``stdout``, ``stderr`` and, for ``--json``, ``document``."""

    def run(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        result.document = json.loads(result.stdout) if "--json" in words and "--help" not in words and result.stdout else None
        return result

    return run
