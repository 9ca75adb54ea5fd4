"""A model package of ONNX Runtime's own: the runtime opens it by itself and answers as the file that was proved."""

import json

import bundle_makers as make
import numpy as np
import onnxruntime
import pytest

import torchport
from torchport.emit import formats
from torchport.emit.onnx import Onnx
from torchport.errors import ArtifactExistsError, MissingDependencyError, OptionError, PackageError
from torchport.packaging import OnnxRuntimeTarget, targets

CPU = "CPUExecutionProvider"


def opened(folder, component="self"):
    options = onnxruntime.ModelPackageOptions(onnxruntime.SessionOptions())
    return onnxruntime.ModelPackageContext(str(folder)).select_component(component, options).create_session()


def test_the_runtime_opens_it_and_answers_its_golden_cases(exported, tmp_path):
    packaged = exported.package(tmp_path / "twins.package", target="onnxruntime", metadata={"license": "MIT"}, options={"version": "3"})
    assert packaged.files == ("manifest.json", "self/twins.onnx")
    assert any(note.startswith("experimental: ") for note in packaged.notes)
    session = opened(packaged.directory)
    for golden in exported.parts[0].goldens:
        for name, got in zip(golden.outputs, session.run(list(golden.outputs), dict(golden.inputs)), strict=True):
            np.testing.assert_allclose(got, golden.outputs[name], atol=1e-5)
    told = onnxruntime.ModelPackage.open(str(packaged.directory)).get_info()
    assert (told["package_name"], told["package_version"], told["layout"]) == ("twins.package", "3", "portable")
    words = json.loads(told["additional_metadata_json"])["torchport"]
    assert words["metadata"] == {"license": "MIT"}
    assert words["graphs"]["self"]["digests"] == dict(exported.parts[0].artifact.digests)
    (moved := tmp_path / "elsewhere").mkdir()
    assert opened(packaged.directory.rename(moved / "p")).get_inputs()[0].name == "left"


def test_each_graph_is_a_component_and_weights_go_along(tmp_path):
    large = Onnx(external_from=16)
    formats.remove("onnx")
    formats.add("onnx", large)
    try:
        result = make.Coder().export(tmp_path / "m.onnx")
    finally:
        formats.remove("onnx")
        formats.add("onnx", Onnx())
    packaged = result.package(tmp_path / "package", target="onnxruntime", options={"name": "coder"})
    assert {"encoder/encoder-m.onnx", "encoder/encoder-m.onnx.data", "decoder/decoder-m.onnx"} <= set(packaged.files)
    assert sorted(onnxruntime.ModelPackageContext(str(packaged.directory)).get_component_names()) == ["decoder", "encoder"]
    for part in result.parts:
        names = [one.name for one in opened(packaged.directory, part.name).get_outputs()]
        assert names == list(part.artifact.signature.outputs)


def test_providers_share_the_graph(exported, tmp_path):
    options = {"providers": f"CUDAExecutionProvider, {CPU}"}
    packaged = exported.package(tmp_path / "package", target="onnxruntime", options=options)
    assert "not tried here: CUDAExecutionProvider" in packaged.notes
    context = onnxruntime.ModelPackageContext(str(packaged.directory))
    assert {context.get_variant_ep_name("self", name) for name in context.get_variant_names("self")} == {"CUDAExecutionProvider", CPU}
    assert opened(packaged.directory).get_providers() == [CPU]
    for text in ("cuda", "", f"{CPU},"):
        with pytest.raises(OptionError, match="no execution provider's name"):
            exported.package(tmp_path / "other", target="onnxruntime", options={"providers": text})


def test_only_a_package_of_torchport_is_replaced(exported, tmp_path):
    place = tmp_path / "package"
    exported.package(place, target="onnxruntime")
    with pytest.raises(ArtifactExistsError, match="a package is there already"):
        exported.package(place, target="onnxruntime")
    exported.package(place, target="onnxruntime", overwrite=True, options={"name": "again"})
    document = json.loads((place / "manifest.json").read_text())
    assert document["package_name"] == "again"
    del document["additional_metadata"]["torchport"]
    for text in (json.dumps(document), "[]", "{", ""):
        (place / "manifest.json").write_text(text)
        with pytest.raises(ArtifactExistsError, match="never replaced"):
            exported.package(place, target="onnxruntime", overwrite=True)
    exported.package(tmp_path / "bundle")
    with pytest.raises(ArtifactExistsError, match="never replaced"):
        exported.package(tmp_path / "bundle", target="onnxruntime", overwrite=True)


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_what_it_cannot_hold_is_refused(exported, tmp_path):
    script = torchport.export(make.Part(), tmp_path / "m.ts", verify=False)
    with pytest.raises(PackageError, match="ONNX graphs only"):
        script.package(tmp_path / "package", target="onnxruntime")
    with pytest.raises(PackageError, match="a name of its own"):
        torchport.package([exported.path, exported.path], tmp_path / "package", target="onnxruntime")


class Careless(OnnxRuntimeTarget):
    """Puts another graph into the package."""

    def copy_artifact(self, part, folder):
        import onnx

        copies = super().copy_artifact(part, folder)
        model = onnx.load(copies[0])
        weight = next(one for one in model.graph.initializer if len(one.dims) == 2)
        weight.raw_data = (np.frombuffer(weight.raw_data, np.float32) * 2).tobytes()
        onnx.save(model, copies[0])
        return copies


def test_a_package_that_answers_otherwise_is_not_handed_over(exported, tmp_path):
    targets.add("careless", Careless())
    try:
        with pytest.raises(PackageError, match="answers otherwise than the file"):
            exported.package(tmp_path / "package", target="careless")
    finally:
        targets.remove("careless")
    assert list(tmp_path.iterdir()) == []


def test_an_older_runtime_says_that_it_knows_none(exported, tmp_path, monkeypatch):
    monkeypatch.delattr(onnxruntime, "ModelPackageContext")
    with pytest.raises(MissingDependencyError, match="knows no model packages"):
        exported.package(tmp_path / "package", target="onnxruntime")
    assert list(tmp_path.iterdir()) == []
