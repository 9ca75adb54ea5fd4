"""Folders and files as they should not be: links, pipes, secrets, numbers without end; and other formats than ONNX."""

import os

import onnx
import pytest
import torch
from corpus import CASES, SOUND, change, write
from onnx_files import BF16, files, same

from torchport.errors import UnknownNameError, UnusablePathError
from torchport.repository import _files as files_module
from torchport.repository import _folder as folder_module
from torchport.repository import check_repository

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")


def sound(root, name="m"):
    """A model that is right."""
    folder = root / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(change(name=None))
    (folder / "1" / "model.onnx").write_bytes(files()["sound"])
    return folder


def found(root, **options):
    report = check_repository(root, **options)
    return {finding.rule for finding in report.findings}, report


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UnusablePathError, match="there is no such folder"):
        check_repository(tmp_path / "nothing")


def test_an_empty_repository_is_clean(tmp_path):
    (tmp_path / "README.md").write_text("hello")
    assert check_repository(tmp_path).text() == "0 models: 0 errors, 0 warnings"


def test_what_is_ignored_is_counted_and_decides_still(tmp_path):
    folder = sound(tmp_path)
    (folder / "config.pbtxt").write_text(SOUND.replace('"m"', '"n"'))
    report = check_repository(tmp_path, ignore=["model/name"])
    assert report.clean
    assert report.text() == "1 model: 0 errors, 0 warnings, 1 ignored"
    assert report.models == {"m": "refused"}
    with pytest.raises(UnknownNameError, match="model/nam"):
        check_repository(tmp_path, ignore=["model/nam"])


@pytest.mark.parametrize("path", ["config.pbtxt", "1/model.onnx", "1"])
def test_a_link_out_of_the_repository_is_not_followed(tmp_path, path):
    outside = sound(tmp_path / "elsewhere")
    folder = sound(tmp_path / "repository")
    if path == "1":
        (folder / "1" / "model.onnx").unlink()
        (folder / "1").rmdir()
    else:
        (folder / path).unlink()
    (folder / path).symlink_to(outside / path)
    rules, report = found(tmp_path / "repository")
    assert "files/link" in rules
    assert report.models["m"] in ("undecided", "refused")


def test_a_model_that_is_a_link_within_the_repository_is_followed(tmp_path):
    sound(tmp_path, "first")
    (tmp_path / "second").symlink_to("first")
    rules, report = found(tmp_path)
    assert rules == set()
    assert report.models == {"first": "loads", "second": "loads"}


def test_a_link_in_a_circle_ends(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.pbtxt").symlink_to("config.pbtxt")
    assert "files/unreadable" in found(tmp_path)[0]


def test_a_pipe_is_not_waited_for(tmp_path):
    folder = sound(tmp_path)
    for path in ("config.pbtxt", "1/model.onnx"):
        (folder / path).unlink()
        os.mkfifo(folder / path)
    rules, report = found(tmp_path)
    assert rules == {"files/unreadable"}
    assert report.models == {"m": "undecided"}


def test_what_may_not_be_read_is_told(tmp_path, monkeypatch):
    folder = sound(tmp_path)
    refused = {folder / "1" / "model.onnx"}
    monkeypatch.setattr(folder_module.os, "access", lambda path, mode: path not in refused)
    assert found(tmp_path)[0] == {"files/unreadable"}

    def scandir(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder_module.os, "scandir", scandir)
    assert found(tmp_path)[0] == {"files/unreadable"}


def test_a_folder_without_end_is_cut(tmp_path, monkeypatch):
    sound(tmp_path, "a")
    sound(tmp_path, "b")
    monkeypatch.setattr(folder_module, "_MOST_MODELS", 1)
    rules, report = found(tmp_path)
    assert rules == {"files/too-large"}
    assert list(report.models) == ["a"]
    monkeypatch.setattr(folder_module, "_MOST_ENTRIES", 1)
    assert "files/too-large" in found(tmp_path)[0]


def test_a_configuration_without_end_is_not_read(tmp_path):
    folder = sound(tmp_path)
    (folder / "config.pbtxt").write_text(SOUND + "#" * 2**20)
    rules, report = found(tmp_path)
    assert rules == {"files/too-large"}
    assert report.models == {"m": "undecided"}
    (folder / "config.pbtxt").write_text(SOUND + "input{}" * 25000)
    assert found(tmp_path)[0] == {"files/too-large"}


def test_a_name_that_is_not_text_is_shown_harmless(tmp_path):
    (tmp_path / os.fsdecode(b"a\xff\x1b[31m\n")).mkdir()
    text = check_repository(tmp_path).text()
    text.encode()
    assert "\x1b" not in text
    assert "versions/none a" in text


def test_the_size_of_a_large_model_does_not_matter(tmp_path, monkeypatch):
    """Only ports are read: a file with many nodes is walked over, one without end is given up."""
    sound(tmp_path)
    from torchport.check import _onnx

    monkeypatch.setattr(_onnx, "_MOST_FIELDS", 2)
    assert found(tmp_path)[0] == {"files/model-unreadable"}
    monkeypatch.setattr(_onnx, "_MOST_FIELDS", 1000)
    monkeypatch.setattr(_onnx, "_MOST_PORTS", 0)
    assert found(tmp_path)[0] == {"files/model-unreadable"}


def test_bfloat16_depends_on_the_server(tmp_path):
    folder = sound(tmp_path)
    (folder / "1" / "model.onnx").write_bytes(same(["batch", 4, "time"], BF16).SerializeToString())
    (folder / "config.pbtxt").write_text(SOUND.replace("FP32", "BF16"))
    rules, report = found(tmp_path)
    assert rules == {"io/dtype-unsupported"}
    assert report.models == {"m": "undecided"}


def test_a_file_that_states_no_rank_is_taken_for_a_scalar(tmp_path):
    folder = sound(tmp_path)
    model = onnx.load_from_string(files()["sound"])
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.ClearField("shape")
    (folder / "1" / "model.onnx").write_bytes(model.SerializeToString())
    assert found(tmp_path)[0] == {"io/rank"}


def test_a_model_in_a_folder_of_its_own_is_found(tmp_path):
    folder = sound(tmp_path)
    content = (folder / "1" / "model.onnx").read_bytes()
    (folder / "1" / "model.onnx").unlink()
    (folder / "1" / "model.onnx").mkdir()
    (folder / "1" / "model.onnx" / "model.onnx").write_bytes(content)
    assert found(tmp_path)[0] == set()


class Two(torch.nn.Module):
    def forward(self, first, second: int = 2, third: bool = False):
        return first + second


class Three(torch.nn.Module):
    def forward(self, first, second, third):
        return first + second, third


TORCH = """backend: "pytorch"
max_batch_size: 8
input {{ name: "{0}" data_type: {dtype} dims: [4] }}
input {{ name: "{1}" data_type: TYPE_FP32 dims: [4] }}
input {{ name: "{2}" data_type: TYPE_FP32 dims: [4] }}
output {{ name: "{3}" data_type: TYPE_FP32 dims: [4] }}
output {{ name: "{4}" data_type: TYPE_FP32 dims: [4] }}
"""


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / "m.pt"
    torch.jit.script(Three()).save(path)
    return path.read_bytes()


def torch_model(root, scripted, *names, dtype="TYPE_FP32"):
    (root / "m" / "1").mkdir(parents=True)
    (root / "m" / "1" / "model.pt").write_bytes(scripted)
    (root / "m" / "config.pbtxt").write_text(TORCH.format(*names, dtype=dtype))
    return found(root)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("first", "second", "third", "y__0", "y__1"), set()),
        (("a__0", "b__1", "c__2", "y__0", "y__1"), set()),
        (("a", "b", "c", "y__0", "y__1"), {"io/naming"}),
        (("first", "second", "third", "y", "z"), set()),
        (("first", "second", "third", "y__1", "z"), {"io/naming"}),
    ],
)
def test_names_of_torchscript_models(tmp_path, scripted, names, expected):
    rules, report = torch_model(tmp_path, scripted, *names)
    assert rules == expected
    assert report.models == {"m": "loads"}


