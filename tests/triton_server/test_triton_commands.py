"""``torchport serve`` and ``torchport request`` with the real server: what they print works when it is copied."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from test_triton_kinds import Streaming, Whole
from triton_cases import MODELS, build

import torchport
from torchport.serving import free_ports

pytestmark = [pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"), pytest.mark.xdist_group("commands")]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Every built-in model in both formats, a stream and an ensemble."""
    folder = tmp_path_factory.mktemp("served")
    for family in MODELS:
        result = torchport.export(build(family), folder / f"{family}.onnx")
        result.package(folder / "repository", target="triton", options={"max_batch_size": 8, "dynamic_batching": True})
        result = torchport.export(build(family), folder / f"{family}-script.ts")
        result.package(folder / "repository", target="triton")
    torchport.export(Streaming(), folder / "stream.onnx").package(folder / "repository", target="triton", options={"sequences": 4})
    Whole().export(folder / "whole.onnx").package(folder / "repository", target="triton")
    return folder / "repository"


def command(*words):
    return [sys.executable, "-m", "torchport", *map(str, words)]


def test_what_is_served_answers_its_golden_cases_and_ends_with_an_interruption(repository):
    ports = free_ports()
    words = command("serve", repository, "--http-port", ports.http, "--grpc-port", ports.grpc, "--metrics-port", ports.metrics)
    url = f"http://127.0.0.1:{ports.http}"
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if line.startswith("Ctrl-C"):
                    break
            assert lines[-1:] == ["Ctrl-C stops it"], process.stderr.read()
            curl = next(line for line in lines if line.startswith("curl "))
            answer = json.loads(subprocess.run(shlex.split(curl), capture_output=True, check=True).stdout)
            start = lines.index("import numpy as np")
            python = "\n".join(lines[start : start + 4])
            printed = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, check=True).stdout
            assert f"'{answer['outputs'][0]['name']}': array(" in printed
            for place in (url, f"grpc://127.0.0.1:{ports.grpc}"):
                asked = subprocess.run(command("request", repository, "--url", place, "--json"), capture_output=True, text=True, check=True)
                document = json.loads(asked.stdout)
                assert (document["url"], document["ok"]) == (place, True)
                sent = {one["model"] for one in document["cases"] if one["sent"]}
                assert sent == {*MODELS, *(f"{family}-script" for family in MODELS), "front-whole", "middle-whole", "after-whole", "whole"}
                told = {one["words"] for one in document["cases"] if one["model"] == "stream"}
                assert told == {"not sent: the server keeps the state that the case brings along"}
        finally:
            os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout.read().strip() == "stopped"
    for place in (url, f"grpc://127.0.0.1:{ports.grpc}"):
        gone = subprocess.run(command("request", repository, "--url", place), capture_output=True, text=True, check=False)
        assert gone.returncode == 1
        assert "there is no answer" in gone.stderr


def test_a_model_that_was_exchanged_is_found_by_its_goldens(repository, serve, tmp_path):
    copy = tmp_path / "repository"
    shutil.copytree(repository / "middle-whole", copy / "middle-whole")
    middle = Whole().middle.requires_grad_(False)
    middle.head.weight.mul_(1.01)
    shutil.copyfile(torchport.export(middle, tmp_path / "other.onnx").path, copy / "middle-whole" / "1" / "model.onnx")
    server = serve(copy)
    for place in (server.client.url, f"grpc://{server.grpc_address}"):
        asked = subprocess.run(command("request", copy, "--url", place), capture_output=True, text=True, check=False)
        assert asked.returncode == 3
        assert "logits differs in value" in asked.stdout
