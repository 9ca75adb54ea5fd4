"""NeMo's families, rebuilt from archives, on the real server: every part, streams with their caches, and the voices of FastPitch."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import tritonclient.grpc as grpc
from triton_cases import MODELS, asked_by_grpc, assert_same, build, counted, eager, inputs_for, sent

import torchport
from torchport.errors import PackageError
from torchport.models._zoo import families
from torchport.serving import GrpcClient, TritonServer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))

import golden_archives as golden

pytestmark = pytest.mark.xdist_group("speech")  # one worker exports and serves them all

BATCHED = {"max_batch_size": 8, "dynamic_batching": True}
SPEECH = {
    "nemo-ctc": ("ctc-fastconformer", {}, BATCHED),
    "nemo-transducer": ("tdt-fastconformer", {}, {f"encoder.{name}": value for name, value in BATCHED.items()}),
    "nemo-hybrid": ("hybrid-fastconformer", {"decoder_type": "ctc"}, BATCHED),
    "nemo-classifier": ("classification-matchboxnet", {}, BATCHED),
    "nemo-frame-classifier": ("vad-frames", {}, BATCHED),
    "nemo-speaker": ("speaker-titanet", {}, BATCHED),
    "nemo-fastpitch": ("tts-fastpitch", {}, {"max_batch_size": 8}),
    "nemo-hifigan": ("tts-hifigan-one-stage", {}, BATCHED),
}
"""By family: an archive, what is set before the export, and how it is served."""

VOICES = "fastpitch-multispeaker-random"
SIZES = ((1, 26), (1, 67), (2, 31), (3, 45), (4, 9), (5, 18), (7, 52), (8, 12))
"""Rows, and the length of every other axis that varies."""

UNBATCHED = {"decoder_joint-nemo-transducer": "its states begin with their layers", "nemo-fastpitch": "a longer row changes a row's end"}
"""What the server does not put together, and why."""

REQUESTS = 200
STREAMED = "ctc-streaming"


def model_of(folder, archive, chosen):
    model = golden.restored(folder, archive)
    model.set_export_config(chosen)
    return model


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
    """All of them in one repository; by the name on the server its module and its part of the export."""
    folder = tmp_path_factory.mktemp("speech")
    served, results = {}, {}
    models = {family: (model_of(folder, archive, chosen), options) for family, (archive, chosen, options) in SPEECH.items()}
    models["voices"] = (families["fastpitch"].load().from_pretrained(VOICES).eval(), BATCHED)
    for family, (model, options) in models.items():
        result = torchport.export(model, folder / f"{family}.onnx")
        result.package(folder / "repository", target="triton", options=options)
        results[family] = result
        for part in result.parts:
            name = family if part.name == "self" else f"{part.name}-{family}"
            served[name] = (model if part.name == "self" else model.get_export_subnet(part.name), part)
    model = model_of(folder, STREAMED, {"cache_support": True})
    result = torchport.export(model, folder / "stream.onnx")
    result.package(folder / "repository", target="triton", options={"sequences": 8, "max_batch_size": 4})
    return folder / "repository", served, model, results["nemo-fastpitch"]


@pytest.fixture(scope="module", params=["usual", "strict"])
def server(request, packaged, environment):
    options = ("--disable-auto-complete-config",) if request.param == "strict" else ()
    with TritonServer(packaged[0], environment=environment, options=options) as running:
        yield running


NAMES = sorted({*SPEECH, "voices"} - {"nemo-transducer"} | {f"{part}-nemo-transducer" for part in ("encoder", "decoder_joint")})


def test_every_family_of_built_in_models_is_served_here():
    assert set(families) == {*MODELS, *SPEECH}
    assert all(build(family) is not None for family in MODELS)


def test_a_voice_whose_rows_are_not_their_own_is_not_batched_with_strangers(packaged, tmp_path):
    result = packaged[3]
    assert result.proof.rows["spect"].startswith("depends on the other rows")
    with pytest.raises(PackageError, match="rows of a batch change each other"):
        result.package(tmp_path / "repository", target="triton", options=BATCHED)


def sizes_of(part, rows, length):
    return {symbol: rows if symbol == "batch" else length for symbol in part.artifact.signature.symbols}


def test_all_of_them_are_ready(server, packaged):
    assert {one.name: one.reason for one in server.client.models()} == dict.fromkeys([*packaged[1], "stream"], "")
    assert sorted(packaged[1]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_model_at_every_size(packaged, server, name):
    module, part = packaged[1][name]
    signature, tolerances = part.artifact.signature, part.goldens[0].tolerances
    config = server.client.config(name)
    with grpc.InferenceServerClient(server.grpc_address) as remote, GrpcClient(f"grpc://{server.grpc_address}") as ours:
        for seed, (rows, length) in enumerate(SIZES):
            inputs = inputs_for(signature, sizes_of(part, rows, length), seed)
            expected = eager(module, signature, inputs)
            given = sent(inputs, config)
            assert_same(expected, server.client.infer(name, given), tolerances)
            assert_same(expected, asked_by_grpc(remote, name, given, signature.outputs), tolerances)
            assert_same(expected, ours.ask(name, inputs), tolerances)


@pytest.mark.parametrize("name", NAMES)
def test_no_client_gets_anothers_answer(packaged, server, name):
    """200 requests of mixed lengths at once, put together by the server where the model's batch is its own."""
    module, part = packaged[1][name]
    signature, tolerances = part.artifact.signature, part.goldens[0].tolerances
    config = server.client.config(name)
    draw = random.Random(0)
    known = []
    for seed in range(40):  # each of them five times: what the model answers need not be worked out again
        rows, (_, length) = draw.choice((1, 1, 1, 2, 3)), draw.choice(SIZES)
        inputs = inputs_for(signature, sizes_of(part, rows, length), seed)
        known.append((sent(inputs, config), eager(module, signature, inputs)))
    requests = [draw.choice(known) for _ in range(REQUESTS)]
    before = server.client.statistics(name)
    with ThreadPoolExecutor(REQUESTS) as pool:
        answers = list(pool.map(lambda one: server.client.infer(name, one[0]), requests))
    for (_, expected), answer in zip(requests, answers, strict=True):
        assert_same(expected, answer, tolerances)
    after = counted(server.client, name, before["inference_stats"]["success"]["count"] + REQUESTS)
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == REQUESTS
    if "dynamic_batching" in config:
        assert after["execution_count"] - before["execution_count"] < REQUESTS, "nothing was put together, so this tried nothing"
    else:
        assert name in UNBATCHED


