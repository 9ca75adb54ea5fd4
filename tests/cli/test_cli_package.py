"""``torchport package`` and ``torchport export --bundle`` in process: files, exit codes, what is shown."""

import json

import pytest

from torchport.check.__main__ import main as check_main

KEY = bytes(range(32))


@pytest.fixture
def made(torchport_cli):
    assert torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", "--no-verify").exit_code == 0


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.usefixtures("made")
def test_a_file_is_packaged_and_holds(torchport_cli, folder):
    result = torchport_cli("package", "m.onnx", "-o", "m.bundle", "--metadata", "license=Apache-2.0", "--metadata", "url=a=b")
    assert result.exit_code == 0, result.stderr
    assert manifest(folder / "m.bundle")["metadata"] == {"license": "Apache-2.0", "url": "a=b"}
    for said in ("packaged m.bundle (bundle)", "manifest.json", "python -m torchport.check m.bundle", "artifact's own"):
        assert said in result.stdout
    assert check_main([str(folder / "m.bundle")]) == 0


@pytest.mark.usefixtures("made")
def test_the_result_is_a_document(torchport_cli):
    document = torchport_cli("package", "m.onnx", "-o", "m.bundle", "--json").document
    assert document["target"] == "bundle"
    assert "manifest.json" in document["files"]


@pytest.mark.usefixtures("made")
def test_an_older_bundle_is_replaced_on_request_only(torchport_cli, folder):
    assert torchport_cli("package", "m.onnx", "-o", "m.bundle").exit_code == 0
    assert torchport_cli("package", "m.onnx", "-o", "m.bundle").exit_code == 2
    assert torchport_cli("package", "m.onnx", "-o", "m.bundle", "--overwrite", "--metadata", "a=b").exit_code == 0
    assert manifest(folder / "m.bundle")["metadata"] == {"a": "b"}


@pytest.mark.usefixtures("made")
def test_a_bundle_is_signed_with_a_key(torchport_cli, folder):
    (folder / "bundle.key").write_bytes(KEY)
    assert torchport_cli("package", "m.onnx", "-o", "m.bundle", "--key", "bundle.key").exit_code == 0
    assert manifest(folder / "m.bundle")["signer"] == "hmac-sha256"
    assert check_main([str(folder / "m.bundle"), "--key", str(folder / "bundle.key")]) == 0
    (folder / "bundle.key").write_bytes(KEY[::-1])
    assert check_main([str(folder / "m.bundle"), "--key", str(folder / "bundle.key")]) == 16


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing.onnx",), "no such artifact"),
        (("toys.py",), "no format has the extension"),
        (("m.onnx", "--metadata", "license"), "KEY=TEXT"),
        (("m.onnx", "--metadata", "a=1", "--metadata", "a=2"), "each key once"),
        (("m.onnx", "--target", "bundel"), "did you mean 'bundle'?"),
        (("m.onnx", "--key", "nothing.key"), "the key cannot be read"),
        (("m.onnx", "--key", "toys.py", "--signer", "rsa"), "unknown signer"),
    ],
)
def test_bad_input_ends_with_2_and_writes_nothing(torchport_cli, folder, words, said):
    before = sorted(folder.iterdir())
    result = torchport_cli("package", *words, "-o", "m.bundle")
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert sorted(folder.iterdir()) == before


