"""``from_pretrained``: files, lists, the cache, Hugging Face, classes that build themselves, and what is refused."""

from __future__ import annotations

import hashlib
import io
import sys
import types
import urllib.error
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from archive_makers import SIZES, ArchiveTagger, archive

from torchport.errors import ArchiveError, MissingDependencyError, OptionError, TorchportError, UnknownModelError
from torchport.models import Family, ModelPT, PretrainedModelInfo, families
from torchport.models import _download as download
from torchport.models.pretrained import package_file


class Listed(ArchiveTagger):
    """A model with a list; the tests fill it."""

    entries: ClassVar[list[PretrainedModelInfo]] = []

    @classmethod
    def list_available_models(cls):
        return cls.entries

    @classmethod
    def build_pretrained(cls, info):
        if info.location == "builtin:seeded":
            torch.manual_seed(0)
            return cls(SIZES)
        return super().build_pretrained(info)


class FromList(Listed):
    """A subclass; its parent's lookup finds it."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("TORCHPORT_CACHE", str(folder))
    monkeypatch.setattr(Listed, "entries", [])
    return folder


@pytest.fixture
def served(tmp_path):
    """An archive behind a ``file://`` address, with its digest."""
    folder = tmp_path / "served"
    folder.mkdir()
    path = Listed(SIZES).save_to(folder / "tagger en.nemo")
    return types.SimpleNamespace(path=path, url=path.as_uri(), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def lists(name="tagger-en", location="builtin:seeded", sha256=""):
    Listed.entries = [PretrainedModelInfo(name, "tags English", location, sha256)]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


# --- names ---------------------------------------------------------------------------------------------------------------------------


def test_a_path_is_restored(served, monkeypatch):
    assert type(ModelPT.from_pretrained(str(served.path))) is Listed
    assert type(ModelPT.from_pretrained(model_name=served.path)) is Listed
    monkeypatch.chdir(served.path.parent)
    assert type(Listed.from_pretrained("tagger en.nemo")) is Listed


@pytest.mark.parametrize("name", ["absent.nemo", "./absent", "/absent/model"])
def test_a_path_that_is_not_there_is_refused(name):
    with pytest.raises(UnknownModelError, match="there is no such file"):
        Listed.from_pretrained(name)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    lists()
    with pytest.raises(UnknownModelError) as caught:
        Listed.from_pretrained("tager-en")
    assert "expected: tagger-en" in str(caught.value)
    assert "did you mean 'tagger-en'?" in str(caught.value)
    with pytest.raises(UnknownModelError) as caught:
        ModelPT.from_pretrained("speaker-encoder-ne")
    assert "did you mean 'speaker-encoder-en'?" in str(caught.value)
    with pytest.raises(UnknownModelError, match="lists none"):
        FromAnother.from_pretrained("x")


class FromAnother(ModelPT):
    """A model without a list."""


def test_every_name_of_a_list_is_found_from_above():
    lists()
    assert type(Listed.from_pretrained("tagger-en")) is Listed
    assert type(ArchiveTagger.from_pretrained("tagger-en", map_location=None)) is Listed
    assert type(FromList.from_pretrained("tagger-en")) is FromList
    assert FromAnother.list_available_models() == []


def test_the_base_class_finds_a_registered_name(monkeypatch):
    lists("tagger-xx")
    families.add("listed", Family("listed", f"{__name__}:Listed", "tags", pretrained=("tagger-xx",)))
    monkeypatch.setattr(ModelPT, "__subclasses__", lambda: [], raising=False)
    try:
        with pytest.raises(UnknownModelError, match="another model"):
            FromAnother.from_pretrained("tagger-xx")
        monkeypatch.setattr("torchport.models.pretrained._listed", lambda cls: iter(()))
        assert type(ModelPT.from_pretrained("tagger-xx")) is Listed
        Listed.entries = []
        with pytest.raises(UnknownModelError):
            ModelPT.from_pretrained("tagger-xx")
    finally:
        families.remove("listed")


def test_the_base_class_lists_what_the_families_list(monkeypatch):
    lists("tagger-xx")
    monkeypatch.setattr(
        "torchport.models._zoo.families.values", lambda: [Family("listed", f"{__name__}:Listed", "", pretrained=("tagger-xx",))]
    )
    assert [info.pretrained_model_name for info in ModelPT.list_available_models()] == ["tagger-xx"]


@pytest.mark.parametrize(
    "family", [family for family in families.values() if family.path.startswith("torchport.")], ids=lambda family: family.name
)
def test_a_family_offers_the_names_that_its_class_lists(family):
    assert tuple(info.pretrained_model_name for info in family.load().list_available_models()) == family.pretrained


# --- classes that build themselves ---------------------------------------------------------------------------------------------------


def test_a_class_may_build_its_own():
    lists()
    assert torch.equal(Listed.from_pretrained("tagger-en").scores.weight, Listed.from_pretrained("tagger-en").scores.weight)
    lists(location="package:something")
    with pytest.raises(OptionError, match="lists a model that it cannot build"):
        Listed.from_pretrained("tagger-en")


def test_a_file_of_an_installed_package_is_found_and_checked():
    import yaml

    sha256 = hashlib.sha256(Path(yaml.__file__).read_bytes()).hexdigest()
    found = package_file("PyYAML", "yaml/__init__.py", sha256=sha256, purpose="test")
    assert found.samefile(yaml.__file__)
    with pytest.raises(ArchiveError, match="its sha256 differs"):
        package_file("PyYAML", "yaml/__init__.py", sha256="0" * 64, purpose="test")
    with pytest.raises(MissingDependencyError, match="needed to test"):
        package_file("PyYAML", "yaml/absent.py", sha256=sha256, purpose="test")
    with pytest.raises(MissingDependencyError) as caught:
        package_file("no-such-package-here", "x", sha256=sha256, purpose="test")
    assert "pip install --no-deps no-such-package-here" in str(caught.value)


# --- addresses -----------------------------------------------------------------------------------------------------------------------


def test_a_listed_file_is_fetched_once_and_checked_each_time(served, cache):
    lists(location=served.url, sha256=served.sha256.upper())
    first = Listed.from_pretrained("tagger-en")
    served.path.unlink()
    assert torch.equal(Listed.from_pretrained("tagger-en").scores.weight, first.scores.weight)
    assert files(cache) == [served.sha256[:32], "tagger_20en.nemo"]


def test_a_file_with_another_digest_is_deleted_and_refused(served, cache):
    lists(location=served.url, sha256="0" * 64)
    with pytest.raises(ArchiveError, match="its sha256 differs") as caught:
        Listed.from_pretrained("tagger-en")
    assert served.sha256 in str(caught.value)
    assert files(cache) == []


def test_a_damaged_file_in_the_cache_is_fetched_again(served, cache):
    lists(location=served.url, sha256=served.sha256)
    Listed.from_pretrained("tagger-en")
    kept = next(cache.rglob("*.nemo"))
    kept.write_bytes(b"half")
    Listed.from_pretrained("tagger-en")
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == served.sha256


@pytest.mark.parametrize("location", ["http://example.org/m.nemo", "ftp://example.org/m.nemo", "m.nemo", ""])
def test_only_safe_addresses_are_used(location):
    lists(location=location, sha256="0" * 64)
    with pytest.raises(OptionError, match="location cannot be used"):
        Listed.from_pretrained("tagger-en")


def test_an_address_without_a_digest_is_not_used(served):
    lists(location=served.url)
    with pytest.raises(OptionError, match="without its sha256"):
        Listed.from_pretrained("tagger-en")


def test_a_file_that_cannot_be_fetched_leaves_nothing(tmp_path, cache):
    lists(location=(tmp_path / "absent.nemo").as_uri(), sha256="0" * 64)
    with pytest.raises(TorchportError, match="could not be fetched"):
        Listed.from_pretrained("tagger-en")
    assert files(cache) == []


def test_a_file_without_end_is_stopped(served, cache, monkeypatch):
    monkeypatch.setattr(download, "_MAX_BYTES", 100)
    lists(location=served.url, sha256=served.sha256)
    with pytest.raises(ArchiveError, match="too large"):
        Listed.from_pretrained("tagger-en")
    assert files(cache) == []


def test_an_interrupted_download_leaves_nothing(served, cache, monkeypatch):
    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise KeyboardInterrupt
            return super().read(10)

    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda *_, **__: Interrupted(b"x" * 100))
    lists(location="https://example.org/m.nemo", sha256=served.sha256)
    with pytest.raises(KeyboardInterrupt):
        Listed.from_pretrained("tagger-en")
    assert files(cache) == []


