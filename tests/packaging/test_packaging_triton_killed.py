"""A repository is never half-written: killed at any step, raced, refused; several models come as one, or are finished later."""

import errno
import fcntl
import json
import multiprocessing
import resource
import shutil

import numpy as np
import pytest
from test_packaging_place import content, killed_at
from test_packaging_triton_kinds import Joined, Streaming

import torchport
from torchport.errors import ArtifactExistsError, PackageError, UnusablePathError
from torchport.packaging import TritonTarget, finish_packaging, targets
from torchport.packaging._triton_commit import Move, commit
from torchport.repository import check_repository
from torchport.repository._unfinished import UNFINISHED, PlannedMove, Unfinished, read_unfinished, unfinished_document


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return Joined().export(tmp_path_factory.mktemp("joined") / "m.onnx")


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    return torchport.export(Streaming(), tmp_path_factory.mktemp("streaming") / "s.onnx")


BARE = {"goldens": False}


def states_when_killed(folder, repository, work, limit=120):
    """What the repository holds after a death at each step, in order, and at last without one."""
    before = content(folder)
    found = []
    for step in range(1, limit):
        died = killed_at(step, work)
        found.append(content(repository) if repository.exists() else None)
        for rest in folder.glob(f".{repository.name}.*.partial"):
            shutil.rmtree(rest)
        if not died:
            return found
        shutil.rmtree(repository, ignore_errors=True)
        for name, blob in before.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(blob)
    raise AssertionError("it never came to an end")


def test_a_new_repository_is_there_as_a_whole_or_not_at_all(joined, streaming, tmp_path):
    for number, result in enumerate((joined, streaming)):
        repository = tmp_path / str(number) / "repo"
        repository.parent.mkdir()
        found = states_when_killed(repository.parent, repository, lambda: result.package(repository, target="triton", options=BARE))  # noqa: B023
        new = found[-1]
        assert all(one in (None, new) for one in found)
        assert found[0] is None
        assert len(found) > 10


def test_a_further_model_or_a_replaced_one_is_there_as_a_whole_or_not_at_all(streaming, tmp_path):
    repository = tmp_path / "repo"
    (repository / "foreign" / "1").mkdir(parents=True)
    (repository / "foreign" / "config.pbtxt").write_text('name: "foreign"\n')
    for options in ({"options": BARE}, {"overwrite": True, "options": {"max_batch_size": 2, **BARE}}):
        old = content(repository)
        found = states_when_killed(tmp_path, repository, lambda options=options: streaming.package(repository, target="triton", **options))
        new = found[-1]
        assert new != old
        assert all(one in (old, new) for one in found)
        assert found[0] == old
        assert new["foreign/config.pbtxt"] == b'name: "foreign"\n'


def put_back(folder, before):
    for rest in folder.iterdir():
        shutil.rmtree(rest)
    for name, blob in before.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(blob)


def beside(repository):
    return [path.name for path in repository.parent.iterdir() if path != repository]


CALLS = {
    "new": {"options": BARE},
    "further versions": {"options": BARE},
    "replaced": {"overwrite": True, "options": {"max_batch_size": 4, **BARE}},
}


@pytest.mark.parametrize("call", CALLS)
def test_several_models_are_the_old_ones_or_the_new_ones_whenever_their_packaging_was_killed(joined, tmp_path, call):
    """A death at every change of the disk; and one more at every change of the call that then finishes what is left."""
    repository = tmp_path / "repo"
    (repository / "foreign" / "1").mkdir(parents=True)
    (repository / "foreign" / "config.pbtxt").write_text('name: "foreign"\n')
    if call != "new":
        joined.package(repository, target="triton", options=BARE)
    before = content(tmp_path)
    old = content(repository)
    joined.package(repository, target="triton", **CALLS[call])
    new = content(repository)
    assert new != old
    outcomes, seen = [], []
    for step in range(1, 120):
        put_back(tmp_path, before)
        died = killed_at(step, lambda: joined.package(repository, target="triton", **CALLS[call]))
        noted, found = (repository / UNFINISHED).exists(), content(repository)
        seen.append({name.partition("/")[0] for name in found if name.startswith(("front-m", "back-m", "m/"))})
        assert died or not noted
        assert noted or found in (old, new)
        if read_unfinished(repository) is not None:
            again = 1
            while killed_at(again, lambda: finish_packaging(repository)):
                again += 1
            assert beside(repository) == []
        assert finish_packaging(repository) == ""
        found = content(repository)
        assert found in (old, new), f"step {step}"
        outcomes.append((noted, found == new))
        if not died:
            break
    assert not died
    assert {(False, False), (True, True), (False, True)} <= set(outcomes) <= {(False, False), (True, False), (True, True), (False, True)}
    if call == "new":  # an ensemble is never there before its models
        assert list(map(sorted, {frozenset(one): None for one in seen})) == [
            [],
            ["back-m"],
            ["back-m", "front-m"],
            ["back-m", "front-m", "m"],
        ]


