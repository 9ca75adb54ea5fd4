"""Ensembles, state that the server keeps, warm-up, labels, instances: what torchport writes loads on the real server and answers right."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import tritonclient.grpc as grpc

import torchport

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")

STRICT = "--disable-auto-complete-config"
TOLERANCE = 1e-5


class Front(torch.nn.Module):
    """A waveform becomes features, as a graph before the model."""

    input_types = {"audio": ("batch samples", "float32"), "audio_length": ("batch", "int64")}
    output_types = {"mel": ("batch 4 time", "float32"), "mel_length": ("batch", "int64")}

    def __init__(self):
        super().__init__()
        self.bank = torch.nn.Conv1d(1, 4, 5, padding=2)

    def forward(self, audio, audio_length):
        inside = torch.arange(audio.shape[1])[None] < audio_length[:, None]
        return self.bank((audio * inside)[:, None]).relu(), audio_length.clone()


class Middle(torch.nn.Module):
    input_types = {"mel": ("batch 4 time", "float32"), "mel_length": ("batch", "int64")}
    output_types = {"logits": ("batch 3", "float32")}

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 3)

    def forward(self, mel, mel_length):
        inside = torch.arange(mel.shape[2])[None] < mel_length[:, None]
        return self.head((mel * inside[:, None]).sum(2) / mel_length[:, None])


class After(torch.nn.Module):
    input_types = {"logits": ("batch 3", "float32")}
    output_types = {"scores": ("batch 3", "float32"), "best": ("batch", "int64")}

    def forward(self, logits):
        return logits.softmax(1), logits.argmax(1)

    def export_metadata(self):
        return {"labels": ["yes", "no", "maybe"], "ports": {"scores": "scores"}}


class Whole(torch.nn.Module, torchport.Exportable):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.front, self.middle, self.after = Front(), Middle(), After()

    def list_export_subnets(self):
        return ["front", "middle", "after"]

    def forward(self, audio, audio_length):
        return self.after(self.middle(*self.front(audio, audio_length)))


def audio(batch, samples, seed):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, samples + 1, batch)
    lengths[0] = samples
    return draw.standard_normal((batch, samples), np.float32), lengths


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_subnets_answer_as_one_ensemble(tmp_path, serve, suffix):
    model = Whole().eval()
    result = model.export(tmp_path / f"m.{suffix}")
    options = {"max_batch_size": 8, "dynamic_batching": True, "instances": 2}
    packaged = result.package(tmp_path / "batched", target="triton", options=options)
    assert packaged.directory == tmp_path / "batched"
    result.package(tmp_path / "plain", target="triton", options={"name": "whole"})
    server = serve(tmp_path / "batched", STRICT, f"--model-repository={tmp_path / 'plain'}")
    assert {one.name: one.reason for one in server.client.models()} == dict.fromkeys(
        ["front-m", "middle-m", "after-m", "m", "front-whole", "middle-whole", "after-whole", "whole"], ""
    )

    def ask(seed):
        array, lengths = audio(1 + seed % 4, 5 + seed, seed)
        with torch.no_grad():
            scores, best = model(torch.from_numpy(array), torch.from_numpy(lengths))
        for name, given in (("m", lengths[:, None]), ("whole", lengths)):
            answer = server.client.infer(name, {"audio": array, "audio_length": given})
            assert set(answer) == {"scores", "best"}
            np.testing.assert_allclose(answer["scores"], scores, atol=TOLERANCE)
            np.testing.assert_array_equal(answer["best"].reshape(-1), best)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(16)))
    remote = grpc.InferenceServerClient(server.grpc_address)
    tensors = [grpc.InferInput("audio", [1, 9], "FP32"), grpc.InferInput("audio_length", [1, 1], "INT64")]
    array, lengths = audio(1, 9, 0)
    tensors[0].set_data_from_numpy(array)
    tensors[1].set_data_from_numpy(lengths[:, None])
    named = remote.infer("after-m", [_logits(model, array, lengths)], outputs=[grpc.InferRequestedOutput("scores", class_count=1)])
    best = int(model(torch.from_numpy(array), torch.from_numpy(lengths))[1])
    assert named.as_numpy("scores")[0, 0].decode().endswith(f":{best}:{['yes', 'no', 'maybe'][best]}")
    remote.close()


def _logits(model, array, lengths):
    with torch.no_grad():
        logits = model.middle(*model.front(torch.from_numpy(array), torch.from_numpy(lengths))).numpy()
    tensor = grpc.InferInput("logits", list(logits.shape), "FP32")
    tensor.set_data_from_numpy(logits)
    return tensor


class Streaming(torch.nn.Module):
    """A running sum, and the last frame that was seen."""

    input_types = {"chunk": ("batch 3 time", "float32"), "total": ("batch 3", "float32"), "last": ("batch 3 1", "float32")}
    output_types = {"scores": ("batch 3 time", "float32"), "next_total": ("batch 3", "float32"), "next_last": ("batch 3 1", "float32")}

    def forward(self, chunk, total, last):
        seen = chunk.cumsum(2) + total[:, :, None]
        return seen - torch.cat([last, chunk[:, :, :-1]], 2), seen[:, :, -1], chunk[:, :, -1:]

    def export_metadata(self):
        shapes = {"total": ["batch", 3], "last": ["batch", 3, 1]}
        return {
            "states": [
                {"input": name, "output": f"next_{name}", "shape": shape, "dtype": "float32", "fill": 0} for name, shape in shapes.items()
            ]
        }


@pytest.mark.parametrize(("suffix", "names"), [("onnx", "ports"), ("ts", "index")])
def test_the_server_keeps_the_state_of_each_sequence(tmp_path, serve, suffix, names):
    result = torchport.export(Streaming(), tmp_path / f"m.{suffix}")
    for name, most in (("alone", 0), ("together", 4)):
        options = {"name": name, "max_batch_size": most, "sequences": 8, "names": names}
        result.package(tmp_path / "repository", target="triton", options=options)
    server = serve(tmp_path / "repository", STRICT)
    assert {one.name: one.reason for one in server.client.models()} == {"alone": "", "together": ""}
    called = {"chunk": "chunk__0", "scores": "scores__0"} if names == "index" else {"chunk": "chunk", "scores": "scores"}
    whole = np.random.default_rng(0).standard_normal((6, 1, 3, 24), np.float32)

    def stream(model, number):
        chunks = np.split(whole[number], np.cumsum([5, 1, 7, 4])[: 2 + number % 3], axis=2)
        found = []
        for place, chunk in enumerate(chunks):
            parameters = {"sequence_id": 100 + number, "sequence_start": place == 0, "sequence_end": place == len(chunks) - 1}
            found.append(server.client.infer(model, {called["chunk"]: chunk}, parameters=parameters)[called["scores"]])
        return np.concatenate(found, 2)

    def stream_by_grpc(model, number):
        found = []
        with grpc.InferenceServerClient(server.grpc_address) as remote:
            for place in range(3):
                chunk = grpc.InferInput(called["chunk"], [1, 3, 8], "FP32")
                chunk.set_data_from_numpy(np.ascontiguousarray(whole[number][:, :, 8 * place : 8 * place + 8]))
                sequence = {"sequence_id": 200 + number, "sequence_start": place == 0, "sequence_end": place == 2}
                found.append(remote.infer(model, [chunk], **sequence).as_numpy(called["scores"]))
        return np.concatenate(found, 2)

    zeros = torch.zeros(1, 3), torch.zeros(1, 3, 1)
    for model in ("alone", "together"):
        for _ in range(2):  # a second time: what the first left is gone
            with ThreadPoolExecutor(6) as pool:
                answers = list(pool.map(lambda number, model=model: stream(model, number), range(6)))
            for number, answer in enumerate(answers):
                expected, *_ = Streaming()(torch.from_numpy(whole[number]), *zeros)
                np.testing.assert_allclose(answer, expected, atol=TOLERANCE)
        expected, *_ = Streaming()(torch.from_numpy(whole[0]), *zeros)
        np.testing.assert_allclose(stream_by_grpc(model, 0), expected, atol=TOLERANCE)


def test_what_torchport_writes_loads_in_every_variety(tmp_path, serve):
    result = torchport.export(Middle(), tmp_path / "m.onnx")
    varieties = {
        "usual": {},
        "delayed": {"max_batch_size": 4, "dynamic_batching": True, "queue_delay": 500},
        "measured": {"max_batch_size": "auto"},
        "instances": {"instances": 3, "kind": "cpu"},
        "all": {"versions": "all"},
        "two": {"versions": 2},
        "cold": {"warmup": False, "goldens": False},
    }
    for name, options in varieties.items():
        for _ in range(3 if name in ("all", "two") else 1):
            result.package(tmp_path / "repository", target="triton", options={"name": name, **options}, metadata={"license": "MIT"})
    server = serve(tmp_path / "repository", STRICT, "--log-verbose=1")
    ready = {(one.name, one.version) for one in server.client.models() if one.ready}
    expected = {(name, "1") for name in varieties if name != "two"} | {("all", "2"), ("all", "3"), ("two", "2"), ("two", "3")}
    assert ready == expected
    assert server.client.config("usual")["parameters"]["license"] == {"string_value": "MIT"}
    assert "model 'usual' instance usual_0 is running warmup sample 'traced'" in server.log
    assert "model 'cold' instance cold_0 is running warmup" not in server.log
