"""Archives from an enemy: each is refused with its reason, nothing runs, nothing is written outside, nothing is left."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from archive_makers import (
    ArchiveTagger,
    archive,
    calling,
    checkpoint_with,
    config_bytes,
    file,
    rewritten,
    tar_bytes,
    weights_bytes,
)

from torchport.errors import ArchiveError, UntrustedClassError
from torchport.models import Limits, ModelPT, open_archive


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The folder for temporary files; it has to be empty after every refusal."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def refuse(tmp_path, scratch):
    """Restores, expects a refusal, checks that the machine is as before, and gives the message."""

    def refuse(path: Path, kind: type[ArchiveError] = ArchiveError, **arguments: object) -> str:
        before = {found: found.stat().st_mtime_ns for found in tmp_path.rglob("*") if found != scratch}
        folder = Path.cwd()
        with pytest.raises(kind) as caught:
            ArchiveTagger.restore_from(path, **arguments)
        caught.value.__traceback__ = None
        assert list(scratch.iterdir()) == []
        assert {found: found.stat().st_mtime_ns for found in tmp_path.rglob("*") if found != scratch} == before
        assert Path.cwd() == folder
        assert caught.value.stage == "load"
        assert caught.value.exit_code == 2
        return str(caught.value)

    return refuse


# --- names and kinds of members ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil", "a name that leaves the folder"),
        ("./a/../../evil", "a name that leaves the folder"),
        ("/etc/evil", "an absolute name"),
        ("C:/evil", "an absolute name"),
        ("a\\..\\evil", "a backslash or a control character"),
        ("a\nb", "a backslash or a control character"),
        ("x" * 300, "a name too long"),
    ],
)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_that_is_not_plain_is_refused(tmp_path, refuse, name, said, form):
    path = tmp_path / "m.nemo"
    path.write_bytes(tar_bytes(file(name, b"x"), format=form))
    assert said in refuse(path)
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.FIFOTYPE, "a named pipe"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (b"Z", "a member of unknown kind"),
    ],
)
def test_links_devices_and_pipes_are_refused(tmp_path, refuse, kind, said):
    message = refuse(archive(tmp_path / "m.nemo", file("./extra", type=kind, linkname="/etc/passwd")))
    assert f"the archive holds {said}" in message
    assert "'./extra'" in message


def test_a_file_behind_a_link_is_never_written(tmp_path, refuse):
    outside = tmp_path / "outside"
    outside.mkdir()
    path = archive(tmp_path / "m.nemo", first=(file("d", type=tarfile.SYMTYPE, linkname=str(outside)), file("d/evil", b"x")))
    assert "a symbolic link" in refuse(path)
    assert list(outside.iterdir()) == []


def test_a_sparse_file_is_refused(tmp_path, refuse):
    header = bytearray(file("hole", b"", type=tarfile.GNUTYPE_SPARSE)[0].tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" + b"00000000000\0"
    header[483:495] = b"77777777777\0"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    path = tmp_path / "m.nemo"
    path.write_bytes(bytes(header) + bytes(1024))
    assert "a sparse file" in refuse(path)


@pytest.mark.parametrize("twin", ["./model_config.yaml", "model_config.yaml", "MODEL_CONFIG.yaml"])
def test_a_member_that_comes_twice_is_refused(tmp_path, refuse, twin):
    message = refuse(archive(tmp_path / "m.nemo", file(twin, b"width: 1")))
    assert "a member twice" in message


def test_a_file_under_a_file_is_refused(tmp_path, refuse):
    assert "cannot be unpacked" in refuse(archive(tmp_path / "m.nemo", file("a", b"x"), file("a/b", b"y")))


def test_folders_without_end_are_refused(tmp_path, refuse):
    assert "nests folders too deeply" in refuse(archive(tmp_path / "m.nemo", file("d/" * 20 + "x", b"x")))


# --- sizes and counts ----------------------------------------------------------------------------------------------------------------


def test_too_many_members_are_refused(tmp_path, refuse):
    path = archive(tmp_path / "m.nemo", *(file(f"a{number}") for number in range(50)))
    assert "too many members" in refuse(path, limits=Limits(members=20))


def test_folders_without_a_name_count_too(tmp_path, refuse):
    path = archive(tmp_path / "m.nemo", *(file("./", type=tarfile.DIRTYPE) for _ in range(50)))
    assert "too many members" in refuse(path, limits=Limits(members=20))


def test_a_declared_size_beyond_all_reason_is_refused_before_anything_is_written(tmp_path, refuse):
    path = tmp_path / "m.nemo"
    path.write_bytes(tar_bytes(file("big", b"x", size=2**50)))
    assert "an impossible size" in refuse(path)


def test_a_negative_size_is_refused(tmp_path, refuse):
    path = tmp_path / "m.nemo"
    path.write_bytes(tar_bytes(file("a", b"", size=-512), file("b")))
    assert "an impossible size" in refuse(path)


def test_a_size_larger_than_the_file_is_found_before_anything_is_written(tmp_path, refuse):
    path = tmp_path / "m.nemo"
    path.write_bytes(tar_bytes(file("big", b"x", size=2**33)))
    message = refuse(path)
    assert "cut short" in message
    assert "8589934592" in message


def test_a_gzip_bomb_is_stopped_while_it_unpacks(tmp_path, refuse, monkeypatch):
    monkeypatch.setattr("torchport.models._tar_stream._SMALL", 4 * 1024**2)
    path = archive(tmp_path / "m.nemo", file("zeros", bytes(32 * 1024**2)), compress=True)
    assert path.stat().st_size < 300_000
    assert "unpacks to too much" in refuse(path)


def test_a_gzip_bomb_behind_the_tar_is_stopped_too(tmp_path, refuse, monkeypatch):
    monkeypatch.setattr("torchport.models._tar_stream._SMALL", 4 * 1024**2)
    path = archive(tmp_path / "m.nemo")
    path.write_bytes(gzip.compress(path.read_bytes() + bytes(32 * 1024**2), 1))
    assert "unpacks to too much" in refuse(path)


def test_an_archive_that_the_disk_cannot_hold_is_refused_at_once(tmp_path, refuse, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    message = refuse(archive(tmp_path / "m.nemo"))
    assert "has no room to unpack" in message
    assert "TMPDIR" in message


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_never_ends_does_not_fill_the_memory(tmp_path, refuse, kind):
    path = tmp_path / "m.nemo"
    path.write_bytes(gzip.compress(tar_bytes(file("x", bytes(24 * 1024**2), type=kind)), 1))
    assert "headers have no end" in refuse(path)


def test_headers_upon_headers_are_refused(tmp_path, refuse):
    chained = [file("x", b"20 path=abcdefghijk\n", type=tarfile.XHDTYPE)] * 900
    path = tmp_path / "m.nemo"
    path.write_bytes(tar_bytes(*chained, file("a")))
    assert "broken" in refuse(path)


# --- broken files --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"hello " * 500, "not a tar archive"),
        (b"PK\x03\x04" + bytes(2000), "a zip file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"BZh91AY&SY" + bytes(600), "compressed with bzip2"),
        (b"\xfd7zXZ\x00" + bytes(600), "compressed with xz"),
        (b"\x1f\x8b" + bytes(600), "the archive is broken"),
        (gzip.compress(b"not a tar" * 200, mtime=0), "not a tar archive"),
        (bytes(10240), "the archive has no config"),
    ],
)
def test_a_file_that_is_no_archive_is_named_for_what_it_is(tmp_path, refuse, content, said):
    path = tmp_path / "m.nemo"
    path.write_bytes(content)
    assert said in refuse(path)


def test_a_folder_and_a_missing_file_are_refused(tmp_path, refuse):
    assert "a folder is not an archive" in refuse(tmp_path)
    assert "there is no such file" in refuse(tmp_path / "absent.nemo")


@pytest.mark.parametrize("compress", [False, True])
def test_an_archive_cut_anywhere_is_refused(tmp_path, refuse, compress):
    whole = archive(tmp_path / "m.nemo", file("artifact", b"text"), compress=compress).read_bytes()
    end = len(whole) if compress else len(whole) - 1024
    for cut in {1, 100, 511, 512, 600, 1024, 1100, end // 2, end - 512, end - 300, end - 1, end}:
        if cut < len(whole):
            (tmp_path / "m.nemo").write_bytes(whole[:cut])
            assert any(word in refuse(tmp_path / "m.nemo") for word in ("cut short", "broken", "not a tar"))


def test_a_broken_header_between_two_members_is_not_taken_for_the_end(tmp_path, refuse):
    path = archive(tmp_path / "m.nemo", file("artifact", b"text"))
    data = bytearray(path.read_bytes())
    data[-1024 - 1024 + 148] ^= 0xFF
    path.write_bytes(data)
    assert "broken between two members" in refuse(path)


def test_a_gzip_whose_checksum_is_wrong_is_refused(tmp_path, refuse):
    path = archive(tmp_path / "m.nemo", compress=True)
    data = bytearray(path.read_bytes())
    data[-8] ^= 0xFF
    path.write_bytes(data)
    assert "CRC" in refuse(path)


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("./model_weights/__0_0.distcp", "a distributed checkpoint"),
        ("./model_weights/metadata.json", "a distributed checkpoint"),
        ("./mp_rank_00/model_weights.ckpt", "split over model-parallel ranks"),
        ("./tp_rank_00_pp_rank_000/model_weights.ckpt", "split over model-parallel ranks"),
    ],
)
def test_split_weights_are_refused_with_the_reason(tmp_path, refuse, member, said):
    path = tmp_path / "m.nemo"
    path.write_bytes(tar_bytes(file("./model_config.yaml", config_bytes()), file(member, b"x")))
    message = refuse(path)
    assert said in message
    assert "merge it into one file" in message


def test_an_archive_without_config_or_weights_says_what_it_has(tmp_path, refuse):
    path = tmp_path / "m.nemo"
    path.write_bytes(tar_bytes(file("./model_config.yaml", config_bytes()), file("notes.txt")))
    assert "the archive has no weights" in (message := refuse(path))
    assert "notes.txt" in message
    path.write_bytes(tar_bytes(file("model_weights.ckpt", weights_bytes())))
    assert "the archive has no config" in refuse(path)


# --- the config ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"!!python/object/apply:os.system ['touch evil']", "not a mapping"),
        (b"!!python/object:os.system {a: 1}", "asks for an object"),
        (b"a: !!python/name:os.system", "asks for an object"),
        (b"a: !custom 1", "asks for an object"),
        (b"a: !!binary aGk=", "asks for an object"),
        (b"- 1\n- 2", "not a mapping"),
        (b"just text", "not a mapping"),
        (b"a: [1, 2", "not readable as YAML"),
        (b"a: 1\na: 2", "says a key twice"),
        (b"a: &a [*a]", "contains itself"),
        (b"\xff\xfe\x00", "not readable as YAML"),
        (b"a: " + b"[" * 3000, "nested too deeply"),
        (b"a: " + b"9" * 5000, "an endless number"),
        (b"{a: 1}: 2", "not readable as YAML"),
        (b"a: 1\n---\nb: 2", "not readable as YAML"),
        (b"target: [1]", "not a class's name"),
    ],
)
def test_a_hostile_config_is_refused(tmp_path, refuse, text, said):
    assert said in refuse(archive(tmp_path / "m.nemo", config=text))


def test_a_yaml_bomb_is_refused_before_it_expands(tmp_path, refuse):
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)]
    assert "expand without end" in refuse(archive(tmp_path / "m.nemo", config=b"\n".join(levels)))


def test_merge_keys_count_as_what_they_expand_to(tmp_path, refuse):
    levels = [b"a0: &a0 {" + b", ".join(b"k%d: 1" % n for n in range(10)) + b"}"]
    levels += [b"a%d: &a%d {<<: [%s]}" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)]
    assert "expand without end" in refuse(archive(tmp_path / "m.nemo", config=b"\n".join(levels)))


def test_a_config_that_is_too_large_is_refused(tmp_path, refuse, monkeypatch):
    monkeypatch.setattr("torchport.models._yaml.MAX_BYTES", 1000)
    assert "the config is too large" in refuse(archive(tmp_path / "m.nemo", config=b"a: " + b"x" * 2000))


def test_a_config_that_the_constructor_refuses_is_the_archives_fault(tmp_path, refuse):
    message = refuse(archive(tmp_path / "m.nemo", config=config_bytes(width="wide")))
    assert "ArchiveTagger cannot be built from the config" in message
    assert "TypeError" in message


# --- classes -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def evil(tmp_path, monkeypatch, request):
    """A module on the path that leaves a file when it is imported; each test has its own."""
    name = f"archive_evil_{abs(hash(request.node.name))}"
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / f"{name}.py").write_text(
        f"open({str(tmp_path / 'imported')!r}, 'w').close()\n"
        "from torchport.models import ModelPT\n"
        "import torch\n"
        "class Evil(ModelPT):\n    def __init__(self, cfg, trainer=None):\n        super().__init__(cfg)\n"
        "        self.scores = torch.nn.Linear(4, 3)\n        self.norm = torch.nn.BatchNorm1d(3)\n"
        "class NotAModel: pass\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield SimpleNamespace(name=name, imported=tmp_path / "imported")
    sys.modules.pop(name, None)


@pytest.mark.parametrize("calling", [ModelPT, ArchiveTagger])
def test_a_class_that_nobody_trusts_is_not_imported(tmp_path, evil, calling, scratch):
    path = archive(tmp_path / "m.nemo", config=config_bytes(target=f"{evil.name}.Evil"))
    with pytest.raises(UntrustedClassError) as caught:
        calling.restore_from(path)
    assert "it was not imported" in str(caught.value)
    assert f"trust='{evil.name}.Evil'" in str(caught.value)
    assert not evil.imported.exists()
    assert evil.name not in sys.modules
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "subprocess.Popen", "torch.nn.Linear", "", "....", "os"])
def test_a_function_is_no_class_to_restore(tmp_path, refuse, target):
    assert "not trusted" in refuse(archive(tmp_path / "m.nemo", config=config_bytes(target=target)), UntrustedClassError)


def test_a_class_named_by_the_caller_is_imported(tmp_path, evil):
    path = archive(tmp_path / "m.nemo", config=config_bytes(target=f"{evil.name}.Evil"))
    for trust in (f"{evil.name}.Evil", f"{evil.name}:Evil", ["other.Thing", f"{evil.name}.Evil"]):
        assert type(ModelPT.restore_from(path, trust=trust)).__name__ == "Evil"
    assert evil.imported.exists()


def test_trust_in_one_class_is_not_trust_in_another(tmp_path, evil):
    path = archive(tmp_path / "m.nemo", config=config_bytes(target=f"{evil.name}.Evil"))
    with pytest.raises(UntrustedClassError):
        ModelPT.restore_from(path, trust=[evil.name, f"{evil.name}.Other", ArchiveTagger])
    assert not evil.imported.exists()


def test_a_trusted_thing_still_has_to_be_a_model(tmp_path, refuse, evil):
    path = archive(tmp_path / "m.nemo", config=config_bytes(target=f"{evil.name}.Evil"))
    with pytest.raises(ArchiveError, match="names another model"):
        ArchiveTagger.restore_from(path, trust=f"{evil.name}.Evil")
    for target in (f"{evil.name}.NotAModel", f"{evil.name}.Absent", "os.system"):
        path = archive(tmp_path / "m.nemo", config=config_bytes(target=target))
        with pytest.raises(ArchiveError, match="names another model"):
            ModelPT.restore_from(path, trust=target)
    path = archive(tmp_path / "m.nemo", config=config_bytes(target="archive_absent.Thing"))
    with pytest.raises(ArchiveError, match="cannot be imported"):
        ModelPT.restore_from(path, trust="archive_absent.Thing")


# --- the weights ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_calls_is_not_called(tmp_path, refuse, protocol):
    target = tmp_path / "called"
    message = refuse(archive(tmp_path / "m.nemo", weights=calling(os.system, f"touch {target}", protocol=protocol)))
    assert not target.exists()
    assert "call a function" in message if protocol < 4 else "more than hold tensors" in message
    if protocol < 4:
        assert "posix.system" in message


@pytest.mark.parametrize("function", [eval, getattr, torch.load, torch.hub.load, bytearray, __import__])
def test_no_function_but_those_that_rebuild_tensors_is_let_through(tmp_path, refuse, function):
    assert "call a function" in refuse(archive(tmp_path / "m.nemo", weights=calling(function, "x")))


def test_a_bare_pickle_is_refused(tmp_path, refuse):
    assert "not a torch checkpoint" in refuse(archive(tmp_path / "m.nemo", weights=pickle.dumps({})))
    old = io.BytesIO()
    torch.save(ArchiveTagger({"width": 4, "tags": 3}).state_dict(), old, _use_new_zipfile_serialization=False)
    assert "before torch 1.6" in refuse(archive(tmp_path / "m.nemo", weights=old.getvalue()))


def test_a_compressed_checkpoint_is_refused(tmp_path, refuse):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as container:
        container.writestr("archive/data.pkl", pickle.dumps({}, 2))
        container.writestr("archive/data/0", bytes(10 * 1024**2))
    assert "unpack to more than the file holds" in refuse(archive(tmp_path / "m.nemo", weights=out.getvalue()))


def test_records_that_share_their_bytes_are_refused(tmp_path, refuse):
    data = checkpoint_with(pickle.dumps({}, 2), **{"data_0": bytes(5000)})
    entry = data.index(b"PK\x01\x02")
    names = data[entry:]
    crowded = data[:entry] + names.replace(struct.pack("<I", 5000), struct.pack("<I", 500_000))
    message = refuse(archive(tmp_path / "m.nemo", weights=crowded))
    assert "unpack to more than the file holds" in message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_record_that_comes_twice_is_refused(tmp_path, refuse):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as container:
        container.writestr("archive/data.pkl", pickle.dumps({}, 2))
        container.writestr("archive/data.pkl", pickle.dumps({}, 2))
    assert "a record twice" in refuse(archive(tmp_path / "m.nemo", weights=out.getvalue()))


def test_a_record_whose_name_is_no_text_is_refused(tmp_path, refuse):
    data = weights_bytes()
    entry = data.index(b"PK\x01\x02")
    damaged = bytearray(data)
    damaged[entry + 8 : entry + 10] = struct.pack("<H", 0x800)
    damaged[entry + 46] = 0xFF
    assert "the weights are not readable" in refuse(archive(tmp_path / "m.nemo", weights=bytes(damaged)))


def test_a_zip_without_tensors_is_refused(tmp_path, refuse):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as container:
        container.writestr("readme.txt", "hello")
    assert "without data.pkl" in refuse(archive(tmp_path / "m.nemo", weights=out.getvalue()))


@pytest.mark.parametrize("pickled", [b"", b"\x80\x02", b"garbage", pickle.dumps([1], 2), pickle.dumps({1: 2}, 2), pickle.dumps(7, 2)])
def test_an_index_that_is_no_state_dict_is_refused(tmp_path, refuse, pickled):
    message = refuse(archive(tmp_path / "m.nemo", weights=checkpoint_with(pickled)))
    assert any(said in message for said in ("not a state dict", "index is broken", "not readable"))


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path, refuse):
    good = weights_bytes({"scores.weight": torch.zeros(10)})
    huge = rewritten(good, lambda index: index.replace(b"QK\x00K\n\x85", b"QK\x00J\xff\xff\xff\x7f\x85"))
    assert huge != good
    assert "not readable" in refuse(archive(tmp_path / "m.nemo", weights=huge))


def test_names_that_do_not_fit_are_listed_with_the_nearest(tmp_path, refuse):
    state = ArchiveTagger({"width": 4, "tags": 3}).state_dict()
    state["scoers.weight"] = state.pop("scores.weight")
    message = refuse(archive(tmp_path / "m.nemo", weights=weights_bytes(state)))
    assert "missing: scores.weight (there is scoers.weight)" in message
    assert "unexpected: scoers.weight" in message
    assert "the 7 tensors of ArchiveTagger" in message


def test_a_long_list_of_names_is_cut(tmp_path, refuse):
    state = ArchiveTagger({"width": 4, "tags": 3}).state_dict() | {f"extra{n}": torch.zeros(1) for n in range(30)}
    assert "and 22 more" in refuse(archive(tmp_path / "m.nemo", weights=weights_bytes(state)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.zeros(3, 5), "float32 (3, 5), the model has float32 (3, 4)"),
        (torch.zeros(3, 4, dtype=torch.int64), "int64 (3, 4), the model has float32"),
        (torch.zeros(1, 1).expand(3, 5), "float32 (3, 5)"),
        ("text", "str, the model has"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path, refuse, value, said):
    state = ArchiveTagger({"width": 4, "tags": 3}).state_dict() | {"scores.weight": value}
    message = refuse(archive(tmp_path / "m.nemo", weights=weights_bytes(state)))
    assert f"scores.weight is {said}" in message


# --- artifacts -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["nemo:absent.txt", "nemo:../../etc/passwd", "nemo:/etc/passwd", "/etc/passwd", "nemo:", "../m.nemo"])
def test_a_config_reaches_no_file_outside_the_archive(tmp_path, refuse, wanted):
    path = archive(tmp_path / "m.nemo", file("./abc_vocab.txt", b"a"), config=config_bytes(tokenizer={"vocabulary": wanted}))
    message = refuse(path)
    assert "the archive lacks a file that the model needs" in message
    assert "tokenizer.vocabulary" in message


def test_a_reader_of_archives_cannot_be_led_outside_either(tmp_path):
    with open_archive(archive(tmp_path / "m.nemo", file("./abc_vocab.txt", b"a"))) as opened:
        assert opened.artifact("nemo:abc_vocab.txt").read_bytes() == b"a"
        with pytest.raises(ArchiveError, match="leaves the folder"):
            opened.artifact("nemo:../../etc/passwd")
        with pytest.raises(ArchiveError, match="no such artifact"):
            opened.artifact("nemo:absent")


def test_an_interrupted_restore_leaves_nothing(tmp_path, scratch, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    path = archive(tmp_path / "m.nemo", file("./abc_vocab.txt", b"a"), config=config_bytes(tokenizer={"vocabulary": "nemo:abc_vocab.txt"}))
    monkeypatch.setattr("torchport.models.model_pt.copy_into", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ArchiveTagger.restore_from(path)
    import gc

    gc.collect()
    assert list(scratch.iterdir()) == []


def test_a_config_that_asks_for_a_model_of_terabytes_is_refused_before_it_is_built(tmp_path):
    path = archive(
        tmp_path / "m.nemo",
        config=b"target: torchport.models.alexnet.AlexNet\nnum_classes: 8589934592\n",
        weights=weights_bytes({"one": torch.zeros(1)}),
    )
    with pytest.raises(ArchiveError, match="the weights do not fit the model"):
        ModelPT.restore_from(path)
