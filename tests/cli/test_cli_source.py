"""SOURCE on the command line: every form, and every way in which it can be wrong."""

import subprocess
import sys

import pytest
import torch

import torchport
from torchport.cli._source import Source
from torchport.errors import ArchiveError, OptionError


def build(text, **more):
    return Source(str(text), **more).build()


@pytest.fixture(autouse=True)
def _inside(folder):
    """Every test runs in a folder of its own."""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("toys.py:Scale", "Scale"),
        ("./toys.py:Scale", "Scale"),
        ("toys:Plain", "Plain"),
        ("toys.py:make", "Scale"),
        ("toys.py:made", "Scale"),
        ("toys.py:Outer.Inner", "Inner"),
        ("torch.nn:Identity", "Identity"),
        ("alexnet-small-random", "AlexNet"),
        ("fastpitch", "FastPitch"),
    ],
)
def test_every_form_gives_a_module(text, name):
    assert type(build(text)).__name__ == name


def test_an_archive_is_restored(folder):
    torch.manual_seed(3)
    model = build("speaker-encoder", config=config(folder, "{hidden: 8, layers: 1, embedding: 4}"))
    model.save_to(folder / "m.nemo")
    restored = build(folder / "m.nemo")
    assert all(torch.equal(one, restored.state_dict()[name]) for name, one in model.state_dict().items())


def config(folder, text):
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_config_builds_a_family_or_gives_a_plain_class_its_keywords(folder):
    assert build("alexnet", config=config(folder, "{width: 0.0625, image_size: 63, num_classes: 5}")).num_classes == 5
    assert build("toys.py:Scale", config=config(folder, "bias: false")).conv.bias is None


def test_weights_are_loaded_and_nothing_else(folder):
    model = build("toys.py:Scale", seed=5)
    torch.save({"state_dict": model.state_dict()}, folder / "w.ckpt")
    assert torch.equal(build("toys.py:Scale", weights=folder / "w.ckpt").conv.weight, model.conv.weight)
    torch.save(torch.nn.Linear(2, 2), folder / "whole.pt")
    with pytest.raises(ArchiveError, match="weights"):
        build("toys.py:Scale", weights=folder / "whole.pt")
    with pytest.raises(ArchiveError, match="do not fit"):
        build("toys.py:Plain", weights=folder / "w.ckpt")


def test_random_state_is_left_alone():
    before = torch.get_rng_state()
    build("toys.py:Scale")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("alexnt", ("names no model", "did you mean 'alexnet'?")),
        ("nothing-like-it", ("names no model", "alexnet, fastpitch, speaker-encoder", "file.py:Class")),
        ("missing.py:Scale", ("no such file",)),
        ("missing.nemo", ("no such archive",)),
        ("toys.py", ("does not say which class", "Scale", "file.py:Class")),
        ("toys.py:Scael", ("names what toys.py does not have", "did you mean 'Scale'?")),
        ("toys.py:", ("nothing after the colon",)),
        ("toys.py:number", ("no model", "int: 7")),
        ("toys.py:nothing", ("returns no model", "int")),
        ("toys.py:Outer", ("no model",)),
        ("toys.py:Needy", ("Needy could not be made: TypeError", "'size'", "--config", "Needy(size)")),
        ("no_such_module_here:Model", ("no Python module 'no_such_module_here'",)),
        ("not a module:Model", ("no Python module",)),
    ],
)
def test_a_wrong_source_says_what_is_wrong(text, told):
    with pytest.raises(OptionError) as caught:
        build(text)
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import torch\n1 / 0\n", ("SOURCE raised ZeroDivisionError: division by zero", "broken.py:2")),
        ("def f(:\n", ("not valid Python", "broken.py:1")),
        ("import no_such_package\n", ("imports a module that is not installed: no_such_package", "broken.py:1")),
        ("raise SystemExit(0)\n", ("exits while it is imported", "__main__")),
        ("import toys\nclass M(toys.Scale):\n    def __init__(self):\n        raise ValueError('bad day')\n", ("bad day", "broken.py:4")),
    ],
)
def test_code_that_fails_is_named_with_its_line(folder, code, told):
    (folder / "broken.py").write_text(code)
    with pytest.raises(OptionError) as caught:
        build("broken.py:M")
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("toys.py:made", {"config": "a: 1"}),
        ("alexnet-small-random", {"config": "a: 1"}),
        ("toys.py:Scale", {"config": "- 1"}),
        ("toys.py:Scale", {"config": "{"}),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(folder, text, more):
    with pytest.raises(OptionError, match="config"):
        build(text, config=config(folder, more["config"]))