def test_the_server_keeps_the_caches_of_many_streams(packaged, server):
    """Chunk after chunk of eight streams at once, by HTTP and by gRPC, is what the model answers when its caches are handed on."""
    model = packaged[2]
    plan = model.encoder.chunks
    features = torch.randn(8, 16, plan.before + 5 * plan.shift + plan.chunk, generator=torch.Generator().manual_seed(0))

    def chunks(number):
        for step in range(5):
            yield features[number : number + 1, :, step * plan.shift :][:, :, : plan.frames].contiguous()

    def expected(number):
        caches = plan.first(1)
        for chunk in chunks(number):
            with torch.no_grad():
                logprobs, lengths, *after = model(chunk, torch.tensor([plan.frames]), **caches)
            caches = dict(zip(caches, after, strict=True))
            yield logprobs.numpy(), lengths.numpy()

    def streamed(client, number, identity):
        for place, chunk in enumerate(chunks(number)):
            parameters = {"sequence_id": identity, "sequence_start": place == 0, "sequence_end": place == 4}
            yield client.ask("stream", {"audio_signal": chunk.numpy(), "length": np.array([plan.frames])}, parameters=parameters)

    with GrpcClient(f"grpc://{server.grpc_address}") as remote, ThreadPoolExecutor(8) as pool:
        for first, client in ((100, server.client), (200, remote)):
            answers = list(pool.map(lambda number, client=client, first=first: list(streamed(client, number, first + number)), range(8)))
            for number, answer in enumerate(answers):
                for got, (logprobs, lengths) in zip(answer, expected(number), strict=True):
                    assert set(got) == {"logprobs", "encoded_lengths"}
                    np.testing.assert_allclose(got["logprobs"], logprobs, atol=1e-5)
                    np.testing.assert_array_equal(got["encoded_lengths"], lengths)
