"""Every built-in model, packaged in both formats, answers on the real server as it does in Python: by HTTP and by gRPC."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import tritonclient.grpc as grpc
from triton_cases import MODELS, SIZES, asked_by_grpc, assert_same, build, counted, eager, inputs_for, sent

import torchport
from torchport.serving import TritonServer

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")

BATCHED = {"max_batch_size": 8, "dynamic_batching": True}
REQUESTS = 200


@pytest.fixture(scope="module", params=[pytest.param(family, marks=pytest.mark.xdist_group(family)) for family in MODELS])
def packaged(request, tmp_path_factory):
    """A model, its export, and a repository with it in both formats, the batch counted by the clients or by the server."""
    folder = tmp_path_factory.mktemp(request.param)
    model = build(request.param)
    for suffix in ("onnx", "ts"):
        result = torchport.export(model, folder / f"m.{suffix}")
        result.package(folder / "repository", target="triton", options={"name": f"plain-{suffix}"})
        result.package(folder / "repository", target="triton", options={"name": f"batched-{suffix}", **BATCHED})
    result.package(folder / "repository", target="triton", options={"name": "index-ts", "names": "index"})
    return request.param, model, result.parts[0], folder / "repository"


@pytest.fixture(scope="module")
def usual(packaged, environment):
    """One server for the tests that do not ask for another."""
    with TritonServer(packaged[3], environment=environment) as server:
        yield server


@pytest.mark.parametrize("mode", ["usual", "strict"])
def test_values_are_those_of_the_model_at_every_size(packaged, serve, usual, mode):
    family, model, part, repository = packaged
    signature, tolerances = part.artifact.signature, part.goldens[0].tolerances
    server = usual if mode == "usual" else serve(repository, "--disable-auto-complete-config")
    served = server.client.models()
    assert {one.name: one.reason for one in served} == dict.fromkeys(
        ["batched-onnx", "batched-ts", "index-ts", "plain-onnx", "plain-ts"], ""
    )
    remote = grpc.InferenceServerClient(server.grpc_address)
    names = {name: f"{name}__{index}" for ports in (signature.inputs, signature.outputs) for index, name in enumerate(ports)}
    for seed, sizes in enumerate(SIZES[family]):
        inputs = inputs_for(signature, sizes, seed)
        expected = eager(model, signature, inputs)
        for name in ("plain-onnx", "plain-ts", "batched-onnx", "batched-ts"):
            given = sent(inputs, server.client.config(name))
            assert_same(expected, server.client.infer(name, given), tolerances)
            assert_same(expected, asked_by_grpc(remote, name, given, signature.outputs), tolerances)
        answer = server.client.infer("index-ts", {names[name]: array for name, array in inputs.items()})
        assert_same(expected, {name: answer[names[name]] for name in signature.outputs}, tolerances)
    remote.close()


def test_no_client_gets_anothers_answer(packaged, usual):
    """200 requests of mixed lengths at once, put together by the server."""
    family, model, part, _ = packaged
    signature, tolerances = part.artifact.signature, part.goldens[0].tolerances
    server = usual
    draw = random.Random(0)
    for name in ("batched-onnx", "batched-ts"):
        config = server.client.config(name)
        requests = []
        for seed in range(REQUESTS):
            sizes = {**draw.choice(SIZES[family]), "batch": draw.choice((1, 1, 1, 2, 3))}
            inputs = inputs_for(signature, sizes, seed)
            requests.append((sent(inputs, config), eager(model, signature, inputs)))
        before = server.client.statistics(name)  # the warm-up counts, too
        with ThreadPoolExecutor(REQUESTS) as pool:
            answers = list(pool.map(lambda one, name=name: server.client.infer(name, one[0]), requests))
        for (_, expected), answer in zip(requests, answers, strict=True):
            assert_same(expected, answer, tolerances)
        after = counted(server.client, name, before["inference_stats"]["success"]["count"] + REQUESTS)
        assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == REQUESTS
        assert after["execution_count"] - before["execution_count"] < REQUESTS, "nothing was put together, so this tried nothing"
