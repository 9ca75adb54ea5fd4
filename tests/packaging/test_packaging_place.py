"""A package is there as a whole or not at all: killed at any step, raced, refused, replaced."""

import contextlib
import os
import shutil
import sys
import threading

import pytest
from bundle_makers import Twins

import torchport
from torchport.check import check
from torchport.errors import ArtifactExistsError, UnusablePathError
from torchport.packaging import new_directory
from torchport.packaging._place import _move, exchange

STEPS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link", "ctypes.dlsym", "shutil.copyfile")
STEPS += ("fcntl.flock",)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def writes_to(path, mode, flags):
    """Whether a file that is opened so is written to."""
    return bool(set(mode) & set("wax+")) if mode is not None else flags & (os.O_WRONLY | os.O_RDWR) != 0


def killed_at(step, work):
    """Does ``work`` in a child that dies without a word before its ``step``-th change of the disk; whether it got so far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event, arguments):
            nonlocal seen
            if event in STEPS and (event != "open" or writes_to(*arguments)):
                seen += 1
                if seen == step:
                    os._exit(77)

        try:
            sys.addaudithook(hook)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 77)
    return code == 77


def writes(folder):
    """What a target does, without what costs time: a dozen changes of the disk."""

    def fill(stage):
        (stage / "goldens").mkdir()
        for name in ("m.onnx", "goldens/a.npz", "goldens/b.npz", "README.md"):
            (stage / name).write_text("new")
        (stage / "manifest.json").write_text("new")

    return fill


@pytest.mark.parametrize("old", [False, True], ids=["nothing", "an older one"])
def test_killed_at_any_step_the_package_is_the_old_one_or_the_new_one(tmp_path, old):
    place = tmp_path / "m.bundle"
    fill = writes(place)
    outcomes = []
    for step in range(1, 60):
        if old:
            place.mkdir()
            (place / "manifest.json").write_text("old")

        def work():
            with new_directory(place, overwrite=old, is_ours=lambda _: True) as stage:
                fill(stage)

        died = killed_at(step, work)
        found = content(place) if place.exists() else None
        whole = dict.fromkeys(("m.onnx", "goldens/a.npz", "goldens/b.npz", "README.md", "manifest.json"), b"new")
        assert found in (whole, {"manifest.json": b"old"} if old else None), f"step {step}"
        outcomes.append(found == whole)
        shutil.rmtree(place, ignore_errors=True)
        for rest in tmp_path.iterdir():
            assert rest.name.startswith(".m.bundle.")
            assert rest.name.endswith(".partial")
            shutil.rmtree(rest)
        if not died:
            break
    assert not died
    assert step > 8
    assert outcomes[-1]
    assert not outcomes[0]


def test_a_killed_bundle_leaves_the_old_one_that_holds(exported, original, tmp_path):
    """The real thing, at a few steps of its way."""
    place = tmp_path / "m.bundle"
    shutil.copytree(original, place)
    before = content(place)
    for step in (2, 5, 11, 14):
        assert killed_at(step, lambda: exported.package(place, overwrite=True, metadata={"new": "yes"}))
        assert content(place) == before
    assert check(place).ok


def test_of_two_packagers_one_wins_and_the_other_says_so(tmp_path):
    place, outcomes, gate = tmp_path / "m.bundle", [], threading.Barrier(2)

    def work(text):
        try:
            with new_directory(place, overwrite=False, is_ours=lambda _: False) as stage:
                (stage / "file").write_text(text)
                gate.wait(30)
            outcomes.append(text)
        except ArtifactExistsError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = next(one for one in outcomes if isinstance(one, str))
    assert sum(isinstance(one, ArtifactExistsError) for one in outcomes) == 1
    assert (place / "file").read_text() == won
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(("ours", "kept"), [(None, "old"), (lambda _: False, "old"), (lambda _: True, "new")])
def test_what_came_at_the_last_moment_is_replaced_only_where_that_was_asked_for(tmp_path, ours, kept):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with contextlib.nullcontext() if kept == "new" else pytest.raises(ArtifactExistsError, match="meanwhile"):
        _move(tmp_path / "new", tmp_path / "old", ours)
    assert (tmp_path / "old" / "file").read_text() == kept


def test_a_move_that_the_system_refuses_is_told(tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(UnusablePathError, match="cannot be"):
        _move(tmp_path / "new", tmp_path / "gone" / "old", None)


@pytest.mark.parametrize("native", [None, lambda: None, lambda: lambda *_: -1], ids=["native", "not there", "refused"])
def test_two_folders_are_exchanged(tmp_path, native):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    exchange(tmp_path / "new", tmp_path / "old", **({} if native is None else {"native": native}))
    assert (tmp_path / "old" / "file").read_text() == "new"
    assert (tmp_path / "new" / "file").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_an_exchange_that_fails_leaves_the_old_folder(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "new", tmp_path / "old", native=lambda: None)
    assert (tmp_path / "old").is_dir()


def test_nothing_is_replaced_silently(exported, original, bundle, tmp_path):
    before = content(bundle)
    with pytest.raises(ArtifactExistsError, match="a package is there already"):
        exported.package(bundle)
    assert content(bundle) == before
    exported.package(bundle, overwrite=True, metadata={"new": "yes"})
    assert content(bundle) != before
    assert check(bundle).ok
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_is_no_bundle_is_never_replaced(exported, tmp_path):
    for name in ("folder", "file", "link"):
        place = tmp_path / name
        if name == "folder":
            place.mkdir()
            (place / "thesis.tex").write_text("years of work")
        elif name == "file":
            place.write_text("years of work")
        else:
            place.symlink_to(tmp_path / "folder")
        with pytest.raises(ArtifactExistsError, match="never replaced"):
            exported.package(place, overwrite=True)
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_is_filled_with_the_usual_modes(exported, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    exported.package(tmp_path / "empty")
    assert check(tmp_path / "empty").ok
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "empty").stat().st_mode == (tmp_path / "usual").stat().st_mode
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    exported.package(".")
    assert check(tmp_path / "here").ok


@pytest.mark.parametrize("target", ["bundle", "triton"])
def test_a_place_that_cannot_be_written_is_refused(exported, tmp_path, target):
    with pytest.raises(UnusablePathError, match="cannot be written"):
        exported.package(tmp_path / ("n" * 250), target=target)  # what is written beside it has a longer name
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_is_refused(exported, tmp_path):
    with pytest.raises(UnusablePathError, match="does not exist"):
        exported.package(tmp_path / "no" / "m.bundle")


def test_a_changed_artifact_is_not_packaged(tmp_path):
    result = torchport.export(Twins(), tmp_path / "twins.onnx", verify=False)
    with (tmp_path / "twins.onnx").open("ab") as file:
        file.write(b"\x00\x00")
    with pytest.raises(UnusablePathError, match="changed since it was exported"):
        result.package(tmp_path / "m.bundle")
    (tmp_path / "twins.onnx").unlink()
    with pytest.raises(UnusablePathError, match="not there any more"):
        result.package(tmp_path / "m.bundle")
    assert list(tmp_path.iterdir()) == []