def test_an_export_is_bundled_with_the_answers_of_its_model(torchport_cli, folder):
    (folder / "bundle.key").write_bytes(KEY)
    words = ("export", "toys.py:Scale", "-o", "m.onnx", "--bundle", "m.bundle", "--bundle-key", "bundle.key")
    result = torchport_cli(*words, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.document["bundle"]["directory"] == "m.bundle"
    artifact = manifest(folder / "m.bundle")["artifacts"][0]
    assert artifact["goldens"]["from"] == "model"
    assert artifact["proof"]["cases"]
    assert check_main([str(folder / "m.bundle"), "--key", str(folder / "bundle.key")]) == 0
    text = torchport_cli(*words, "--overwrite").stdout
    assert "packaged m.bundle (bundle)" in text


def test_an_export_goes_into_a_model_repository_with_its_proof(torchport_cli, folder):
    """Which a file alone does not have: so strangers' rows may meet in one batch."""
    words = ("export", "toys.py:Scale", "-o", "m.onnx", "--package", "repository")
    settings = ("--package-set", "max_batch_size=8", "--package-set", "dynamic_batching=true")
    result = torchport_cli(*words, *settings, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.document["package"]["directory"] == "repository/m"
    assert "dynamic_batching" in (folder / "repository" / "m" / "config.pbtxt").read_text()
    text = torchport_cli(*words, *settings, "--bundle", "m.bundle", "--overwrite").stdout
    assert "packaged m.bundle (bundle)" in text
    assert "packaged repository/m (triton)" in text
    assert (folder / "repository" / "m" / "2").is_dir()


def test_a_package_that_cannot_be_is_refused_before_the_export(torchport_cli, folder):
    (folder / "full" / "m").mkdir(parents=True)
    (folder / "full" / "m" / "config.pbtxt").write_text('name: "m"\n')
    for words, said in (
        (("--package", "no/repository"), "does not exist"),
        (("--package", "repository", "--package-set", "max_batch=8"), "did you mean 'max_batch_size'?"),
        (("--package", "repository", "--target", "tritom"), "did you mean 'triton'?"),
        (("--package-set", "max_batch_size=8"), "none was asked for"),
        (("--package", "repository", "--package-set", "max_batch_size=many"), "max_batch_size is a number"),
        (("--package", "repository", "--package-set", "name=a/b"), "where: --package-set name"),
        (("--package", "repository", "--package-set", "names=index"), "names its ports itself"),
        (("--package", "full"), "somebody else is there; it is never touched"),
        (("--package", "full"), "try: another model name: --package-set name=…"),
    ):
        result = torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", *words)
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split())
    assert not (folder / "m.onnx").exists()


def test_an_occupied_place_is_refused_before_the_export(torchport_cli, folder):
    (folder / "m.bundle").mkdir()
    (folder / "m.bundle" / "thesis.tex").write_text("years of work")
    for words in (("--bundle", "m.bundle", "--overwrite"), ("--bundle", "no/m.bundle"), ("--bundle-key", "toys.py")):
        assert torchport_cli("export", "toys.py:Scale", "-o", "m.onnx", *words).exit_code == 2
    assert not (folder / "m.onnx").exists()


@pytest.mark.usefixtures("made")
def test_a_model_repository_takes_versions(torchport_cli, folder):
    words = ("package", "m.onnx", "-o", "repository", "--target", "triton", "--set", "name=scale")
    assert torchport_cli(*words).exit_code == 0
    result = torchport_cli(*words)
    assert result.exit_code == 0
    assert "packaged repository/scale (triton)" in result.stdout
    assert "torchport.check" not in result.stdout
    assert sorted(path.name for path in (folder / "repository" / "scale").iterdir()) == ["1", "2", "config.pbtxt", "warmup"]
    assert torchport_cli(*words, "--set", "batch=2").exit_code == 2


@pytest.mark.parametrize("target", ["triton", "onnxruntime", "riva"])
def test_a_format_that_the_target_does_not_take_is_refused_before_the_export(torchport_cli, folder, target):
    result = torchport_cli("export", "toys.py:Scale", "-o", "m.pt2", "--package", "made", "--target", target)
    assert result.exit_code == 2
    assert "not take such a file" in result.stderr
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == ["toys.py"]


def test_what_fails_after_the_export_says_what_is_written_and_has_a_code_of_its_own(torchport_cli, folder):
    words = ("export", "toys.py:Scale", "-o", "m.onnx", "--no-verify", "--package", "repository")
    assert torchport_cli(*words, "--package-set", "max_batch_size=8").exit_code == 0
    (folder / "m.onnx").unlink()
    result = torchport_cli(*words, "--bundle", "m.bundle", "--overwrite")
    assert result.exit_code == 9
    assert (folder / "m.onnx").is_file()
    said = " ".join(result.stderr.split())
    assert "written already, and kept: m.onnx, m.bundle; only the package is missing" in said
    assert "another model name: --package-set name=…, or --overwrite of torchport package replaces the model" in said
    document = torchport_cli(*words, "--overwrite", "--json").document
    assert document["exit_code"] == 9
    assert any("m.onnx" in note for note in document["error"]["notes"])
    assert torchport_cli(*words, "--overwrite", "--package-set", "name=other").exit_code == 0
    result = torchport_cli("package", "m.onnx", "-o", "repository", "--target", "triton")
    assert result.exit_code == 2
    assert "another model name: --set name=…, or --overwrite of torchport package" in " ".join(result.stderr.split())
    assert torchport_cli("package", "m.onnx", "-o", "repository", "--target", "triton", "--overwrite").exit_code == 0


def test_a_note_is_told_once_however_often_the_artifact_is_packaged(torchport_cli):
    result = torchport_cli(
        "export", "toys.py:Baked", "-o", "m.ts", "--no-verify", "--input-type", "x=batch 4,float32", "--output-type", "y=batch 4",
        "--bundle", "m.bundle", "--package", "repository",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    notes = [line for line in result.stdout.splitlines() if line.startswith("note ")]
    assert notes
    assert len(notes) == len(set(notes))