@pytest.fixture(scope="module")
def step_on_the_way(joined, tmp_path_factory):
    """The change of the disk at which a death leaves a note and the first of three new models."""
    repository = repository_with_a_foreigner(tmp_path_factory.mktemp("way"))
    before = content(repository.parent)
    for step in range(1, 120):
        put_back(repository.parent, before)
        assert killed_at(step, lambda: joined.package(repository, target="triton", options=BARE))
        if (repository / UNFINISHED).exists() and (repository / "back-m").exists():
            return step
    raise AssertionError("it never came so far")


@pytest.fixture
def killed(joined, step_on_the_way, tmp_path):
    """A repository whose packager died when the first of three new models had come."""
    repository = repository_with_a_foreigner(tmp_path)
    assert killed_at(step_on_the_way, lambda: joined.package(repository, target="triton", options=BARE))
    assert (repository / "back-m").exists()
    assert not (repository / "m").exists()
    return repository


def repository_with_a_foreigner(folder):
    (folder / "repo" / "foreign" / "1").mkdir(parents=True)
    (folder / "repo" / "foreign" / "config.pbtxt").write_text('name: "foreign"\n')
    return folder / "repo"


def test_the_next_call_finishes_first_and_says_so(killed, streaming):
    repository = killed
    finding = next(one for one in check_repository(repository).errors if one.rule == "files/unfinished")
    assert (finding.file, finding.found) == (UNFINISHED, "back-m, front-m, m")
    packaged = streaming.package(repository, target="triton", options=BARE)
    assert "an earlier packaging of back-m, front-m, m had been killed on its way and was finished first" in packaged.notes
    assert sorted(path.name for path in repository.iterdir()) == ["back-m", "foreign", "front-m", "m", "s"]
    assert beside(repository) == []
    assert not [one for one in check_repository(repository).findings if one.rule == "files/unfinished"]