def test_files_that_are_missing_are_named(folder):
    with pytest.raises(OptionError, match="where: --weights"):
        build("toys.py:Scale", weights=folder / "none.pt")
    with pytest.raises(OptionError, match="where: --config"):
        build("toys.py:Scale", config=folder / "none.yaml")


def test_a_file_named_like_an_imported_module_does_not_shadow_it(folder):
    (folder / "json.py").write_text("import torch\nclass M(torch.nn.Identity):\n    pass\n")
    import json

    assert type(build("json.py:M")).__name__ == "M"
    assert json.dumps({}) == "{}"


@pytest.mark.parametrize("text", ["alexnet", "torchport.models.alexnet:AlexNet"])
def test_a_seed_reaches_a_family_that_seeds_itself_and_wins_over_its_config(folder, text):
    small = config(folder, "{width: 0.0625, image_size: 63, seed: 3}")
    weights = {seed: build(text, config=small, seed=seed).classifier[-1].weight for seed in (None, 3, 1, 0)}
    assert torch.equal(weights[None], weights[3])
    assert not torch.equal(weights[3], weights[1])
    assert not torch.equal(weights[1], weights[0])
    (folder / "config.yaml").write_text("model: {width: 0.0625, image_size: 63}")
    assert torch.equal(build(text, config=folder / "config.yaml", seed=1).classifier[-1].weight, weights[1])


@pytest.mark.parametrize("text", ["speaker-encoder-random", "m.nemo"])
def test_a_seed_is_refused_where_the_weights_are_there_already(folder, text):
    build("speaker-encoder", config=config(folder, "{hidden: 8, layers: 1, embedding: 4}")).save_to(folder / "m.nemo")
    with pytest.raises(OptionError, match="weights of its own"):
        build(text, seed=1)


def test_checkpoints_of_training_code_are_read_as_they_are(folder, capsys):
    model = build("toys.py:Scale", seed=5)
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"model_state_dict": state, "epoch": 3}, folder / "w.pt")
    assert torch.equal(build("toys.py:Scale", weights=folder / "w.pt").conv.weight, model.conv.weight)
    assert "--weights w.pt: took 'model_state_dict', took the prefix 'module.' off the names" in capsys.readouterr().err
    torch.save({"model": model.state_dict(), "ema": build("toys.py:Scale", seed=6).state_dict()}, folder / "two.pt")
    assert torch.equal(build("toys.py:Scale", weights=folder / "two.pt", weights_key="model").conv.weight, model.conv.weight)
    with pytest.raises(ArchiveError, match="several state dicts"):
        build("toys.py:Scale", weights=folder / "two.pt")
    with pytest.raises(OptionError, match="--weights-key"):
        build("toys.py:Scale", weights_key="model")


def test_a_program_is_no_checkpoint(folder):
    torchport.export(build("toys.py:Scale"), folder / "program.ts", verify=False)
    with pytest.raises(ArchiveError, match="TorchScript program"):
        build("toys.py:Scale", weights=folder / "program.ts")


SCRIPT = """
import sys
import torch
from torchport import ModelPT

class Net(ModelPT):
    def __init__(self, cfg=None, trainer=None):
        super().__init__(cfg, trainer)
        self.linear = torch.nn.Linear(3, self.cfg.width)

    def forward(self, x):
        return self.linear(x)

if __name__ == "__main__":
    if "unnamed" in sys.argv:
        __file__ = "elsewhere"
    path = Net({"width": 2}).save_to("net.nemo")
    print(ModelPT.restore_from(path).cfg.target, Net.restore_from(path).cfg.target)
"""


