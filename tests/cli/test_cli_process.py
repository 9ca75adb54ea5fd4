"""The command line as a process: what a shell sees."""

import json
import signal
import subprocess
import sys
import time

import pytest

PRINTS = """
import os
import torch


class Loud(torch.nn.Module):
    input_types = {"x": ("batch 2", "float32")}

    def forward(self, x):
        print("from Python")
        os.write(1, b"from below\\n")
        return x + 1
"""

SLOW = """
import pathlib
import time
import torch


class Slow(torch.nn.Module):
    input_types = {"x": ("batch 2", "float32")}

    def forward(self, x):
        pathlib.Path("started").touch()
        time.sleep(60)
        return x
"""


def start(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "torchport", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hears_ctrl_c,
    )


def _hears_ctrl_c():
    """A shell that starts the tests in the background has them ignore SIGINT, and their children inherit it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(folder, *words):
    process = start(folder, *words)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_help_imports_no_torch(tmp_path):
    code = (
        "import sys\nfrom torchport.cli import main\ntry:\n    main()\nexcept SystemExit:\n    print({'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, "export", "--help"], capture_output=True, text=True, check=True)
    assert "--dynamic-axes" in done.stdout
    assert done.stdout.endswith("set()\n")


def test_standard_output_holds_the_document_and_nothing_else(tmp_path):
    (tmp_path / "loud.py").write_text(PRINTS)
    code, out, err = run(tmp_path, "export", "loud.py:Loud", "-o", "m.onnx", "--json")
    assert code == 0, err
    assert json.loads(out)["artifacts"][0]["proof"]["ok"]
    assert "from Python" in err
    assert "from below" in err


def test_a_bad_source_is_exit_code_2_without_a_traceback(tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('at import')\n")
    code, out, err = run(tmp_path, "export", "broken.py:M", "-o", "m.onnx")
    assert (code, out) == (2, "")
    assert "at import" in err
    assert "broken.py:1" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_export_leaves_nothing_behind(tmp_path, number, code):
    (tmp_path / "slow.py").write_text(SLOW)
    process = start(tmp_path, "export", "slow.py:Slow", "-o", "m.onnx")
    end = time.monotonic() + 100
    while not (tmp_path / "started").exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out == ""
    assert "Traceback" not in err
    assert ("interrupted" in err) == (number == signal.SIGINT)
    assert {path.name for path in tmp_path.iterdir()} <= {"slow.py", "started", "__pycache__"}


def test_a_reader_that_goes_away_is_no_error_message(tmp_path):
    process = start(tmp_path, "models", "--json")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_broken_safetensors_are_bad_input(tmp_path):
    (tmp_path / "m.py").write_text("import torch\nclass M(torch.nn.Linear):\n    def __init__(self): super().__init__(4, 4)\n")
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    code, _, err = run(tmp_path, "export", "m.py:M", "-o", "m.onnx", "--weights", "w.safetensors", "--input-type", "input=batch 4")
    assert (code, "w.safetensors" in err, "Traceback" in err) == (2, True, False), err


def test_a_file_that_is_no_artifact_and_a_folder_that_is_missing_are_bad_input(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 50)
    assert run(tmp_path, "inspect", "junk.onnx")[0] == 2
    code, _, err = run(tmp_path, "export", "alexnet-small-random", "-o", "missing/m.onnx")
    assert (code, "create it first" in err) == (2, True), err