def test_a_redirect_away_from_https_is_not_followed():
    handler = download._HttpsOnly()
    request = download.urllib.request.Request("https://example.org/m.nemo")
    assert handler.redirect_request(request, io.BytesIO(), 302, "", {}, "https://example.org/n.nemo").full_url.endswith("n.nemo")
    with pytest.raises(urllib.error.URLError, match="not https"):
        handler.redirect_request(request, io.BytesIO(), 302, "", {}, "http://example.org/n.nemo")
    with pytest.raises(urllib.error.URLError, match="not https"):
        handler.redirect_request(request, io.BytesIO(), 302, "", {}, "file:///etc/passwd")


@pytest.mark.parametrize(
    ("platform", "variable", "ends"),
    [("linux", "XDG_CACHE_HOME", "torchport"), ("darwin", None, "Library/Caches/torchport"), ("win32", "LOCALAPPDATA", "torchport/Cache")],
)
def test_the_cache_is_where_the_platform_keeps_caches(tmp_path, monkeypatch, platform, variable, ends):
    monkeypatch.delenv("TORCHPORT_CACHE")
    monkeypatch.setattr(sys, "platform", platform)
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path))
    assert download.cache_folder().as_posix().endswith(ends)


# --- Hugging Face --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for ``huggingface_hub`` over a folder."""
    errors = types.ModuleType("huggingface_hub.errors")
    for name in ("EntryNotFoundError", "RepositoryNotFoundError", "RevisionNotFoundError"):
        setattr(errors, name, type(name, (Exception,), {}))
    package = types.ModuleType("huggingface_hub")
    package.errors = errors
    folder, asked = tmp_path / "hub", []
    (folder / "org" / "tagger").mkdir(parents=True)

    def hf_hub_download(repo_id, filename, revision=None):
        asked.append((repo_id, filename, revision))
        if package.broken:
            raise OSError("no network")
        if not (folder / repo_id).is_dir():
            raise errors.RepositoryNotFoundError("404\nlong text")
        if revision == "absent":
            raise errors.RevisionNotFoundError("")
        if not (folder / repo_id / filename).is_file():
            raise errors.EntryNotFoundError("no entry")
        return str(folder / repo_id / filename)

    package.hf_hub_download = hf_hub_download
    package.HfApi = lambda: types.SimpleNamespace(list_repo_files=lambda repo, revision=None: files(folder / repo))
    package.broken = False
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return types.SimpleNamespace(folder=folder / "org" / "tagger", asked=asked, package=package)