def test_types_that_torch_does_not_take(tmp_path, scripted):
    rules, report = torch_model(tmp_path, scripted, "first", "second", "third", "y__0", "y__1", dtype="TYPE_UINT32")
    assert rules == {"io/dtype-unsupported"}
    assert report.models == {"m": "refused"}


def test_an_argument_that_nobody_gives(tmp_path, scripted):
    torch_model(tmp_path, scripted, "first", "second", "third", "y__0", "y__1")
    config = tmp_path / "m" / "config.pbtxt"
    config.write_text(config.read_text().replace('input { name: "third" data_type: TYPE_FP32 dims: [4] }', ""))
    [finding] = found(tmp_path)[1].findings
    assert (finding.rule, finding.found) == ("io/input-missing", "first, second")


class Keyed(torch.nn.Module):
    def forward(self, inputs: dict[str, torch.Tensor]):
        return inputs["a"] + inputs["b"]


def test_a_script_that_takes_a_dict_does_not_tell_its_inputs(tmp_path):
    path = tmp_path / "keyed.pt"
    torch.jit.script(Keyed()).save(path)
    rules, report = torch_model(tmp_path / "r", path.read_bytes(), "a", "b", "c", "y", "z")
    assert rules == {"io/naming"}
    assert report.models == {"m": "undecided"}


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"no archive", b""])
def test_a_broken_torchscript_file_is_told(tmp_path, content):
    assert "files/model-unreadable" in torch_model(tmp_path, content, *"abcde")[0]


def test_an_archive_of_another_kind_is_told(tmp_path, scripted):
    import io
    import zipfile

    for pickled in (b"", b".", b"c__torch__\nNet\n."):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as file:
            file.writestr("m/other", b"x")
            if pickled:
                file.writestr("m/data.pkl", pickled)
        folder = tmp_path / str(len(pickled))
        assert "files/model-unreadable" in torch_model(folder, stream.getvalue(), *"abcde")[0]


def test_code_without_end_is_not_read(tmp_path, scripted, monkeypatch):
    monkeypatch.setattr(files_module, "_MOST_RECORD", 10)
    assert "files/model-unreadable" in torch_model(tmp_path, scripted, *"abcde")[0]


def test_the_arguments_of_a_script_with_numbers_and_defaults(tmp_path):
    path = tmp_path / "two.pt"
    torch.jit.script(Two()).save(path)
    assert list(files_module._read_torchscript(path).inputs) == ["first", "second", "third"]


def test_findings_are_plain_data(tmp_path):
    write(next(case for case in CASES if case.name == "output fixed where the file varies"), tmp_path)
    [finding] = check_repository(tmp_path).to_dict()["findings"]
    assert finding == {
        "rule": "io/output-dims",
        "severity": "error",
        "effect": "refused",
        "model": "m",
        "file": "m/config.pbtxt",
        "line": 5,
        "column": 41,
        "message": "output 'y' has another size",
        "found": "[4, 7]",
        "expected": "[4, -1]",
        "fix": "the file's sizes; -1 where, and only where, the file's axis varies",
    }
