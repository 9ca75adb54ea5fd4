"""``torchport check-repository``: exit codes, the document, and what people see."""

import json

import onnx
import pytest
from onnx import TensorProto, helper

from torchport.cli import app

CONFIG = """backend: "onnxruntime"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [4] }
output { name: "y" data_type: TYPE_FP32 dims: [4] }
"""


@pytest.fixture
def repository(tmp_path):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "m", ports[:1], ports[1:])
    (tmp_path / "r" / "m" / "1").mkdir(parents=True)
    onnx.save(helper.make_model(graph), tmp_path / "r" / "m" / "1" / "model.onnx")
    (tmp_path / "r" / "m" / "config.pbtxt").write_text(CONFIG)
    return tmp_path / "r"


def run(*words):
    return app(["check-repository", *map(str, words)], standalone_mode=False)


def change(repository, old, new):
    config = repository / "m" / "config.pbtxt"
    config.write_text(config.read_text().replace(old, new))


def test_a_clean_repository(repository, capsys):
    assert run(repository) == 0
    said = capsys.readouterr().out
    assert "loads it" in said
    assert "1 model: 0 errors, 0 warnings" in said


def test_errors_are_shown_with_place_and_fix(repository, capsys):
    change(repository, "dims: [4] }\nout", "dims: [9] }\nout")
    assert run(repository) == 7
    said = " ".join(capsys.readouterr().out.split())
    assert "error m/config.pbtxt:3:40 io/input-dims input 'x' has another size found: [9] expected: [4] try: the file's sizes" in said
    assert "refuses it" in said
    assert run(repository, "--ignore", "io/input-dims") == 0


def test_warnings_have_a_code_of_their_own(repository, capsys):
    change(repository, "max_batch_size: 8", "max_batch_size: 8 instance_group { kind: KIND_GPU }")
    assert run(repository) == 8
    assert "may refuse it: files alone do not tell" in capsys.readouterr().out
    assert run(repository, "--no-warnings") == 0


def test_a_server_that_completes_nothing(repository):
    change(repository, 'output { name: "y" data_type: TYPE_FP32 dims: [4] }', "")
    assert run(repository) == 8
    assert run(repository, "--no-auto-complete") == 7


def test_the_document(repository, capsys):
    change(repository, "backend", "backnd")
    assert run(repository, "--json") == 7
    document = json.loads(capsys.readouterr().out)
    [finding] = document["findings"]
    assert (finding["rule"], finding["file"], finding["line"], finding["column"]) == ("config/syntax", "m/config.pbtxt", 1, 1)
    assert (document["models"], document["errors"], document["auto_complete"]) == ({"m": "refused"}, 1, True)


def test_the_rules_are_listed(repository, capsys):
    assert run(repository, "--rules", "--json") == 0
    rules = {rule["rule"]: rule for rule in json.loads(capsys.readouterr().out)}
    assert rules["config/syntax"]["severity"] == "error"
    assert rules["files/link"]["severity"] == "warning"


def test_bad_input(repository, capsys):
    assert run(repository / "nothing") == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert run(repository, "--ignore", "io/dim") == 2
    assert "unknown rule" in capsys.readouterr().err


def test_what_stands_in_files_steers_no_terminal(repository, capsys):
    change(repository, 'name: "x"', 'name: "[red]x[/]\\033[31m"')
    run(repository)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "[red]x[/]" in said
