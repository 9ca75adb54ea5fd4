"""``torchport serve`` and ``torchport request`` in process; a program stands in for the server: the real one is in tests/triton_server."""

import json
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from torchport.check._arrays import write_arrays
from torchport.repository._unfinished import UNFINISHED, PlannedMove, Unfinished, unfinished_document
from torchport.serving import TritonServer, free_ports

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from fake_triton import handler, write_environment, write_model

VERSIONS = {"nvidia-pytriton": "0.7.0", "numpy": "1.26.4", "onnxruntime": "1.32.0", "torch": None}


@pytest.fixture
def repository(folder):
    repository = folder / "repository"
    write_model(repository, "echo", {"x": ("TYPE_FP32", ["-1", "3"])}, {"y": ("TYPE_FP32", ["-1", "3"])})
    return repository


def write_goldens(repository, model, cases, version="1"):
    """Cases as ``name: (inputs, outputs, tolerances)``."""
    home = repository / model / version
    (home / "goldens").mkdir(parents=True, exist_ok=True)
    listed = []
    for name, (inputs, outputs, tolerances) in cases.items():
        write_arrays(home / "goldens" / f"{name}.inputs.npz", inputs)
        write_arrays(home / "goldens" / f"{name}.outputs.npz", outputs)
        listed.append({"name": name, "sizes": {}, "tolerances": tolerances})
    (home / "torchport.json").write_text(json.dumps({"goldens": listed}))


X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def url(repository):
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(repository)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


# --- request ------------------------------------------------------------------------------------------------------------------------


def test_golden_cases_are_sent_and_compared(torchport_cli, repository, url):
    write_goldens(repository, "echo", {"same": ({"x": X}, {"y": X}, {"y": 1e-6}), "near": ({"x": X}, {"y": X + 1e-3}, {"y": 1e-2})})
    result = torchport_cli("request", repository, "--url", url)
    assert result.exit_code == 0, result.output
    assert "2 equal, 0 wrong, 0 not sent" in result.stdout
    document = torchport_cli("request", repository, "--url", url, "--json").document
    assert document["ok"] is True
    assert [(one["case"], one["ok"], one["sent"]) for one in document["cases"]] == [("same", True, True), ("near", True, True)]


def test_a_wrong_answer_is_exit_code_3_and_told(torchport_cli, repository, url):
    write_goldens(repository, "echo", {"off": ({"x": X}, {"y": X + 1}, {"y": 1e-6}), "gone": ({"x": X}, {"z": X}, {"z": 1e-6})})
    result = torchport_cli("request", repository, "--url", url)
    assert result.exit_code == 3
    assert "y differs in value at [0, 0]: 0, expected 1" in result.stdout
    assert "z differs in shape: none, expected an output" in result.stdout
    assert "0 equal, 2 wrong, 0 not sent" in result.stdout


def test_what_cannot_be_sent_is_not_passed_over_in_silence(torchport_cli, repository, url):
    ports = {"x": ("TYPE_FP32", ["3"])}
    state = {"sequence_batching": {"state": [{"input_name": "s"}]}}
    write_model(repository, "streams", ports, {"y": ("TYPE_FP32", ["3"])}, **state)
    write_model(repository, "small", ports, {"y": ("TYPE_FP32", ["3"])}, max_batch_size=1)
    write_model(repository, "down", ports, {"y": ("TYPE_FP32", ["3"])}, broken="out of order")
    write_model(repository, "angry", ports, {"y": ("TYPE_FP32", ["3"])}, refuses="not today")
    for model in ("streams", "small", "down", "angry"):
        write_goldens(repository, model, {"case": ({"x": X}, {"y": X}, {"y": 0.0})})
    write_goldens(repository, "echo", {"case": ({"x": X}, {"y": X}, {"y": 0.0})})
    write_goldens(repository, "echo", {"case": ({"x": X}, {"y": X}, {"y": 0.0})}, version="2")
    result = torchport_cli("request", repository, "--url", url)
    for said in (
        "not sent: the server keeps the state",
        "not sent: its batch of 2 is above the 1 that the server takes",
        "not sent: version 1 is not served: out of order",
        "not sent: version 2 is not served",
        "the server refused: not today",
        "1 equal, 1 wrong, 4 not sent",
    ):
        assert said in result.stdout
    assert result.exit_code == 3
    assert torchport_cli("request", repository, "--url", url, "--model", "streams").exit_code == 3  # nothing was sent at all


