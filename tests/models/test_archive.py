"""The archive: written the same every time and in one step, read as NeMo writes it, equal after the round trip."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from archive_makers import SIZES, TARGET, ArchiveTagger, archive, config_bytes, file, tar_bytes, weights_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchport.errors import ArchiveError, OptionError, TorchportError
from torchport.models import Archive, ModelPT, open_archive, read_archive_config
from torchport.models._write import artifact_name, write_archive

quiet = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda key: key not in ("target", "tokenizer"))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"), max_size=20)
configs = st.dictionaries(
    keys,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8),
    max_size=5,
)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@quiet
@given(extra=configs, values=st.lists(st.floats(width=32), min_size=12, max_size=12), vocabulary=st.binary(max_size=2000))
def test_save_and_restore_gives_the_same_model(tmp_path, extra, values, vocabulary):
    source = tmp_path / "vocab.txt"
    source.write_bytes(vocabulary)
    model = ArchiveTagger({**extra, **SIZES, "tokenizer": {"vocabulary": str(source)}})
    with torch.no_grad():
        model.scores.weight.copy_(torch.tensor(values).reshape(3, 4))
    restored = ModelPT.restore_from(model.save_to(tmp_path / "m.nemo"))
    assert type(restored) is ArchiveTagger
    assert {name: bits(tensor) for name, tensor in restored.state_dict().items()} == {
        name: bits(tensor) for name, tensor in model.state_dict().items()
    }
    assert Path(restored.vocabulary).read_bytes() == vocabulary
    expected = model.cfg.to_dict()
    expected["tokenizer"]["vocabulary"] = f"nemo:{artifact_name(source)}"
    assert restored.cfg == expected
    assert restored.save_to(tmp_path / "again.nemo").read_bytes() == (tmp_path / "m.nemo").read_bytes()


@settings(quiet, max_examples=150)
@given(damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4), compress=st.booleans())
def test_a_damaged_archive_is_refused_or_restored_but_nothing_else(tmp_path, damage, compress):
    path = archive(tmp_path / "m.nemo", file("./abc_vocab.txt", b"a b c"), compress=compress)
    content = bytearray(path.read_bytes())
    for place, value in damage:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    try:
        restored = ArchiveTagger.restore_from(path)
    except TorchportError:
        return
    assert isinstance(restored, ArchiveTagger)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_keep_the_dtype_they_were_saved_in(tmp_path, dtype):
    model = ArchiveTagger(SIZES).to(dtype)
    restored = ArchiveTagger.restore_from(model.save_to(tmp_path / "m.nemo"))
    assert restored.scores.weight.dtype == restored.norm.running_mean.dtype == dtype
    assert torch.equal(restored.scores.weight, model.scores.weight)
    assert restored.scores.weight.requires_grad


def test_the_same_model_gives_the_same_bytes_from_any_folder_time_and_hash_seed(tmp_path):
    code = (
        "import sys, torch\nfrom archive_makers import ArchiveTagger\ntorch.manual_seed(0)\n"
        "ArchiveTagger({'width': 4, 'tags': 3, 'tokenizer': {'vocabulary': 'v.txt'}}).save_to('m.nemo')"
    )
    digests = set()
    for seed in ("1", "2"):
        folder = tmp_path / f"in {seed}"
        folder.mkdir()
        (folder / "v.txt").write_text("a b")
        os.utime(folder / "v.txt", (int(seed) * 1000, 0))
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
        digests.add(hashlib.sha256((folder / "m.nemo").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_members_are_those_that_nemo_expects(tmp_path):
    source = tmp_path / "vocab.txt"
    source.write_text("a")
    path = ArchiveTagger({**SIZES, "tokenizer": {"vocabulary": str(source)}}).save_to(tmp_path / "m.nemo")
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        config = tar.extractfile("./model_config.yaml").read().decode()
        weights = torch.load(io.BytesIO(tar.extractfile("./model_weights.ckpt").read()), weights_only=True)
    assert [member.name for member in members] == ["./model_config.yaml", "./model_weights.ckpt", f"./{artifact_name(source)}"]
    assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {(0, 0, 0, "", 0o644)}
    assert config == f"width: 4\ntags: 3\ntokenizer:\n  vocabulary: nemo:{artifact_name(source)}\ntarget: {TARGET}\n"
    assert list(weights) == list(ArchiveTagger(SIZES).state_dict())
    assert path.stat().st_size % 10240 == 0


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_archives_as_nemo_writes_them_open(tmp_path, prefix, compress, form):
    folder = tmp_path / "folder"
    folder.mkdir()
    model = ArchiveTagger(SIZES)
    (folder / "model_config.yaml").write_bytes(config_bytes(tokenizer={"vocabulary": "nemo:0123_vocab.txt"}, nemo_version="2.4.0", lr=1e-5))
    (folder / "0123_vocab.txt").write_text("a b")
    torch.save(model.state_dict(), folder / "model_weights.ckpt")
    with tarfile.open(tmp_path / "m.nemo", "w:gz" if compress else "w:", format=form) as tar:
        if prefix:
            tar.add(folder, arcname=".")
        else:
            for found in folder.iterdir():
                tar.add(found, arcname=found.name)
    restored = ArchiveTagger.restore_from(tmp_path / "m.nemo")
    assert torch.equal(restored.scores.weight, model.scores.weight)
    assert Path(restored.vocabulary).read_text() == "a b"
    assert restored.cfg.lr == 1e-5


def test_an_old_archive_that_names_its_files_plainly_opens(tmp_path):
    config = config_bytes(tokenizer={"vocabulary": "/home/somebody/vocab.txt"})
    restored = ArchiveTagger.restore_from(archive(tmp_path / "m.nemo", file("vocab.txt", b"a b"), config=config))
    assert Path(restored.vocabulary).read_bytes() == b"a b"


def test_reading_an_archive_without_building_a_model(tmp_path):
    path = archive(tmp_path / "m.nemo", file("./abc_vocab.txt", b"a b"), config=config_bytes(target="somebody.elses.Model"))
    with open_archive(path) as opened:
        assert isinstance(opened, Archive)
        assert opened.config.target == "somebody.elses.Model"
        assert opened.artifacts == ("abc_vocab.txt",)
        assert opened.weights()["scores.weight"].shape == (3, 4)
        folder = opened.folder
    assert not folder.exists()
    assert read_archive_config(path).target == "somebody.elses.Model"


def test_the_config_is_found_behind_other_members(tmp_path):
    path = archive(tmp_path / "m.nemo", first=(file("./", type=tarfile.DIRTYPE), file("./0123_vocab.txt", b"x" * 2_000_000)))
    assert read_archive_config(path).width == 4
    with open_archive(path) as opened:
        assert opened.artifacts == ("0123_vocab.txt",)


def test_only_the_config_is_read_where_only_the_config_is_asked_for(tmp_path):
    path = archive(tmp_path / "m.nemo", weights=b"not weights at all")
    assert ModelPT.restore_from(path, return_config=True).width == 4
    with pytest.raises(ArchiveError):
        ModelPT.restore_from(path)


def test_views_are_saved_alone_and_tied_weights_once(tmp_path):
    whole = torch.randn(1_000_000)
    state = {"view": whole[:3], "one": (tied := torch.randn(50_000)), "two": tied, "strided": torch.randn(4, 5).t()}
    path = write_archive(tmp_path / "m.nemo", {"a": 1}, state, {})
    assert path.stat().st_size < 300_000
    with open_archive(path) as opened:
        back = opened.weights()
        assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
        assert back["one"].data_ptr() == back["two"].data_ptr()


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "m.nemo"
    before = ArchiveTagger(SIZES).save_to(path).read_bytes()

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("torchport.models._write.write_weights", fails)
    with pytest.raises(KeyboardInterrupt):
        ArchiveTagger(SIZES).save_to(path)
    with pytest.raises(KeyboardInterrupt):
        ArchiveTagger(SIZES).save_to(tmp_path / "new" / "folder" / "m.nemo")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_save_makes_the_folder_and_replaces_the_file(tmp_path):
    path = tmp_path / "a" / "b" / "m.nemo"
    first = ArchiveTagger(SIZES).save_to(path).read_bytes()
    assert ArchiveTagger(SIZES).save_to(str(path)).read_bytes() != first
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(OptionError, match="over a folder"):
        ArchiveTagger(SIZES).save_to(tmp_path)


@pytest.mark.parametrize(
    ("value", "said"),
    [(torch.nn.ReLU, "type"), (print, "builtin_function"), (b"x", "bytes"), ({1, 2}, "set"), (1j, "complex"), ("\ud800", "not valid text")],
)
def test_a_config_that_cannot_be_saved_names_the_place(tmp_path, value, said):
    with pytest.raises(OptionError) as caught:
        ArchiveTagger({**SIZES, "encoder": {"layers": [1, value]}}).save_to(tmp_path / "m.nemo")
    assert "encoder.layers.1" in str(caught.value)
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a": torch.zeros(2, device="meta")}, "meta device"),
        ({"a": object()}, "could not be read back"),
        ({"a": {"b": [bytearray(2)]}}, "could not be read back"),
    ],
)
def test_weights_that_cannot_be_read_back_are_not_written(tmp_path, state, said):
    with pytest.raises(OptionError, match=said):
        write_archive(tmp_path / "m.nemo", {}, state, {})
    assert list(tmp_path.iterdir()) == []


def test_further_state_comes_back(tmp_path):
    state = {"a._extra_state": {"steps": [1, 2.5, None, "x", b"y"]}, "b": torch.eye(2).to_sparse()}
    with open_archive(write_archive(tmp_path / "m.nemo", {}, state, {})) as opened:
        back = opened.weights()
        assert back["a._extra_state"] == state["a._extra_state"]
        assert torch.equal(back["b"].to_dense(), torch.eye(2))


def test_an_artifact_that_vanishes_while_saving_is_named(tmp_path):
    with pytest.raises(OptionError, match="cannot be packed"):
        write_archive(tmp_path / "m.nemo", {}, {}, {"abc_x.txt": tmp_path / "absent.txt"})
    assert list(tmp_path.iterdir()) == []


def test_weights_from_a_training_checkpoint_are_taken_out_of_it(tmp_path):
    state = {"state_dict": ArchiveTagger(SIZES).state_dict(), "epoch": 3}
    restored = ArchiveTagger.restore_from(archive(tmp_path / "m.nemo", weights=weights_bytes(state)))
    assert torch.equal(restored.scores.weight, state["state_dict"]["scores.weight"])


def test_an_unreadable_file_is_a_plain_error(tmp_path, monkeypatch):
    path = archive(tmp_path / "m.nemo")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        ModelPT.restore_from(path)


def test_a_tar_without_its_end_is_cut_short(tmp_path):
    path = tmp_path / "m.nemo"
    path.write_bytes(tar_bytes(file("model_config.yaml", config_bytes()), file("model_weights.ckpt", weights_bytes()), end=False))
    with pytest.raises(ArchiveError, match="cut short"):
        ArchiveTagger.restore_from(path)
