"""Archives that NeMo itself wrote become graphs, from Python and from the command line."""

import json
import subprocess
import sys
import tarfile

import nemo_models as zoo
import pytest

from torchport.errors import ArchiveError
from torchport.integrations.nemo.archive import restore_nemo_archive

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", ["ctc-quartznet", "rnnt-conformer", "speaker-titanet", "tts-fastpitch"])
def test_an_archive_comes_back_as_the_model_that_was_saved(tmp_path, name):
    model = zoo.build(name)
    model.save_to(str(tmp_path / "m.nemo"))
    restored = restore_nemo_archive(tmp_path / "m.nemo")
    subnet = "encoder" if name.startswith("rnnt") else "self"
    inputs = zoo.inputs_for(model, subnet, 2, 25, 0)
    expected, got = zoo.eager(model, subnet, inputs), zoo.eager(restored, subnet, inputs)
    assert zoo.worst_error(expected, {name: value.numpy() for name, value in got.items()}) == 0


def test_the_command_line_exports_an_archive_and_its_json_is_clean(tmp_path):
    zoo.build("hybrid-rnnt").save_to(str(tmp_path / "m.nemo"))
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "torchport",
        "export",
        str(tmp_path / "m.nemo"),
        "-o",
        str(tmp_path / "m.onnx"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["decoder_joint-m.onnx", "encoder-m.onnx"]


def test_a_hostile_archive_never_reaches_nemo(tmp_path):
    zoo.build("ctc-quartznet").save_to(str(tmp_path / "m.nemo"))
    with tarfile.open(tmp_path / "m.nemo", "a") as archive:
        link = tarfile.TarInfo("./evil")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ArchiveError, match="link"):
        restore_nemo_archive(tmp_path / "m.nemo")


def test_what_nemo_cannot_build_is_an_error_of_the_archive(tmp_path):
    zoo.build("ctc-quartznet").save_to(str(tmp_path / "m.nemo"))
    (tmp_path / "other.yaml").write_text("target: nemo.collections.asr.models.ctc_models.EncDecCTCModel\nlabels: [a]\n")
    with pytest.raises(ArchiveError, match="NeMo cannot restore the archive"):
        restore_nemo_archive(tmp_path / "m.nemo", tmp_path / "other.yaml")
