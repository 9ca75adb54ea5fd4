"""``ModelPT``: configs of every kind, building, artifacts, submodules, restoring in part."""

from __future__ import annotations

import copy
import dataclasses
import enum
import gc
import pickle
import subprocess
import sys
import threading
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from archive_makers import SIZES, TARGET, ArchiveTagger, OtherTagger, archive, config_bytes, file, weights_bytes

from torchport.errors import ArchiveError, OptionError, TorchportError, UntrustedClassError
from torchport.models import Family, ModelPT, families
from torchport.models._config import Config, as_config
from torchport.models._trust import class_path


class Fixed(enum.Enum):
    FIRST = "first"


@dataclasses.dataclass
class Sizes:
    width: int = 4
    tags: int = 3
    nested: dict = dataclasses.field(default_factory=lambda: {"a": (1, 2)})


class WithoutTrainer(ModelPT):
    def __init__(self, cfg):
        super().__init__(cfg)
        self.scores = torch.nn.Linear(2, 2)


class Pair(ModelPT):
    """A model with a whole model inside."""

    def __init__(self, cfg, trainer=None):
        super().__init__(cfg, trainer)
        self.register_nemo_submodule("tagger", "inner.tagger", ArchiveTagger(self.cfg.inner.tagger))


class MixIn:
    """Stands for ``Exportable``: a mix-in without a constructor."""

    input_example = None


class Mixed(ArchiveTagger, MixIn):
    """A model with a mix-in."""


# --- configs -------------------------------------------------------------------------------------------------------------------------


def test_a_config_is_a_mapping_with_attributes():
    cfg = ArchiveTagger({**SIZES, "encoder": {"layers": [{"width": 1}]}}).cfg
    assert cfg.encoder.layers[0].width == cfg["encoder"]["layers"][0]["width"] == 1
    assert "encoder" in cfg
    assert cfg.get("absent", 7) == 7
    assert cfg.target == TARGET
    cfg.encoder.width = 3
    cfg.setdefault("optim", {"lr": 1})
    cfg.update({"a": {"b": 1}}, c=2)
    del cfg.c
    assert (cfg.encoder["width"], cfg.optim.lr, cfg.a.b, "c" in cfg) == (3, 1, 1, False)
    with pytest.raises(AttributeError, match="no 'encodr'; did you mean 'encoder'"):
        _ = cfg.encodr
    with pytest.raises(AttributeError):
        del cfg.absent


def test_a_config_is_the_models_own():
    given = {**SIZES, "encoder": {"layers": [1]}}
    model = ArchiveTagger(given)
    model.cfg.encoder.layers.append(2)
    assert given == {**SIZES, "encoder": {"layers": [1]}}
    assert copy.deepcopy(model.cfg) == model.cfg.copy() == model.cfg == pickle.loads(pickle.dumps(model.cfg))
    model.cfg = {"width": 1}
    assert model.cfg == {"width": 1, "target": TARGET}


@pytest.mark.parametrize(
    "source",
    [SIZES, Sizes(), OrderedDict(SIZES), types.MappingProxyType(SIZES), Config(SIZES), {"width": np.int64(4), "tags": np.float32(3)}],
)
def test_a_config_may_be_written_in_many_ways(source):
    cfg = as_config(source)
    assert (cfg.width, cfg.tags) == (4, 3)
    assert type(cfg.width) is int


def test_values_become_what_a_file_can_hold():
    cfg = as_config({"size": (1, (2, 3)), "path": Path("a/b"), "kind": Fixed.FIRST, "sizes": Sizes(), "name": np.str_("x")})
    assert cfg.to_dict() == {
        "size": [1, [2, 3]],
        "path": "a/b",
        "kind": "first",
        "sizes": {"width": 4, "tags": 3, "nested": {"a": [1, 2]}},
        "name": "x",
    }
    assert type(cfg.name) is str
    assert as_config(None) == {}


