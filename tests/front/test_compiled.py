"""A model that torch.compile made, or that holds compiled parts, is exported as what it was made from, quietly."""

import numpy as np
import pytest
import torch
from torch import nn

import torchport
from torchport.prepare import eager_original, state_digest


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.nothing = inner, None
        self.register_module("empty", None)

    def forward(self, x):
        return self.inner(x) + 1


def compiled_in_place():
    model = nn.Linear(4, 3)
    model.compile(backend="eager")
    return model


MODELS = {
    "whole": lambda: torch.compile(nn.Linear(4, 3), backend="eager"),
    "part": lambda: Around(torch.compile(nn.Linear(4, 3), backend="eager")),
    "in place": compiled_in_place,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_a_compiled_model_is_captured_like_its_original_and_left_compiled(tmp_path, capfd, name, suffix):
    model = MODELS[name]()
    before = state_digest(model)
    types = {"x" if name == "part" else "input": ("batch 4", "float32")}
    result = torchport.export(model, tmp_path / f"m.{suffix}", input_types=types)
    assert result.strategy == "trace"
    assert state_digest(model) == before
    assert torchport.verify(result.path, model, input_types=types).ok
    assert capfd.readouterr() == ("", "")
    x = torch.randn(2, 4)
    with torchport.load(result.path) as run:
        (answer,) = run(dict.fromkeys(types, x)).values()
    np.testing.assert_allclose(answer, model(x).detach(), rtol=1e-5, atol=1e-6)


def test_a_wrapper_with_hooks_of_its_own_stays_the_model():
    model = torch.compile(nn.Linear(4, 3), backend="eager")
    assert type(eager_original(model)) is nn.Linear
    model.register_forward_hook(lambda module, args, output: output + 1)
    assert eager_original(model) is model
