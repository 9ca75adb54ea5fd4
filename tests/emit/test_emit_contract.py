"""What every registered format promises, over each of its strategies: a newcomer is tested at once."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from prepared_by_hand import Tiny, options, tiny, tiny_feed

import torchport
from torchport.capture import Captured, strategies
from torchport.emit import formats, read_metadata

METADATA = {"torchport.model": "Tiny", "torchport.note": "größer than ASCII"}
PAIRS = [(form, strategy) for form in formats for strategy in formats[form].strategies]


def write(format, strategy, directory, stem="m", prepared=None, **further):
    prepared = prepared or tiny()
    asked = options(f"{stem}{formats[format].suffixes[0]}", **further)
    captured = strategies[strategy].capture(prepared, formats[format].form, asked)
    assert isinstance(captured, Captured), captured
    return formats[format].write(captured, directory, stem, asked, METADATA)


def run_onnxruntime(path, feed):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in feed.items()})


def run_torchscript(path, feed):
    with torch.no_grad():
        return [one.numpy() for one in torch.jit.load(str(path))(**feed)]


def run_exported_program(path, feed):
    with torch.no_grad():
        return [one.numpy() for one in torch.export.load(str(path)).module()(*feed.values())]


RUN = {"onnxruntime": run_onnxruntime, "torchscript": run_torchscript, "exported_program": run_exported_program}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    made = {}

    def get(format, strategy):
        if (format, strategy) not in made:
            made[format, strategy] = write(format, strategy, tmp_path_factory.mktemp(f"{format}_{strategy}"))
        return made[format, strategy]

    return get


def content(path: Path) -> bytes:
    """Everything that a reader of the file sees, archives opened."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return b"\n".join(name.encode() + archive.read(name) for name in archive.namelist())
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize(("format", "strategy"), PAIRS)
@pytest.mark.parametrize(("batch", "time"), [(1, 1), (3, 4), (5, 11)])
def test_an_artifact_equals_the_model_at_other_sizes(written, format, strategy, batch, time):
    torch.manual_seed(0)
    model = Tiny().eval()
    feed = tiny_feed(batch, time)
    with torch.no_grad():
        expected = model(**feed)
    found = RUN[formats[format].runtime](written(format, strategy).path, feed)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("format", "strategy"), PAIRS)
def test_metadata_is_read_back(written, format, strategy):
    assert read_metadata(written(format, strategy).path) == METADATA


@pytest.mark.parametrize(("format", "strategy"), PAIRS)
def test_an_artifact_says_what_it_is(written, format, strategy):
    artifact = written(format, strategy)
    assert (artifact.format, artifact.strategy) == (format, strategy)
    assert artifact.path.name == f"m{formats[format].suffixes[0]}"
    assert sorted(artifact.path.parent.iterdir()) == sorted(artifact.paths)
    assert len(artifact.digests[artifact.path.name]) == 64
    assert list(artifact.signature.inputs) == ["x", "scale"]
    assert list(artifact.signature.outputs) == ["y", "total"]


@pytest.mark.parametrize(("format", "strategy"), PAIRS)
def test_no_path_or_source_is_in_the_file(written, format, strategy):
    found = content(written(format, strategy).path)
    for trace in (b"/tests/", b"site-packages", b'.py", line', b"debug_pkl", b"stack_trace", os.fsencode(Path.cwd())):
        assert trace not in found


@pytest.mark.parametrize(("format", "strategy"), PAIRS)
def test_the_same_model_gives_the_same_bytes_again_in_one_process(written, format, strategy, tmp_path):
    again = write(format, strategy, tmp_path)
    assert again.digests == written(format, strategy).digests


@pytest.mark.parametrize(("format", "strategy"), PAIRS)
def test_no_clock_is_in_the_file(written, format, strategy):
    path = written(format, strategy).path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert f"{datetime.datetime.now(datetime.UTC).year}-".encode() not in content(path)


class Inner(torch.nn.Module):
    def forward(self, x):
        return x + torch.arange(x.shape[1])[:, None]


class Outer(torch.nn.Module):
    """Two classes of one source file, with several temporaries in each of their methods."""

    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def forward(self, x):
        return torch.relu(self.inner(x).reshape(x.shape[0], -1)).sum(1)


def test_a_model_of_several_classes_gives_the_same_bytes_however_often_it_was_exported(tmp_path):
    types = {"input_types": {"x": "batch time 4"}, "output_types": {"y": "batch"}}
    model = Outer()
    files = [torchport.export(model, tmp_path / f"{place}.ts", verify=False, **types).path for place in range(2)]
    assert content(files[0]) == content(files[1])


_EXPORT = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import torch
from test_emit_contract import PAIRS, write
if sys.argv[4] == "busy":
    import time
    ahead = time.time() + 1e7
    time.time = lambda: ahead
    torch.jit.script(torch.nn.Linear(2, 2)), torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
for format, strategy in PAIRS:
    folder = Path(sys.argv[3]) / f"{format}-{strategy}"
    folder.mkdir()
    print(format, strategy, sorted(write(format, strategy, folder).digests.items()))
"""


def test_two_folders_two_hash_seeds_and_two_clocks_give_the_same_bytes(tmp_path):
    here = Path(__file__).parent
    runs = []
    for seed, folder, history in (("1", tmp_path / "a", "fresh"), ("2", tmp_path / "elsewhere" / "deep", "busy")):
        folder.mkdir(parents=True)
        command = [sys.executable, "-W", "ignore", "-c", _EXPORT, str(here.parent / "capture"), str(here), str(folder), history]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        runs.append(subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    first, second = (run.communicate(timeout=200) for run in runs)
    assert first[0], first[1]
    assert first[0].splitlines() == second[0].splitlines(), second[1]