def test_a_config_may_be_a_yaml_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("width: 4\ntags: 3\nlr: 1e-3\nday: 2026-11-23\nlayers: [1, 2]\nbase: &b {x: 1}\nmore: {<<: *b, y: 2}\n")
    assert as_config(str(path)) == {
        "width": 4,
        "tags": 3,
        "lr": 0.001,
        "day": "2026-11-23",
        "layers": [1, 2],
        "base": {"x": 1},
        "more": {"x": 1, "y": 2},
    }
    assert ArchiveTagger(path).cfg.lr == 0.001


def test_an_omegaconf_config_is_resolved(monkeypatch):
    class DictConfig:
        __module__ = "omegaconf.dictconfig"

    package = types.ModuleType("omegaconf")
    package.OmegaConf = types.SimpleNamespace(to_container=lambda source, resolve: dict(SIZES, resolved=resolve))
    monkeypatch.setitem(sys.modules, "omegaconf", package)
    assert as_config(DictConfig()) == {**SIZES, "resolved": True}


@pytest.mark.parametrize(("source", "said"), [(7, "int"), ([1], "list"), ("absent.yaml", "no config file"), (Sizes, "type")])
def test_what_is_no_config_is_refused(source, said):
    with pytest.raises(OptionError, match=said):
        ArchiveTagger(source)


# --- building ------------------------------------------------------------------------------------------------------------------------


def test_a_config_builds_the_class_that_it_names():
    cfg = ArchiveTagger(SIZES).cfg
    assert type(ModelPT.from_config(cfg)) is ArchiveTagger
    assert type(ModelPT.from_config_dict(cfg)) is ArchiveTagger
    assert type(ArchiveTagger.from_config(SIZES)) is ArchiveTagger
    assert ArchiveTagger.from_config(SIZES, trainer="t").trainer == "t"
    assert type(WithoutTrainer.from_config({})) is WithoutTrainer


def test_the_model_section_of_an_experiments_config_is_used():
    assert ArchiveTagger.from_config({"name": "run", "trainer": {"devices": 1}, "model": SIZES}).cfg.width == 4
    assert "model" in as_config({"model": {"a": 1}, "width": 4})


def test_a_config_that_names_another_class_is_refused():
    with pytest.raises(ArchiveError, match="names another model"):
        OtherTagger.from_config(ArchiveTagger(SIZES).cfg)
    with pytest.raises(ArchiveError, match="names no class"):
        ModelPT.from_config(SIZES)
    with pytest.raises(UntrustedClassError):
        ModelPT.from_config({"target": "collections.OrderedDict"})


@pytest.mark.parametrize("trust", [True, 7, [7]])
def test_trust_names_classes(tmp_path, trust):
    with pytest.raises(OptionError, match="trust"):
        ArchiveTagger.from_config({**SIZES, "target": "somebody.elses.Model"}, trust=trust)


def test_a_registered_family_is_found_by_its_class_and_its_aliases(tmp_path):
    families.add("tagger", Family("tagger", "archive_makers:ArchiveTagger", "tags", aliases=("somebody.elses.Tagger",)))
    try:
        restored = ModelPT.restore_from(archive(tmp_path / "m.nemo", config=config_bytes(target="somebody.elses.Tagger")))
        assert type(restored) is ArchiveTagger
        assert restored.cfg.target == TARGET
    finally:
        families.remove("tagger")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("archive_makers:Absent", "cannot be imported"),
        ("absent_module:Thing", "cannot be imported"),
        ("archive_makers:Calls", "not a ModelPT"),
    ],
)
def test_a_family_that_is_no_model_says_so(path, said):
    with pytest.raises(TorchportError, match=said):
        Family("broken", path, "").load()
    with pytest.raises(OptionError, match="does not say where"):
        Family("broken", "no_class", "")