def saved_by_a_script(folder, *words):
    (folder / "net.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "net.py", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_an_archive_that_a_script_saved_names_the_script(folder):
    assert saved_by_a_script(folder) == ["net.Net"] * 2
    with pytest.raises(ArchiveError, match="if you know who made this file: --trust net.Net"):
        build("net.nemo")
    assert type(build("net.nemo", trust=("net.Net",))).__module__ == "net"
    assert type(build("net.nemo", trust=("net.py:Net",))).__name__ == "Net"
    assert build("net.py:Net", weights=folder / "net.nemo").cfg.width == 2


def test_an_archive_without_a_module_is_restored_by_the_class_of_a_file(folder):
    assert saved_by_a_script(folder, "unnamed") == ["__main__.Net"] * 2
    with pytest.raises(ArchiveError, match=r"--trust FILE\.py:Net, where FILE\.py is the script that defines it"):
        build("net.nemo")
    with pytest.raises(OptionError, match="names no class"):
        build("net.nemo", trust=("net.py:torch",))
    assert build("net.nemo", trust=("net.py:Net",)).cfg.width == 2
    assert build("net.py:Net", weights=folder / "net.nemo").cfg.width == 2
    given = config(folder, "width: 2")
    assert build("net.py:Net", weights=folder / "net.nemo", config=given).cfg.width == 2
    with pytest.raises(OptionError, match="weights of its own"):
        build("net.py:Net", weights=folder / "net.nemo", seed=3)


def test_an_archive_gives_its_weights_to_a_plain_module(folder):
    saved_by_a_script(folder)
    (folder / "plain.py").write_text(
        "import torch\nclass M(torch.nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.linear = torch.nn.Linear(3, 2)\n"
    )
    restored = build("net.py:Net", weights=folder / "net.nemo")
    assert torch.equal(build("plain.py:M", weights=folder / "net.nemo").linear.weight, restored.linear.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_model_keeps_its_dtype_whatever_the_checkpoint_holds_and_it_is_said(folder, capsys, dtype, ending):
    state = {name: value.to(dtype) for name, value in build("toys.py:Scale", seed=5).state_dict().items()}
    path = folder / f"w.{ending}"
    if ending == "pt":
        torch.save(state, path)
    else:
        pytest.importorskip("safetensors.torch").save_file(state, path)
    loaded = build("toys.py:Scale", weights=path)
    plain = build("toys.py:Scale")
    plain.load_state_dict(state)
    for name, value in plain.state_dict().items():
        assert loaded.state_dict()[name].dtype == torch.float32
        assert torch.equal(loaded.state_dict()[name], value)
    words = f"the checkpoint holds {str(dtype).removeprefix('torch.')}; the model computes in float32"
    assert capsys.readouterr().err.count(words) == 1


def test_whole_numbers_of_a_checkpoint_are_cast_as_torch_does_and_nothing_is_said_where_all_fits(folder, capsys):
    state = torch.nn.BatchNorm1d(3).state_dict()
    (folder / "w.yaml").write_text("num_features: 3")
    torch.save(state, folder / "same.pt")
    build("torch.nn:BatchNorm1d", config=folder / "w.yaml", weights=folder / "same.pt")
    assert "holds" not in capsys.readouterr().err
    torch.save({**state, "num_batches_tracked": torch.tensor(7, dtype=torch.int32)}, folder / "w.pt")
    loaded = build("torch.nn:BatchNorm1d", config=folder / "w.yaml", weights=folder / "w.pt")
    assert (loaded.num_batches_tracked.dtype, int(loaded.num_batches_tracked)) == (torch.int64, 7)
    assert "the checkpoint holds int32; the model has int64" in capsys.readouterr().err


def test_a_checkpoint_in_half_precision_exports_with_a_declared_float32_output(torchport_cli, folder):
    torch.save(build("toys.py:Scale", seed=5).half().state_dict(), folder / "w.pt")
    result = torchport_cli("export", "toys.py:Scale", "--weights", "w.pt", "-o", "m.onnx", "--output-type", "y=batch 3 time,float32")
    assert result.exit_code == 0, result.stderr
    assert "y: float32" in result.stdout