@pytest.mark.parametrize("name", ["org/tagger", "hf://org/tagger", "hf://org/tagger@v1", "hf://org/tagger/tagger.nemo"])
def test_a_repository_is_fetched_and_restored(hub, name):
    Listed(SIZES).save_to(hub.folder / "tagger.nemo")
    assert type(ModelPT.from_pretrained(name)) is Listed
    assert hub.asked == [("org/tagger", "tagger.nemo", "v1" if "@" in name else None)]


def test_the_one_archive_of_a_repository_is_found(hub):
    Listed(SIZES).save_to(hub.folder / "other.nemo")
    (hub.folder / "readme.md").write_text("")
    assert type(ModelPT.from_pretrained("org/tagger")) is Listed
    Listed(SIZES).save_to(hub.folder / "third.nemo")
    with pytest.raises(UnknownModelError) as caught:
        ModelPT.from_pretrained("org/tagger")
    assert "other.nemo, third.nemo" in str(caught.value)
    assert "hf://org/name/file.nemo" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("org/absent", "Hugging Face has no such model"),
        ("hf://org/tagger@absent", "Hugging Face has no such model"),
        ("hf://org/tagger/absent.nemo", "Hugging Face has no such model"),
        ("hf://tagger", "not a Hugging Face repository"),
        ("hf://org/tagger/../../x.nemo@y", "not a Hugging Face repository"),
    ],
)
def test_a_repository_that_is_not_there_is_unknown(hub, name, said):
    with pytest.raises(UnknownModelError, match=said):
        ModelPT.from_pretrained(name)


def test_a_repository_out_of_reach_is_an_error_with_its_cause(hub):
    hub.package.broken = True
    with pytest.raises(TorchportError, match="could not be fetched from Hugging Face"):
        ModelPT.from_pretrained("org/tagger")


def test_a_listed_repository_is_checked_by_its_digest(hub):
    path = Listed(SIZES).save_to(hub.folder / "tagger.nemo")
    lists(location="hf://org/tagger", sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert type(Listed.from_pretrained("tagger-en")) is Listed
    lists(location="hf://org/tagger", sha256="0" * 64)
    with pytest.raises(ArchiveError, match="its sha256 differs"):
        Listed.from_pretrained("tagger-en")


def test_without_the_extra_a_repository_says_which_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError) as caught:
        ModelPT.from_pretrained("org/tagger")
    assert "torchport[hub]" in str(caught.value)


def test_what_comes_from_a_list_is_still_not_trusted(hub, tmp_path):
    from archive_makers import config_bytes

    from torchport.errors import UntrustedClassError

    archive(hub.folder / "tagger.nemo", config=config_bytes(target="nemo.collections.nlp.models.Tagger"))
    with pytest.raises(UntrustedClassError):
        ModelPT.from_pretrained("org/tagger")


def test_a_path_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    from torchport.models.alexnet import AlexNet

    AlexNet.from_pretrained("alexnet-random").save_to(tmp_path / "mine.nemo")
    assert isinstance(ModelPT.from_pretrained("~/mine.nemo"), AlexNet)