def test_listing_the_families_imports_no_torch():
    code = "import sys, torchport.models as m; print(sorted(f.name for f in m.families.values())); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"'{name}'" in done.stdout for name in ("alexnet", "fastpitch", "nemo-ctc", "speaker-encoder"))


def test_the_package_shows_what_it_promises():
    import torchport.models as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="absent"):
        _ = package.absent


def test_a_mix_in_changes_nothing(tmp_path):
    model = Mixed(SIZES)
    restored = ModelPT.restore_from(model.save_to(tmp_path / "m.nemo"))
    assert type(restored) is Mixed
    assert type(ArchiveTagger.restore_from(tmp_path / "m.nemo")) is Mixed
    assert restored.num_weights == model.num_weights == 3 * 4 + 3 + 3 + 3


# --- restoring -----------------------------------------------------------------------------------------------------------------------


def test_a_subclass_restores_only_its_own_kind(tmp_path):
    path = ArchiveTagger(SIZES).save_to(tmp_path / "m.nemo")
    with pytest.raises(ArchiveError, match="names another model"):
        OtherTagger.restore_from(path)
    nameless = archive(tmp_path / "n.nemo", config=config_bytes(target=None))
    assert type(ArchiveTagger.restore_from(nameless)) is ArchiveTagger
    with pytest.raises(ArchiveError, match="names no class"):
        ModelPT.restore_from(nameless)


def test_a_class_inside_a_function_comes_back_through_itself(tmp_path):
    class Local(ArchiveTagger):
        pass

    assert type(Local.restore_from(Local(SIZES).save_to(tmp_path / "m.nemo"))) is Local


def test_a_config_of_the_callers_own_wins(tmp_path):
    path = ArchiveTagger({**SIZES, "rate": 1}).save_to(tmp_path / "m.nemo")
    (tmp_path / "own.yaml").write_text("width: 4\ntags: 3\nrate: 2\n")
    for own in (tmp_path / "own.yaml", {**SIZES, "rate": 2}, {"model": {**SIZES, "rate": 2}}):
        assert ModelPT.restore_from(path, override_config_path=own).cfg.rate == 2
    assert ModelPT.restore_from(path, override_config_path={"rate": 3}, return_config=True) == {"rate": 3}
    assert ModelPT.restore_from(path, return_config=True) == {**SIZES, "rate": 1, "target": TARGET}


def test_not_strict_loads_what_fits_and_warns(tmp_path):
    state = ArchiveTagger(SIZES).state_dict()
    state["extra"] = state.pop("norm.weight")
    path = archive(tmp_path / "m.nemo", weights=weights_bytes(state))
    with pytest.warns(UserWarning, match=r"restored in part: missing: norm\.weight; unexpected: extra"):
        restored = ArchiveTagger.restore_from(path, strict=False)
    assert torch.equal(restored.scores.weight, state["scores.weight"])


def test_not_strict_is_about_names_and_not_about_shapes(tmp_path):
    state = ArchiveTagger(SIZES).state_dict()
    state["scores.weight"] = torch.ones(7, 7)
    path = archive(tmp_path / "m.nemo", weights=weights_bytes(state))
    with pytest.raises(ArchiveError, match=r"scores\.weight is float32 \(7, 7\).*\n.*try: strict=False is about names, as in PyTorch"):
        ArchiveTagger.restore_from(path, strict=False)


def test_a_class_that_was_moved_restores_what_it_saved(tmp_path):
    old = archive(tmp_path / "old.nemo", config=config_bytes(target="old_place.ArchiveTagger"))
    assert type(ArchiveTagger.restore_from(old)) is ArchiveTagger
    with pytest.raises(UntrustedClassError):
        ModelPT.restore_from(old)
    with pytest.raises(UntrustedClassError):
        OtherTagger.restore_from(old)


