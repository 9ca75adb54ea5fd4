"""The model is left as it was found, whatever becomes of the export."""

import pytest
import torch
from torch import nn

import torchport
from torchport import Exportable, _attempts, pipeline
from torchport.errors import CaptureError, EmitError, HookError, PrepareError, ProofError, ReferenceRunError
from torchport.prepare import state_digest


class Net(nn.Module, Exportable):
    """Everything that an export might leave changed: norms, dropout, weight norm, tied weights, hooks, modes, gradients."""

    input_types = {"x": "batch 4 time"}
    output_types = {"y": "batch time 8"}

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 8, 3, padding=1))
        self.norm = nn.BatchNorm1d(8)
        self.stack = nn.Sequential(nn.Conv1d(8, 8, 1), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.out, self.twin = nn.Linear(8, 8), nn.Linear(8, 8)
        self.twin.weight = self.out.weight
        self.out.bias.requires_grad_(False)
        self.stack.eval()
        self.first.register_forward_pre_hook(lambda module, args: None)
        self.prepared = []
        self.fail_in = None

    def forward(self, x):
        hidden = self.stack(self.norm(self.first(x))).transpose(1, 2)
        return self.twin(self.out(self.lstm(hidden)[0]))

    def forward_for_export(self, x):
        return self(x)

    def _prepare_for_export(self, **kwargs):
        self.prepared.append(1)
        self.extra = nn.Linear(2, 2)
        self.out.weight.data.mul_(1.0)
        torch.manual_seed(5)
        if self.fail_in:
            raise self.fail_in
        super()._prepare_for_export(**kwargs)


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = Net().train()
    model.stack.eval()
    model(torch.randn(2, 4, 9)).sum().backward()
    return model


def world():
    flags = (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.backends.mkldnn.enabled,
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    return torch.get_rng_state().tolist(), flags


def trains_on(model):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = model.twin.bias.detach().clone()
    model(torch.randn(2, 4, 9)).square().sum().backward()
    optimizer.step()
    return not torch.equal(before, model.twin.bias)


@pytest.mark.parametrize("name", ["m.onnx", "m.ts", "m.pt2"])
def test_after_an_export_that_works(net, tmp_path, name):
    if name == "m.pt2":  # torch.export fixes the time axis of an LSTM
        net.lstm, net.forward = nn.Identity(), lambda x: net.twin(net.out(net.stack(net.norm(net.first(x))).transpose(1, 2)))
    before, around = state_digest(net), world()
    net.export(tmp_path / name)
    assert state_digest(net) == before
    assert world() == around
    assert ("forward" in vars(net)) == (name == "m.pt2")
    assert trains_on(net)


STAGES = {
    "declare": ("declare", HookError("no")),
    "reference": ("reference_of", ReferenceRunError("no")),
    "hooks": ("run_prepare_hooks", HookError("no")),
    "prepare": ("swap_modules", PrepareError("no")),
    "capture": ("_attempt", CaptureError("no")),
    "emit": ("_metadata", EmitError("no")),
    "verify": ("prove", ProofError("no")),
}


@pytest.mark.parametrize("interrupt", [False, True], ids=["fails", "interrupted"])
@pytest.mark.parametrize("stage", STAGES)
def test_after_an_export_that_fails_in_a_stage(net, tmp_path, monkeypatch, stage, interrupt):
    name, error = STAGES[stage]
    error = KeyboardInterrupt() if interrupt else error
    room = pipeline if hasattr(pipeline, name) else _attempts
    real = getattr(room, name)

    def failing(*args, **kwargs):
        real(*args, **kwargs)
        raise error

    monkeypatch.setattr(room, name, failing)
    before, around = state_digest(net), world()
    with pytest.raises(type(error)):
        net.export(tmp_path / "m.onnx")
    assert state_digest(net) == before
    assert world() == around
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert trains_on(net)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_after_a_hook_of_the_model_fails(net, tmp_path, error):
    net.fail_in = error
    before = state_digest(net)
    with pytest.raises((HookError, KeyboardInterrupt)):
        net.export(tmp_path / "m.onnx")
    assert state_digest(net) == before


def test_the_digest_notices_what_the_contract_lists(net):
    seen = {state_digest(net)}
    changes = [
        lambda: net.twin.bias.data.add_(1),
        lambda: net.norm.running_mean.add_(1),
        lambda: net.out.bias.requires_grad_(True),
        lambda: net.stack.train(),
        lambda: net.register_forward_hook(lambda *a: None),
        lambda: setattr(net, "note", 1),
        lambda: setattr(net, "forward", lambda x: x),
        lambda: setattr(net, "out", nn.Linear(8, 8)),
        lambda: net.prepared.append(1),
    ]
    for change in changes:
        change()
        digest = state_digest(net)
        assert digest not in seen
        seen.add(digest)


def test_a_module_of_its_own_kind_at_the_root(tmp_path):
    conv, x = nn.Conv1d(3, 4, 3), torch.randn(2, 3, 9)
    before = state_digest(conv)
    result = torchport.export(conv, tmp_path / "m.onnx", input_example=x, input_types={"input": "batch 3 time"}, replace_1D_2D=True)
    assert result.proof.ok
    assert state_digest(conv) == before