def test_one_number_a_row_has_an_axis_on_the_wire_only(torchport_cli, repository, url):
    one = ("TYPE_INT64", ["1"], {"reshape": {"shape": []}})
    write_model(repository, "lengths", {"n": one}, {"m": one}, max_batch_size=8)
    write_goldens(repository, "lengths", {"case": ({"n": np.arange(3)}, {"m": np.arange(3)}, {"m": 0.0})})
    assert torchport_cli("request", repository, "--url", url, "--model", "lengths").exit_code == 0


def test_a_file_is_sent_compared_and_the_answer_kept(torchport_cli, repository, folder, url):
    np.savez(folder / "in.npz", x=X)
    np.savez(folder / "same.npz", y=X)
    np.savez(folder / "other.npz", y=X + 1, z=X)
    base = ("request", "--url", url, "--model", "echo", "--input", "in.npz")
    result = torchport_cli(*base, "-o", "answer.npz")
    assert result.exit_code == 0, result.output
    assert "nothing to compare with" in result.stdout
    np.testing.assert_array_equal(np.load(folder / "answer.npz")["y"], X)
    assert "equal, off by 0.0e+00" in torchport_cli(*base, "--expected", "same.npz").stdout
    wrong = torchport_cli(*base, "--expected", "other.npz")
    assert wrong.exit_code == 3
    assert "y differs in value" in wrong.stdout
    assert "z differs in shape: none" in wrong.stdout
    assert torchport_cli(*base, "--expected", "other.npz", "--tolerance", "1", "--json").document["differences"].keys() == {"z"}
    assert repository.is_dir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "there is nothing to send"),
        (("repository", "--expected", "a.npz"), "there is nothing to send"),
        (("--input", "a.npz"), "a file is sent to one model"),
        (("repository", "--model", "echo", "--input", "a.npz"), "a file is sent to one model"),
        (("--model", "echo", "--input", "none.npz"), "the arrays cannot be read"),
        (("--model", "echo", "--input", "broken.npz"), "the arrays cannot be read"),
        (("nowhere",), "there is no such model repository"),
        (("repository",), "there are no golden cases"),
        (("repository", "--model", "other"), "there are no golden cases"),
    ],
)
def test_what_cannot_be_asked_is_refused(torchport_cli, repository, folder, words, said):
    (folder / "broken.npz").write_text("no arrays")
    result = torchport_cli("request", *words, "--url", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert said in result.stderr
    assert repository.is_dir()


def test_broken_goldens_and_absent_servers_are_told(torchport_cli, repository):
    write_goldens(repository, "echo", {"case": ({"x": X}, {"y": X}, {"y": 0.0})})
    result = torchport_cli("request", repository, "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "there is no answer" in result.stderr
    (repository / "echo" / "1" / "goldens" / "case.inputs.npz").write_text("no arrays")
    result = torchport_cli("request", repository)
    assert result.exit_code == 2
    assert "the golden cases cannot be read" in result.stderr


# --- serve --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(torchport_cli, folder, repository, monkeypatch):
    """Runs the command; Ctrl-C comes as soon as it waits."""
    (folder / "environment").mkdir()
    python = write_environment(folder / "environment", VERSIONS)
    ports = free_ports()
    given = ("--python", python, "--http-port", ports.http, "--grpc-port", ports.grpc, "--metrics-port", ports.metrics)
    stopped = []

    def interrupted(server):
        stopped.append(server)
        raise KeyboardInterrupt

    monkeypatch.setattr(TritonServer, "wait", interrupted)

    def run(*words):
        result = torchport_cli("serve", repository, *given, *words)
        assert all(server.pid is None for server in stopped)
        return result

    return run


def test_serving_says_what_answers_and_how_to_ask_it(serve, repository):
    write_model(repository, "broken", {"x": ("TYPE_FP32", ["3"])}, {"y": ("TYPE_FP32", ["3"])}, broken="out of order")
    write_model(repository, "joined", {"x": ("TYPE_FP32", ["3"])}, {"y": ("TYPE_FP32", ["3"])}, platform="ensemble")
    write_model(repository, "own", {"x": ("TYPE_FP32", ["3"])}, {"y": ("TYPE_FP32", ["3"])}, backend="python")
    result = serve()
    assert result.exit_code == 0, result.output
    for said in (
        "with Triton from nvidia-pytriton 0.7.0",
        "onnxruntime: torchport's, in Python, instead of the native one",
        "python: the wheel's own",
        "an ensemble of other models",
        "out of order",
        "curl -s http://127.0.0.1:",
        'ask("joined", {"x": np.zeros((3,), np.float32)})',
        "Ctrl-C stops it",
        "stopped",
    ):
        assert said in result.stdout


def test_the_call_for_python_takes_a_golden_case_that_fits(serve, repository):
    ports = {"x": ("TYPE_FP32", ["3"])}, {"y": ("TYPE_FP32", ["3"])}
    write_model(repository, "able", *ports, max_batch_size=1, sequence_batching={"oldest": {}})
    write_goldens(repository, "able", {"big": ({"x": X}, {"y": X}, {}), "small": ({"x": X[:1]}, {"y": X[:1]}, {})})
    result = serve("--strict")
    assert f'np.load("{repository}/able/1/goldens/small.inputs.npz")' in result.stdout.replace("\n", "")
    assert '"sequence_start": True' in result.stdout


def test_serving_as_a_document(serve):
    document = serve("--json").document
    assert document["models"] == [
        {
            "name": "echo",
            "version": "1",
            "state": "READY",
            "reason": "",
            "backend": "onnxruntime: torchport's, in Python, instead of the native one",
        }
    ]


def test_what_a_killed_packaging_left_is_finished_before_it_is_served(serve, repository):
    """The second of two models had yet to come."""
    write_model(repository, "came", {"x": ("TYPE_FP32", ["3"])}, {"y": ("TYPE_FP32", ["3"])})
    write_model(repository, "late", {"x": ("TYPE_FP32", ["3"])}, {"y": ("TYPE_FP32", ["3"])})
    outer = repository.parent / f".{repository.name}.x.partial"
    (outer / repository.name).mkdir(parents=True)
    moves = tuple(PlannedMove(name, "", False, (repository / name).stat().st_ino) for name in ("came", "late"))
    (repository / "late").rename(outer / repository.name / "late")
    (repository / UNFINISHED).write_text(json.dumps(unfinished_document(Unfinished(outer.name, moves))))
    document = serve("--json").document
    assert document["settled"] == "an earlier packaging of came, late had been killed on its way and was finished first"
    assert [one["name"] for one in document["models"]] == ["came", "echo", "late"]
    assert not outer.exists()
    assert "had been killed" not in serve().stdout


def test_texts_are_asked_for_with_texts(serve, repository):
    write_model(repository, "a", {"t": ("TYPE_STRING", ["-1"]), "b": ("TYPE_BOOL", ["2"])}, {"y": ("TYPE_STRING", ["-1"])})
    assert '{"t": np.full((1,), \'\', object), "b": np.zeros((2,), np.bool_)}' in serve().stdout


def test_no_model_that_is_ready_is_an_error(serve, repository):
    write_model(repository, "a", {}, {}, broken="out of order")
    config = json.loads((repository / "echo" / "config.json").read_text())
    (repository / "echo" / "config.json").write_text(json.dumps({**config, "broken": "too"}))
    result = serve()
    assert result.exit_code == 1
    assert "no model is ready" in result.stderr
    assert "a: out of order" in result.stderr


def test_an_interruption_while_it_starts_is_one(serve, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(TritonServer, "start", interrupted)
    assert serve().exit_code == 130


def test_without_the_server_a_sentence_says_what_to_install(torchport_cli, repository, folder):
    python = folder / "python"
    python.write_text("#!/bin/sh\necho '{\"wheel\": null}'\n")
    python.chmod(0o755)
    result = torchport_cli("serve", repository, "--python", python)
    assert result.exit_code == 2
    assert "Triton's server is needed to serve a repository, and it is not installed here" in result.stderr
    assert "pip install 'torchport[triton]'" in result.stderr