def test_the_model_goes_where_it_is_asked_to(tmp_path):
    path = ArchiveTagger(SIZES).save_to(tmp_path / "m.nemo")
    for device in ("cpu", torch.device("cpu"), None):
        assert ArchiveTagger.restore_from(path, map_location=device).scores.weight.device.type == "cpu"
    assert ArchiveTagger.restore_from(path, trainer="t").trainer == "t"


def test_a_restored_model_does_not_share_the_file(tmp_path):
    path = ArchiveTagger(SIZES).save_to(tmp_path / "m.nemo")
    restored = ArchiveTagger.restore_from(path)
    before = path.read_bytes()
    with torch.no_grad():
        restored.scores.weight.zero_()
    path.unlink()
    assert restored(torch.ones(2, 4)).shape == (2, 3)
    assert before != restored.save_to(path).read_bytes()


def test_threads_restore_side_by_side(tmp_path):
    paths, found = [], {}
    for number in range(6):
        source = tmp_path / f"vocab{number}.txt"
        source.write_text(str(number))
        paths.append(ArchiveTagger({**SIZES, "tokenizer": {"vocabulary": str(source)}}).save_to(tmp_path / f"m{number}.nemo"))

    def restore(number):
        found[number] = Path(ArchiveTagger.restore_from(paths[number]).vocabulary).name

    threads = [threading.Thread(target=restore, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number].endswith(f"_vocab{number}.txt") for number in range(6))


# --- artifacts -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("a b")
    return path


def tagger(vocabulary) -> ArchiveTagger:
    return ArchiveTagger({**SIZES, "tokenizer": {"vocabulary": str(vocabulary)}})


def test_artifacts_live_as_long_as_a_model_needs_them(tmp_path, vocabulary):
    restored = ArchiveTagger.restore_from(tagger(vocabulary).save_to(tmp_path / "m.nemo"))
    place = Path(restored.vocabulary)
    twin = copy.deepcopy(restored)
    del restored
    gc.collect()
    assert place.read_text() == "a b"
    assert twin.save_to(tmp_path / "twin.nemo").read_bytes() == (tmp_path / "m.nemo").read_bytes()
    del twin
    gc.collect()
    assert not place.parent.exists()


def test_a_pickled_model_takes_its_artifacts_along(tmp_path, vocabulary):
    restored = ArchiveTagger.restore_from(tagger(vocabulary).save_to(tmp_path / "m.nemo"))
    pickled = pickle.dumps(restored)
    del restored
    gc.collect()
    assert pickle.loads(pickled).save_to(tmp_path / "twin.nemo").read_bytes() == (tmp_path / "m.nemo").read_bytes()


def test_artifacts_that_the_class_does_not_register_are_kept_too(tmp_path):
    path = archive(tmp_path / "m.nemo", file("./abc_notes.txt", b"note"), config=config_bytes(notes=["nemo:abc_notes.txt"]))
    restored = ArchiveTagger.restore_from(path)
    restored.save_to(tmp_path / "again.nemo")
    assert (
        Path(ArchiveTagger.restore_from(tmp_path / "again.nemo").register_artifact("notes.0", "nemo:abc_notes.txt")).read_bytes() == b"note"
    )


def test_two_files_of_one_name_do_not_collide(tmp_path, vocabulary):
    other = tmp_path / "other" / "vocab.txt"
    other.parent.mkdir()
    other.write_text("c d")
    model = tagger(vocabulary)
    model.register_artifact("decoder.vocabulary", other)
    restored = ArchiveTagger.restore_from(model.save_to(tmp_path / "m.nemo"))
    assert Path(restored.vocabulary).read_text() == "a b"
    assert Path(restored.register_artifact("decoder.vocabulary", restored.cfg.decoder.vocabulary)).read_text() == "c d"


def test_a_file_that_is_not_there_is_refused_or_skipped(tmp_path):
    model = ArchiveTagger(SIZES)
    assert model.register_artifact("a", None) is None
    assert model.register_artifact("a", "") == ""
    assert model.register_artifact("a", tmp_path / "absent", verify_src_exists=False) is None
    with pytest.raises(OptionError, match="there is no such file"):
        model.register_artifact("a", tmp_path / "absent")
    with pytest.raises(OptionError, match="there is no such file"):
        model.register_artifact("a", "nemo:absent")


