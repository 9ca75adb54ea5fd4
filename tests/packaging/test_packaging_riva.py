"""An archive for Riva: what it says, what it holds, and that a hostile one is refused when it is read."""

import gzip
import io
import tarfile

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

import torchport
from torchport.emit import formats
from torchport.emit.onnx import Onnx
from torchport.errors import ArchiveError, OptionError, PackageError
from torchport.packaging import read_riva

CONFIG = b"target: nemo.collections.asr.models.ctc_models.EncDecCTCModel\nlabels: [a, b]\n"


def tar_of(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            header = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return path


def manifest(**metadata):
    return yaml.safe_dump({"artifacts": {"model_graph.onnx": {}}, "metadata": metadata}).encode()


def test_the_archive_holds_the_graph_and_says_what_it_is(exported, tmp_path):
    packaged = exported.package(tmp_path / "out", target="riva", options={"obj_cls": "nemo.Some", "description": "Twins"})
    assert packaged.files == ("twins.experimental.riva",)
    assert any(note.startswith("experimental:") for note in packaged.notes)
    assert any("model_config.yaml" in note for note in packaged.notes)
    folder = tmp_path / "back"
    folder.mkdir()
    read = read_riva(packaged.directory / packaged.files[0], folder)
    assert read.metadata["obj_cls"] == "nemo.Some"
    assert read.metadata["runtime"] == "ONNX"
    assert read.files["model_graph.onnx"]["encryption"] is False
    assert read.extracted["model_graph.onnx"].read_bytes() == exported.path.read_bytes()
    session = onnxruntime.InferenceSession(str(read.extracted["model_graph.onnx"]), providers=["CPUExecutionProvider"])
    assert {one.name for one in session.get_inputs()} == set(exported.signature.inputs)


def test_the_same_export_gives_the_same_bytes(exported, tmp_path):
    first, second = (exported.package(tmp_path / name, target="riva") for name in ("a", "b"))
    assert (first.directory / first.files[0]).read_bytes() == (second.directory / second.files[0]).read_bytes()


def test_what_a_checkpoint_holds_beside_its_weights_goes_along(exported, tmp_path):
    checkpoint = tar_of(
        tmp_path / "m.nemo", [("./model_config.yaml", CONFIG), ("./model_weights.ckpt", b"weights"), ("./ab_vocab.txt", b"a\nb\n")], "w"
    )
    packaged = exported.package(tmp_path / "out", target="riva", options={"archive": checkpoint})
    folder = tmp_path / "back"
    folder.mkdir()
    read = read_riva(packaged.directory / packaged.files[0], folder)
    assert read.metadata["obj_cls"] == "nemo.collections.asr.models.ctc_models.EncDecCTCModel"
    assert set(read.files) == set(read.sizes) == {"model_graph.onnx", "model_config.yaml", "ab_vocab.txt"}
    assert read.files["ab_vocab.txt"]["path_type"] == "TAR_PATH"
    assert read.extracted["model_config.yaml"].read_bytes() == CONFIG
    assert not any("model_config.yaml" in note for note in packaged.notes)


def test_a_graph_with_weights_beside_it_is_a_tar_of_both(tmp_path):
    model = torch.nn.Linear(64, 64)
    usual = formats["onnx"]
    formats.remove("onnx")
    formats.add("onnx", Onnx(external_from=0))
    try:
        result = torchport.export(
            model, tmp_path / "m.onnx", input_example=torch.randn(3, 64), input_types={"input": ("batch 64", "float32")}
        )
    finally:
        formats.remove("onnx")
        formats.add("onnx", usual)
    packaged = result.package(tmp_path / "out", target="riva")
    back = tmp_path / "back"
    back.mkdir()
    read = read_riva(packaged.directory / packaged.files[0], back)
    inner = tmp_path / "inner"
    with tarfile.open(read.extracted["model_graph.onnx"]) as tar:
        tar.extractall(inner, filter="data")
    x = np.ones((2, 64), np.float32)
    session = onnxruntime.InferenceSession(str(inner / "m.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": x})[0], model(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_only_one_graph_of_onnx_is_taken(tmp_path):
    result = torchport.export(
        torch.nn.Linear(4, 2), tmp_path / "m.ts", input_example=torch.randn(3, 4), input_types={"input": ("batch 4", "float32")}
    )
    with pytest.raises(PackageError, match="one ONNX graph"):
        result.package(tmp_path / "out", target="riva")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_cannot_be_read_is_named(exported, tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        exported.package(tmp_path / "out", target="riva", options={"archive": tmp_path / "missing.nemo"})
    twice = tar_of(tmp_path / "twice.nemo", [("a/vocab.txt", b"a"), ("b/vocab.txt", b"b")], "w")
    with pytest.raises(OptionError, match="one name"):
        exported.package(tmp_path / "out", target="riva", options={"archive": twice})


def test_an_older_archive_is_replaced_and_nothing_else_is(exported, tmp_path):
    place = tmp_path / "out"
    exported.package(place, target="riva")
    exported.package(place, target="riva", overwrite=True)
    (place / "notes.txt").write_text("mine")
    with pytest.raises(torchport.errors.ArtifactExistsError):
        exported.package(place, target="riva", overwrite=True)


def link():
    member = tarfile.TarInfo("artifacts/model_graph.onnx")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([], "no manifest"),
        ([("manifest.yaml", b"[1, 2]")], "known kind"),
        ([("manifest.yaml", b"artifacts: {a: 1}\nmetadata: {}")], "known kind"),
        ([("manifest.yaml", b"a: &a [x]\nb: *a")], "aliases"),
        ([("manifest.yaml", b"\xff\xfe\x00")], "no YAML"),
        ([("manifest.yaml", b"{" * 5000)], "no YAML"),
        ([("manifest.yaml", manifest()), ("../out", b"x")], "no plain file"),
        ([("manifest.yaml", manifest()), ("artifacts/../../out", b"x")], "no plain file"),
        ([("manifest.yaml", manifest()), ("/out", b"x")], "no plain file"),
        ([("manifest.yaml", manifest()), (link(), b"")], "no plain file"),
        ([("manifest.yaml", manifest()), ("artifacts/a", b"x"), ("artifacts/a", b"y")], "twice"),
        ([("manifest.yaml", manifest()), ("manifest.yaml", manifest())], "twice"),
    ],
)
def test_a_hostile_archive_is_refused(tmp_path, members, says):
    folder = tmp_path / "back"
    folder.mkdir()
    with pytest.raises(ArchiveError, match=says):
        read_riva(tar_of(tmp_path / "bad.riva", members), folder)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no tar" * 200, mtime=0)], ids=["empty", "text", "gzip"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "bad.riva"
    path.write_bytes(content)
    with pytest.raises(ArchiveError):
        read_riva(path)