def test_a_repository_behind_a_link_is_the_same_one(joined, step_on_the_way, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    repository = repository_with_a_foreigner(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(repository)
    assert killed_at(step_on_the_way, lambda: joined.package(tmp_path / "link", target="triton", options=BARE))
    assert read_unfinished(repository) is not None
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []
    assert finish_packaging(repository).endswith("was finished first")
    joined.package(tmp_path / "link", target="triton", options=BARE)
    assert sorted(path.name for path in repository.iterdir()) == ["back-m", "foreign", "front-m", "m"]
    assert (repository / "m" / "2").is_dir()
    assert beside(repository) == []


def test_what_cannot_be_finished_any_more_is_taken_back(killed, tmp_path):
    repository = killed
    (repository / "m").mkdir()
    (repository / "m" / "thesis.tex").write_text("years of work")
    told = finish_packaging(repository)
    assert told.endswith("was taken back: somebody else added to this model meanwhile")
    assert set(content(repository)) == {"foreign/config.pbtxt", "m/thesis.tex"}
    assert beside(repository) == []


def test_a_replaced_model_comes_back_where_the_others_cannot_come(joined, tmp_path):
    repository = repository_with_a_foreigner(tmp_path)
    joined.package(repository, target="triton", options=BARE)
    old = content(repository)
    inode = (repository / "back-m").stat().st_ino
    before = content(tmp_path)
    for step in range(1, 120):
        put_back(tmp_path, before)
        inode = (repository / "back-m").stat().st_ino
        assert killed_at(step, lambda: joined.package(repository, target="triton", overwrite=True, options={"max_batch_size": 2, **BARE}))
        if (repository / "back-m").stat().st_ino != inode:
            break
    (repository / "m" / "config.pbtxt").write_text('name: "m"\n')  # it is somebody else's now
    assert "was taken back" in finish_packaging(repository)
    assert content(repository) == {**old, "m/config.pbtxt": b'name: "m"\n'}


def test_half_an_exchange_is_finished_or_taken_back(joined, tmp_path):
    """Where a system cannot exchange two folders, a death may come between the two steps that stand for it."""
    for name in ("forward", "back"):
        repository = repository_with_a_foreigner(tmp_path / name)
        joined.package(repository, target="triton", options=BARE)
        old = content(repository)
        stage = repository.parent / ".repo.x.partial" / "repo"
        shutil.copytree(repository, stage)
        shutil.rmtree(stage / "foreign")
        moves = []
        for model in ("back-m", "front-m", "m"):
            (stage / model / "1" / "torchport.json").write_text("new")
            moves.append(PlannedMove(model, "", True, (stage / model).stat().st_ino))
        (repository / UNFINISHED).write_text(json.dumps(unfinished_document(Unfinished(".repo.x.partial", tuple(moves)))))
        (repository / "back-m").rename(stage / "back-m.before")
        if name == "back":
            (repository / "m" / "config.pbtxt").write_text('name: "m"\n')
        told = finish_packaging(repository)
        found = content(repository)
        if name == "forward":
            assert told.endswith("was finished first")
            assert found == {key: b"new" if key.endswith("torchport.json") else blob for key, blob in old.items()}
        else:
            assert "was taken back" in told
            assert found == {**old, "m/config.pbtxt": b'name: "m"\n'}
        assert beside(repository) == []


def test_a_note_whose_folder_is_gone_is_an_error_that_says_what_to_do(killed, tmp_path):
    repository = killed
    shutil.copytree(repository, tmp_path / "elsewhere" / "repo")  # a copy: the folder beside it was left behind
    before = content(tmp_path / "elsewhere")
    with pytest.raises(PackageError, match="what it had yet to move is gone") as caught:
        finish_packaging(tmp_path / "elsewhere" / "repo")
    assert "back-m, front-m, m" in str(caught.value.hint)
    assert content(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("version", ["", "1"])
def test_what_is_not_surely_torchports_is_never_taken_back(joined, tmp_path, version):
    """Its number on the disk is in the note of a dead packaging, whatever way it came there."""
    repository = repository_with_a_foreigner(tmp_path)
    joined.package(repository, target="triton", options=BARE)
    (repository / "foreign" / "thesis.txt").write_text("years of work")
    (repository / "foreign" / "1" / "model.onnx").write_text("theirs")
    (repository / "taken").mkdir()
    (repository / "taken" / "config.pbtxt").write_text('name: "taken"')
    before = content(repository)
    (repository.parent / ".repo.x.partial" / "repo" / "taken" / "1").mkdir(parents=True)
    theirs, other = repository / "foreign" / version, repository / "m" / version
    inode = (repository.parent / ".repo.x.partial" / "repo" / "taken").stat().st_ino
    moves = (
        PlannedMove("foreign", version, False, theirs.stat().st_ino),
        PlannedMove("m", version, False, other.stat().st_ino, other.stat().st_mtime_ns - 1),
        PlannedMove("taken", "", False, inode),
    )
    (repository / UNFINISHED).write_text(json.dumps(unfinished_document(Unfinished(".repo.x.partial", moves))))
    told = finish_packaging(repository)
    assert told.endswith(f"where they are stay {(other.relative_to(repository))}, {theirs.relative_to(repository)}")
    assert content(repository) == before
    assert beside(repository) == []


def test_what_a_model_that_stays_had_replaced_is_kept_beside_the_repository(joined, tmp_path):
    repository = repository_with_a_foreigner(tmp_path)
    (repository / "taken").mkdir()
    (repository / "taken" / "config.pbtxt").write_text('name: "taken"')
    before = content(repository)
    stage = repository.parent / ".repo.x.partial" / "repo"
    (stage / "taken").mkdir(parents=True)
    (stage / "foreign").mkdir()
    (stage / "foreign" / "config.pbtxt").write_text("older")
    moves = (
        PlannedMove("foreign", "", True, (repository / "foreign").stat().st_ino),
        PlannedMove("taken", "", False, (stage / "taken").stat().st_ino),
    )
    (repository / UNFINISHED).write_text(json.dumps(unfinished_document(Unfinished(".repo.x.partial", moves))))
    assert finish_packaging(repository).endswith(f"stay foreign; what was there before is in {stage.parent}")
    assert content(repository) == before
    assert content(stage)["foreign/config.pbtxt"] == b"older"


def two_moves(folder):
    repository, stage = folder / "repo", folder / ".repo.x.partial" / "repo"
    repository.mkdir()
    for name in "ab":
        (stage / name).mkdir(parents=True)
    return repository, stage, [Move(stage / name, repository / name, False, (stage / name).stat().st_ino) for name in "ab"]


def test_what_cannot_be_taken_back_for_sure_keeps_the_note_for_the_next_call(tmp_path):
    """While models come, somebody writes to the one that came and takes the place of the other."""
    repository, stage, moves = two_moves(tmp_path)
    (repository / "b").mkdir()
    (repository / "b" / "thesis.tex").write_text("years of work")
    with pytest.raises(ArtifactExistsError, match="meanwhile"):
        commit(repository, stage, moves, lambda _: False)
    assert read_unfinished(repository).stage == stage.parent.name
    assert (repository / "a").is_dir()
    assert finish_packaging(repository).endswith("so where they are stay a")
    assert sorted(path.name for path in repository.iterdir()) == ["a", "b"]
    assert content(repository) == {"b/thesis.tex": b"years of work"}
    assert beside(repository) == []


@pytest.mark.parametrize("most", [0, 10])
def test_a_note_that_cannot_be_written_is_not_left(tmp_path, most):
    """The disk takes nothing, or only the first bytes."""
    repository, stage, moves = two_moves(tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limit[1]))
    try:
        with pytest.raises(UnusablePathError, match="cannot be written down"):
            commit(repository, stage, moves, lambda _: True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert content(repository) == {}
    commit(repository, stage, moves, lambda _: True)  # neither the file nor its lock is in the way
    assert sorted(path.name for path in repository.iterdir()) == ["a", "b"]


def test_a_disk_without_locks_is_an_error_that_leaves_no_note(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    repository, stage, moves = two_moves(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", without)
        with pytest.raises(UnusablePathError, match="No locks available"):
            commit(repository, stage, moves, lambda _: True)
        assert content(repository) == {}
        (repository / UNFINISHED).write_text(json.dumps(PLAN))
        assert [one.rule for one in check_repository(repository).errors] == ["files/unfinished"]
        (repository / UNFINISHED).unlink()
    commit(repository, stage, moves, lambda _: True)


PLAN = {"torchport_unfinished": 1, "stage": ".repo.x.partial", "moves": [{"model": "m", "version": "", "replaces": False, "inode": 1}]}
MOVE = PLAN["moves"][0]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "[]",
        {},
        {**PLAN, "torchport_unfinished": 2},
        {**PLAN, "stage": "../home"},
        {**PLAN, "stage": ".repo/../../x.partial"},
        {**PLAN, "moves": []},
        {**PLAN, "moves": [{**MOVE, "model": ".."}]},
        {**PLAN, "moves": [{**MOVE, "version": "../1"}]},
        {**PLAN, "moves": [{**MOVE, "inode": "1"}]},
        {**PLAN, "moves": [{**MOVE, "more": 1}]},
    ],
)
def test_a_note_that_was_not_written_to_its_end_or_leads_elsewhere_moves_nothing(tmp_path, document):
    repository = repository_with_a_foreigner(tmp_path)
    (repository / UNFINISHED).write_text(document if isinstance(document, str) else json.dumps(document))
    assert read_unfinished(repository) is None
    assert [one.rule for one in check_repository(repository).findings if one.rule == "files/unfinished"] == []
    assert finish_packaging(repository) == ""
    assert not (repository / UNFINISHED).exists()


def test_a_note_never_clears_a_folder_of_another_name(tmp_path):
    repository = repository_with_a_foreigner(tmp_path)
    (tmp_path / ".other.x.partial").mkdir()
    inode = (repository / "foreign").stat().st_ino
    moves = [{**MOVE, "model": "foreign", "inode": inode}]
    (repository / UNFINISHED).write_text(json.dumps({**PLAN, "stage": ".other.x.partial", "moves": moves}))
    with pytest.raises(PackageError, match="is gone"):
        finish_packaging(repository)
    assert (tmp_path / ".other.x.partial").is_dir()


def test_a_note_that_is_a_link_is_not_followed(tmp_path):
    repository = repository_with_a_foreigner(tmp_path)
    (tmp_path / "elsewhere.json").write_text(json.dumps(PLAN))
    (repository / UNFINISHED).symlink_to(tmp_path / "elsewhere.json")
    assert read_unfinished(repository) is None
    assert finish_packaging(repository) == ""
    assert (repository / UNFINISHED).is_symlink()


def test_whoever_lives_is_left_alone(joined, streaming, tmp_path):
    """While its writer lives, a note is locked: others neither finish it nor begin to move several models."""
    repository = repository_with_a_foreigner(tmp_path)
    (repository / UNFINISHED).write_text(json.dumps(PLAN))
    with (repository / UNFINISHED).open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert finish_packaging(repository) == ""
        assert [one.rule for one in check_repository(repository).findings if one.rule == "files/unfinished"] == []
        with pytest.raises(ArtifactExistsError, match="somebody else adds several models"):
            joined.package(repository, target="triton", options=BARE)
        streaming.package(repository, target="triton", options=BARE)  # one model is one rename, whatever others do
    assert (repository / "s" / "1").is_dir()
    assert beside(repository) == []


def test_an_error_while_models_come_takes_back_those_that_came(joined, tmp_path):
    class Late(TritonTarget):
        def _check(self, stage, order):
            """Somebody else takes the ensemble's name at the last moment."""
            (order.directory / "m").mkdir()
            (order.directory / "m" / "thesis.tex").write_text("years of work")

        def _check_home(self, home):
            pass

    targets.add("late", Late())
    try:
        for overwrite in (False, True):
            repository = tmp_path / str(overwrite)
            (repository / "foreign").mkdir(parents=True)
            if overwrite:
                joined.package(repository, target="triton")
                shutil.rmtree(repository / "m")
            before = content(repository)
            with pytest.raises(ArtifactExistsError, match="meanwhile"):
                joined.package(repository, target="late", overwrite=overwrite)
            assert content(repository) == {**before, "m/thesis.tex": b"years of work"}
    finally:
        targets.remove("late")


def _package(paths, repository, barrier, outcomes):
    names = ["self"] if len(paths) == 1 else [path.stem.removesuffix("-m") for path in paths]
    parts = [torchport.packaging.part_of_file(path, name) for path, name in zip(paths, names, strict=True)]
    barrier.wait()
    try:
        targets["triton"].package(parts, torchport.packaging.Order(repository))
    except ArtifactExistsError as error:
        outcomes.put(error.message)
    else:
        outcomes.put("won")


def at_once(count, paths, repository):
    """What packagers in processes of their own say, which begin to write at the same moment."""
    context = multiprocessing.get_context("fork")
    barrier, outcomes = context.Barrier(count), context.Queue()
    started = [context.Process(target=_package, args=(paths, repository, barrier, outcomes)) for _ in range(count)]
    for one in started:
        one.start()
    told = [outcomes.get(timeout=120) for _ in started]
    for one in started:
        one.join()
    return told


def test_of_packagers_of_several_models_at_once_one_wins_at_a_time(joined, tmp_path):
    repository = tmp_path / "repo"
    told = at_once(3, [part.artifact.path for part in joined.parts], repository)
    assert set(told) <= {"won", "somebody else added to this model meanwhile", "somebody else adds several models at this moment"}
    assert told.count("won") >= 1
    for model in ("front-m", "back-m", "m"):
        versions = sorted(path.name for path in (repository / model).iterdir() if path.name.isdecimal())
        assert versions == [str(number + 1) for number in range(told.count("won"))]
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


def test_packagers_at_once_win_or_say_that_they_did_not(streaming, tmp_path):
    """Processes that really run at once: whoever did not add a version says so, and every version is whole."""
    repository = tmp_path / "repo"
    told = at_once(3, [streaming.path], repository)
    versions = sorted(path.name for path in (repository / "s").iterdir() if path.name.isdecimal())
    assert versions == [str(number + 1) for number in range(told.count("won"))]
    assert told.count("won") >= 1
    assert set(told) <= {"won", "somebody else added to this model meanwhile"}
    whole = {path.name for path in (repository / "s" / "1").iterdir()}
    for version in versions:
        assert {path.name for path in (repository / "s" / version).iterdir()} == whole
    np.load(repository / "s" / "1" / "goldens" / "zeros.inputs.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]
