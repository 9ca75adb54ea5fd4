"""Every built-in model, in ONNX and TorchScript, equals itself in eager mode at sizes that nobody traced."""

from pathlib import Path

import numpy as np
import pytest
import torch

import torchport
from torchport._options import ExportOptions
from torchport._subject import declare
from torchport.models._zoo import families
from torchport.ports import make_inputs

NAMES = [name for family in families.values() if family.path.startswith("torchport.") for name in family.pretrained]
TIMES = (1, 3, 8, 20, 37, 64, 101, 150)
"""Sizes of a time axis; the traced one is none of the even ones."""


def combinations(signature):
    """Eight or more combinations with batches of 1, 2 and 5."""
    symbols = signature.symbols
    for place, time in enumerate(TIMES):
        sizes = {}
        for symbol, axis in symbols.items():
            size = (1, 2, 5)[place % 3] if symbol == "batch" else max(axis.min, time * axis.multiple_of) + (axis.min if axis.min > 1 else 0)
            sizes[symbol] = size if axis.max is None else min(size, axis.max)
        yield place, sizes


@pytest.mark.parametrize("extension", ["onnx", "ts"])
@pytest.mark.parametrize("name", NAMES)
def test_the_artifact_equals_the_untouched_model(name, extension, tmp_path):
    model = torchport.ModelPT.from_pretrained(name)
    result = model.export(tmp_path / f"m.{extension}")
    model.eval()
    subject = declare(model, ExportOptions(output=Path("m")))
    tried = 0
    with torchport.load(result.path) as run, torch.no_grad():
        for seed, sizes in combinations(result.signature):
            inputs = make_inputs(result.signature, sizes, seed=seed, example=subject.example)
            expected = subject.call(inputs)
            got = run({name: tensor.numpy() for name, tensor in inputs.items()})
            assert list(got) == list(expected)
            for output, tensor in expected.items():
                wanted = tensor.numpy()
                assert got[output].shape == wanted.shape, (output, sizes)
                assert got[output].dtype == wanted.dtype
                scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-12)
                assert float(np.abs(got[output] - wanted).max(initial=0.0)) <= 1e-5 * scale, (output, sizes)
            tried += 1
    assert tried >= 8


def test_every_family_names_a_pretrained_model():
    assert {"alexnet-random", "fastpitch-random", "speaker-encoder-en"} <= set(NAMES)
