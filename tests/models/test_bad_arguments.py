"""Arguments of checkpoints and settings of built-in models that cannot be used: refused by name, nothing written."""

from __future__ import annotations

import errno
import pathlib

import pytest
import torch
from archive_makers import SIZES, ArchiveTagger

from torchport.errors import OptionError, OptionTypeError, UnusablePathError
from torchport.models import families


@pytest.fixture
def saved(tmp_path):
    return ArchiveTagger(SIZES).save_to(tmp_path / "m.nemo")


@pytest.mark.parametrize("path", [None, 3, b"m.nemo"])
def test_a_path_that_is_none_is_a_type_error(path):
    for call, argument in ((ArchiveTagger.restore_from, "restore_path"), (ArchiveTagger(SIZES).save_to, "path")):
        with pytest.raises(TypeError, match="named by its path") as caught:
            call(path)
        assert isinstance(caught.value, OptionTypeError)
        assert caught.value.where == argument


def test_a_path_with_a_zero_byte_is_refused():
    with pytest.raises(OptionError, match="zero byte"):
        ArchiveTagger(SIZES).save_to("m\0.nemo")


@pytest.mark.parametrize(("place", "error"), [("foo", OptionError), ("cuda:99", OptionError), (3.5, OptionTypeError)])
def test_a_device_that_is_not_there_is_refused_before_the_file_is_read(place, error, saved):
    for path in (saved, "is-not-there.nemo"):
        with pytest.raises(error) as caught:
            ArchiveTagger.restore_from(path, map_location=place)
        assert caught.value.where == "map_location"
    with pytest.raises(error):
        families["alexnet"].load().from_pretrained("alexnet-small-random", map_location=place)


def test_a_device_may_be_given_as_text_as_one_or_not_at_all(saved):
    for place in ("cpu", torch.device("cpu"), None):
        assert ArchiveTagger.restore_from(saved, map_location=place).scores.weight.device.type == "cpu"


def test_a_checkpoint_below_a_file_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusablePathError, match="cannot be written there") as caught:
        ArchiveTagger(SIZES).save_to(tmp_path / "file" / "new" / "m.nemo")
    assert caught.value.found == "Not a directory"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "replace", full)
    with pytest.raises(UnusablePathError) as caught:
        ArchiveTagger(SIZES).save_to(tmp_path / "new" / "m.nemo")
    assert caught.value.found == "No space left on device"
    assert not list(tmp_path.iterdir())


def test_a_class_that_cannot_be_built_from_the_config_says_so():
    with pytest.raises(OptionError, match="ArchiveTagger cannot be built from the config") as caught:
        ArchiveTagger.from_config({})
    assert "AttributeError" in caught.value.found
    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize(
    ("family", "name", "value", "expected"),
    [
        ("alexnet", "dropout", 2.0, "0 to 1"),
        ("alexnet", "width", float("nan"), "finite"),
        ("alexnet", "width", float("inf"), "finite"),
        ("alexnet", "width", -1, "above 0"),
        ("alexnet", "width", 0, "above 0"),
        ("alexnet", "num_classes", 0, "1 or more"),
        ("alexnet", "seed", 2**70, "18446744073709551615"),
        ("fastpitch", "seed", -(2**63) - 1, "-9223372036854775808"),
        ("fastpitch", "channels", 5, "a multiple of 2"),
        ("fastpitch", "kernel", 4, "odd"),
        ("fastpitch", "speakers", 0, "1 or more"),
        ("speaker-encoder", "window", 3, "a multiple of 2"),
        ("speaker-encoder", "hop", 0, "1 or more"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(family, name, value, expected):
    with pytest.raises(ValueError, match=f"the setting '{name}' is out of bounds") as caught:
        families[family].load().from_config({name: value})
    assert isinstance(caught.value, OptionError)
    assert (caught.value.where, caught.value.found) == (name, repr(float(value) if name == "width" else value))
    assert expected in caught.value.expected