def test_a_save_without_its_artifact_is_refused(tmp_path, vocabulary):
    model = tagger(vocabulary)
    vocabulary.unlink()
    with pytest.raises(OptionError, match="an artifact of the model is gone"):
        model.save_to(tmp_path / "m.nemo")
    with pytest.raises(OptionError, match="nobody registered"):
        OtherTagger({"a": "nemo:abc"}).save_to(tmp_path / "m.nemo")
    assert list(tmp_path.iterdir()) == []


def test_a_constructors_own_path_gives_way_to_the_file_in_the_archive(tmp_path, vocabulary):
    class Packed(ModelPT):
        def __init__(self, cfg, trainer=None):
            super().__init__(cfg, trainer)
            self.found = self.register_artifact("vocabulary", str(vocabulary))

    path = Packed({}).save_to(tmp_path / "m.nemo")
    vocabulary.write_text("changed")
    assert Path(Packed.restore_from(path).found).read_text() == "a b"


def test_a_callers_config_may_bring_a_callers_file(tmp_path, vocabulary):
    path = tagger(vocabulary).save_to(tmp_path / "m.nemo")
    own = tmp_path / "own.txt"
    own.write_text("mine")
    restored = ArchiveTagger.restore_from(path, override_config_path={**SIZES, "tokenizer": {"vocabulary": str(own)}})
    assert restored.vocabulary == str(own)
    assert Path(ArchiveTagger.restore_from(restored.save_to(path)).vocabulary).read_text() == "mine"


def test_a_model_inside_a_model_is_saved_with_its_artifacts(tmp_path, vocabulary):
    model = Pair({"inner": {"tagger": {**SIZES, "tokenizer": {"vocabulary": str(vocabulary)}}}})
    restored = Pair.restore_from(model.save_to(tmp_path / "m.nemo"))
    assert Path(restored.tagger.vocabulary).read_text() == "a b"
    assert torch.equal(restored.tagger.scores.weight, model.tagger.scores.weight)
    assert restored.cfg.inner.tagger.target == TARGET
    assert restored.save_to(tmp_path / "again.nemo").read_bytes() == (tmp_path / "m.nemo").read_bytes()


def test_artifacts_of_a_model_inside_are_not_lost_silently(tmp_path, vocabulary):
    model = OtherTagger({})
    model.inner = torch.nn.ModuleList([tagger(vocabulary)])
    with pytest.raises(OptionError) as caught:
        model.save_to(tmp_path / "m.nemo")
    assert "inner.0" in str(caught.value)
    assert "register_nemo_submodule" in str(caught.value)
    with pytest.raises(OptionError, match="has to be a ModelPT"):
        model.register_nemo_submodule("x", "x", torch.nn.Linear(1, 1))


def test_a_class_of_the_script_that_runs_goes_by_the_name_of_the_script(tmp_path, monkeypatch):
    of_main = type("Net", (), {"__module__": "__main__"})
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "train_net.py").write_text("")
    (tmp_path / "elsewhere").mkdir()
    for script, name in (
        (None, "__main__"),  # a notebook
        (tmp_path / "train_net.py", "train_net"),
        (tmp_path / "elsewhere" / "train_net.py", "__main__"),  # others import another file of that name
        (tmp_path / "train-net.py", "__main__"),
        (tmp_path / "gone_net.py", "__main__"),
    ):
        main.__file__ = None if script is None else str(script)
        assert class_path(of_main) == f"{name}.Net"
    main.__spec__ = types.SimpleNamespace(name="package.train")  # python -m package.train
    assert class_path(of_main) == "package.train.Net"
    assert class_path(ArchiveTagger) == TARGET
