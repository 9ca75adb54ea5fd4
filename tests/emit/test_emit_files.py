"""Staging: nothing half-written at the output, nothing left beside it."""
# ruff: noqa: PT012 - what happens inside the context is what is tested

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

import torchport
import torchport.emit._files as files
from torchport.emit import commit_all, format_for, formats, keep_rejected, staging
from torchport.errors import ArtifactExistsError, EmitError, UnknownNameError, UnusablePathError


def test_committed_files_stand_at_the_output_and_nothing_beside(tmp_path):
    with staging(tmp_path / "m.onnx") as stage:
        inner = stage.directory / "trace"
        inner.mkdir()
        (inner / "m.onnx").write_text("model")
        (inner / "m.onnx.data").write_text("weights")
        finals = stage.commit([inner / "m.onnx", inner / "m.onnx.data"])
    assert finals == (tmp_path / "m.onnx", tmp_path / "m.onnx.data")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"m.onnx": "model", "m.onnx.data": "weights"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_a_failure(tmp_path, error):
    with pytest.raises(error), staging(tmp_path / "m.onnx") as stage:
        (stage.directory / "m.onnx").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_is_refused_before_any_work(tmp_path):
    (tmp_path / "m.onnx").write_text("old")
    with pytest.raises(ArtifactExistsError, match="overwrite=True"), staging(tmp_path / "m.onnx"):
        pytest.fail("the block must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_an_output_that_appears_meanwhile_is_refused_at_commit(tmp_path):
    with pytest.raises(ArtifactExistsError), staging(tmp_path / "m.onnx") as stage:
        for name in ("m.onnx", "m.onnx.data"):
            (stage.directory / name).write_text("new")
        (tmp_path / "m.onnx.data").write_text("somebody else's")
        stage.commit([stage.directory / "m.onnx", stage.directory / "m.onnx.data"])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"m.onnx.data": "somebody else's"}


def test_overwrite_replaces(tmp_path):
    (tmp_path / "m.onnx").write_text("old")
    with staging(tmp_path / "m.onnx", overwrite=True) as stage:
        (stage.directory / "m.onnx").write_text("new")
        assert (tmp_path / "m.onnx").read_text() == "old"
        stage.commit([stage.directory / "m.onnx"])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_commit_that_fails_halfway_is_undone(tmp_path, monkeypatch, overwrite):
    if overwrite:
        for name in ("m.onnx", "m.onnx.data"):
            (tmp_path / name).write_text("old")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    move = files._move

    def fails_on_the_model(path, final, *, replace):
        if final.name == "m.onnx":
            raise OSError("disk full")
        move(path, final, replace=replace)

    monkeypatch.setattr(files, "_move", fails_on_the_model)
    with pytest.raises(OSError, match="disk full"), staging(tmp_path / "m.onnx", overwrite=overwrite) as stage:
        for name in ("m.onnx", "m.onnx.data"):
            (stage.directory / name).write_text("new")
        stage.commit([stage.directory / "m.onnx", stage.directory / "m.onnx.data"])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_several_artifacts_are_committed_all_or_none(tmp_path, monkeypatch, overwrite):
    if overwrite:
        (tmp_path / "encoder.onnx").write_text("old")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    move = files._move

    def interrupted_at_the_decoder(path, final, *, replace):
        if final.name == "decoder.onnx":
            raise KeyboardInterrupt
        move(path, final, replace=replace)

    def write_both():
        with staging(tmp_path / "encoder.onnx", overwrite) as first, staging(tmp_path / "decoder.onnx", overwrite) as second:
            paths = []
            for stage, name in ((first, "encoder.onnx"), (second, "decoder.onnx")):
                (stage.directory / name).write_text("new")
                paths.append([stage.directory / name])
            return commit_all([first, second], paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "_move", interrupted_at_the_decoder)
        write_both()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert write_both() == [(tmp_path / "encoder.onnx",), (tmp_path / "decoder.onnx",)]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"encoder.onnx": "new", "decoder.onnx": "new"}


def test_a_file_system_without_hard_links_does(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "b.onnx").write_text("old")
    for name, overwrite in (("a.onnx", False), ("b.onnx", True)):
        with staging(tmp_path / name, overwrite=overwrite) as stage:
            (stage.directory / name).write_text("new")
            stage.commit([stage.directory / name])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.onnx": "new", "b.onnx": "new"}


@pytest.mark.parametrize(
    ("output", "reason"), [("no/m.onnx", "does not exist"), ("file/m.onnx", "not a directory"), ("folder.onnx", "is a directory")]
)
def test_an_unusable_place_is_refused_with_its_path(tmp_path, output, reason):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(EmitError, match=reason) as caught, staging(tmp_path / output, overwrite=True):
        pytest.fail("the block must not run")
    assert str(tmp_path) in str(caught.value)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def refuses(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "mkdtemp", refuses)
    with pytest.raises(EmitError, match="cannot be written"), staging(tmp_path / "m.onnx"):
        pytest.fail("the block must not run")


_KILLED = """
import sys, time
from collections import namedtuple
from pathlib import Path
from torchport.emit._files import staging
with staging(Path(sys.argv[1])) as stage:
    (stage.directory / "m.onnx").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_nothing_at_the_output(tmp_path):
    output = tmp_path / "m.onnx"
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _KILLED, str(output)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    child.stdout.close()
    assert not output.exists()


def test_the_extension_picks_the_format_in_any_case():
    assert format_for(Path("a/M.ONNX")) is formats["onnx"]
    assert format_for(Path("m.pt")) is format_for(Path("m.ts")) is formats["torchscript"]
    assert format_for(Path("m.pt2")) is formats["exported_program"]


@pytest.mark.parametrize("name", ["m.onx", "m"])
def test_an_unknown_extension_lists_the_known_ones(name):
    with pytest.raises(UnknownNameError, match=r"\.onnx \(onnx\), \.ts \(torchscript\), \.pt \(torchscript\), \.pt2"):
        format_for(Path(name))


def test_every_file_of_a_rejected_artifact_is_kept_under_one_number(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    paths = [folder / "m.onnx", folder / "m.onnx.data"]
    for path in paths:
        path.write_text(path.name)
    (tmp_path / "m.onnx.data.rejected").write_text("older")
    kept = keep_rejected(paths, tmp_path / "m.onnx")
    assert [path.name for path in kept] == ["m.onnx.2.rejected", "m.onnx.data.2.rejected"]
    assert [path.read_text() for path in kept] == ["m.onnx", "m.onnx.data"]
    assert (tmp_path / "m.onnx.data.rejected").read_text() == "older"


def test_a_rejected_artifact_that_cannot_be_kept_says_so(tmp_path):
    (tmp_path / "m.ts").write_text("first")
    with pytest.raises(UnusablePathError, match="a rejected artifact cannot be kept"):
        keep_rejected([tmp_path / "m.ts", tmp_path / "m.ts.gone"], tmp_path / "n.ts")
    assert [path.name for path in tmp_path.iterdir()] == ["m.ts"]


@pytest.mark.parametrize("suffix", ["onnx", "ts", "pt2"])
def test_a_disk_that_is_full_is_told_and_nothing_is_left(tmp_path, monkeypatch, suffix):
    """torch's own writers end the process there, so the space is asked for first."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30, 2**30 - 2**16, 2**16))
    if suffix == "onnx":

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("torchport.emit.onnx.write_model", full)
    with pytest.raises(UnusablePathError, match="no space left"):
        torchport.export(torch.nn.Linear(4, 4), tmp_path / f"m.{suffix}", input_types={"input": "batch 4"})
    assert list(tmp_path.iterdir()) == []
