"""The built-in models, inputs at many sizes for them, and what the untouched model answers."""

import time

import numpy as np
import torch
import tritonclient.grpc as grpc

from torchport._comparison import compare
from torchport.models._zoo import families
from torchport.ports import make_inputs

MODELS = {"alexnet": "alexnet-small-random", "fastpitch": "fastpitch-random", "speaker-encoder": "speaker-encoder-random"}
SIZES = {
    "alexnet": [{"batch": batch} for batch in (1, 2, 3, 4, 5, 6, 7, 8)],
    "fastpitch": [
        {"batch": batch, "tokens": tokens} for batch, tokens in ((1, 1), (1, 40), (2, 7), (3, 23), (4, 64), (5, 11), (7, 3), (8, 17))
    ],
    "speaker-encoder": [
        {"batch": batch, "waveform_time": time}
        for batch, time in ((1, 800), (1, 16001), (2, 4321), (3, 9000), (4, 2500), (5, 7777), (7, 1600), (8, 12000))
    ],
}
"""Eight shapes and batch sizes of each."""

PADDED = {"spect": "num_frames"}
"""Outputs whose last axis is as long as the longest row of the batch that was answered together, and the output that counts each row."""


def build(family):
    """An untouched model with random weights."""
    return families[family].load().from_pretrained(MODELS[family]).eval()


def inputs_for(signature, sizes, seed):
    """Arrays by input name."""
    return {name: tensor.numpy() for name, tensor in make_inputs(signature, sizes, seed=seed).items()}


def eager(model, signature, inputs):
    """The untouched model's answers, by output name."""
    call = getattr(model, "forward_for_export", model)
    with torch.no_grad():
        returned = call(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    values = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    return dict(zip(signature.outputs, (value.numpy() for value in values), strict=True))


def sent(inputs, config):
    """What a client sends: where the server counts the batch, one number a row is an axis of its own."""
    ranks = {port["name"]: len(port["dims"]) + (config["max_batch_size"] > 0) for port in config["input"]}
    return {name: array.reshape(*array.shape, *[1] * (ranks[name] - array.ndim)) for name, array in inputs.items()}


def assert_same(expected, answer, tolerances):
    """Every output is there, and equal; padding that a stranger's longer row brought is left out."""
    assert set(answer) == set(expected)
    for name, want in expected.items():
        got = answer[name]
        if got.ndim == want.ndim + 1:
            assert got.shape[-1] == 1
            got = got[..., 0]
        if name in PADDED:
            assert got.shape[-1] >= want.shape[-1]
            got = got[..., : want.shape[-1]]
        difference = compare(want, np.asarray(got), tolerances[name])
        assert difference.kind is None, f"{name}: {difference}"


def asked_by_grpc(remote, model, inputs, outputs):
    """What Triton's own client of gRPC gets."""
    tensors = []
    for name, array in inputs.items():
        kind = {"float32": "FP32", "int64": "INT64", "int32": "INT32"}[array.dtype.name]
        tensors.append(grpc.InferInput(name, list(array.shape), kind))
        tensors[-1].set_data_from_numpy(array)
    answer = remote.infer(model, tensors)
    return {name: answer.as_numpy(name) for name in outputs}


def counted(client, name, wanted):
    """The statistics of a model; the server counts a request a moment after it has sent the answer."""
    ends = time.monotonic() + 30
    while True:
        found = client.statistics(name)
        if found["inference_stats"]["success"]["count"] >= wanted or time.monotonic() > ends:
            return found
        time.sleep(0.05)
