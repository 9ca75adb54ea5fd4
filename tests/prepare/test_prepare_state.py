from __future__ import annotations

import contextlib
import gc
import os
import random
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from torchport.errors import PrepareError
from torchport.prepare import as_found_again, kept_as_found, state_digest, watched

BIG = 400  # a square weight of this size is above what is copied at once


class Slotted:
    """A settings object without an instance dictionary."""

    __slots__ = ("__hidden", "empty", "names", "scale")

    def __init__(self) -> None:
        self.scale, self.names, self.__hidden = 1.0, ["a"], 3

    def hide(self) -> None:
        self.__hidden = 4


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.big = nn.Linear(BIG, BIG)
        self.tied = nn.Linear(BIG, BIG, bias=False)
        self.tied.weight = self.big.weight
        self.norm = nn.BatchNorm1d(BIG)
        self.conv = parametrizations.weight_norm(nn.Conv1d(2, 3, 3))
        self.layers = nn.ModuleList([nn.Dropout(0.5), nn.Identity()])
        self.register_buffer("table", torch.arange(6.0))
        self.config = SimpleNamespace(use_cache=True, sizes=[1, 2, {"deep": {3}}])
        self.vocabulary = {"a": 1, "b": [2]}
        self.loose = torch.ones(3)
        self.counts = np.zeros((2, 3))
        self.raw = bytearray(b"abc")
        self.slotted = Slotted()
        self.nested = [[[[[[[[{"deepest": [1]}]]]]]]]]
        self.objects = np.array([{"of": [1]}, None], dtype=object)
        self.locked = np.array([[1], None], dtype=object)
        self.locked.flags.writeable = False
        self.chance = torch.Generator().manual_seed(1)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.big.register_forward_hook(lambda module, args, out: out)
        self.big.weight.grad = torch.full((BIG, BIG), 2.0)

    def forward(self, x):
        return self.norm(self.big(x)) + self.tied(x)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("TORCH_SET_BEFORE", "value")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model()


def forget(module, name):
    delattr(module, name)


CHANGES = {
    "eval mode": lambda m: m.eval(),
    "one mode": lambda m: m.layers[0].eval(),
    "half precision": lambda m: m.half(),
    "double precision": lambda m: m.double(),
    "swapped module": lambda m: setattr(m, "norm", nn.Identity()),
    "swapped in a list": lambda m: m.layers.__setitem__(0, nn.Identity()),
    "appended module": lambda m: m.layers.append(nn.ReLU()),
    "removed module": lambda m: forget(m, "norm"),
    "removed parameter": lambda m: forget(m.big, "bias"),
    "new parameter": lambda m: setattr(m.big, "weight", nn.Parameter(torch.zeros(1))),
    "untied weight": lambda m: setattr(m.tied, "weight", nn.Parameter(m.big.weight.detach().clone())),
    "small value in place": lambda m: m.big.bias.data.mul_(2),
    "buffer in place": lambda m: m.table.add_(1),
    "running statistics": lambda m: m.train()(torch.randn(4, BIG)),
    "new buffer": lambda m: m.register_buffer("more", torch.ones(1)),
    "buffer gone": lambda m: forget(m, "table"),
    "not persistent": lambda m: m.register_buffer("table", torch.ones(1), persistent=False),
    "loose tensor in place": lambda m: m.loose.zero_(),
    "array in place": lambda m: m.counts.__setitem__((1, 2), 5),
    "slot": lambda m: setattr(m.slotted, "scale", 2.0),
    "private slot": lambda m: m.slotted.hide(),
    "slot filled": lambda m: setattr(m.slotted, "empty", 1),
    "slot emptied": lambda m: delattr(m.slotted, "scale"),
    "list in a slot": lambda m: m.slotted.names.append("b"),
    "deep in containers": lambda m: m.nested[0][0][0][0][0][0][0][0]["deepest"].append(2),
    "object of an array": lambda m: m.objects.__setitem__(1, 5),
    "in an object of an array": lambda m: m.objects[0]["of"].append(2),
    "in an object of a locked array": lambda m: m.locked[0].append(2),
    "environment set": lambda m: os.environ.__setitem__("TORCHINDUCTOR_CACHE_DIR", "/nowhere"),
    "environment changed": lambda m: os.environ.__setitem__("TORCH_SET_BEFORE", "other"),
    "environment gone": lambda m: os.environ.__delitem__("TORCH_SET_BEFORE"),
    "bytes in place": lambda m: m.raw.extend(b"d"),
    "requires_grad": lambda m: m.requires_grad_(False),
    "requires_grad on": lambda m: m.frozen.requires_grad_(True),
    "grad gone": lambda m: m.zero_grad(),
    "new grad": lambda m: setattr(m.big.bias, "grad", torch.ones(BIG)),
    "new attribute": lambda m: setattr(m, "extra", 1),
    "other attribute": lambda m: setattr(m, "vocabulary", {}),
    "attribute of a config": lambda m: setattr(m.config, "use_cache", False),
    "deep in a config": lambda m: m.config.sizes[2]["deep"].add(4),
    "list in place": lambda m: m.vocabulary["b"].append(3),
    "dict order": lambda m: m.vocabulary.update(a=m.vocabulary.pop("a")),
    "bound forward": lambda m: setattr(m, "forward", lambda x: x),
    "forward hook": lambda m: m.register_forward_hook(lambda *_: None),
    "hooks gone": lambda m: m.big._forward_hooks.clear(),
    "tensor hook": lambda m: m.big.weight.register_hook(lambda grad: grad),
    "attribute of a parameter": lambda m: setattr(m.big.weight, "sequence_parallel", True),
    "parametrization off": lambda m: parametrize.remove_parametrizations(m.conv, "weight"),
    "parametrization on": lambda m: parametrizations.orthogonal(m.tied),
    "another class": lambda m: setattr(m.layers[1], "__class__", nn.ReLU),
    "torch randomness": lambda m: torch.rand(3),
    "numpy randomness": lambda m: np.random.rand(3),
    "python randomness": lambda m: random.random(),
    "own generator": lambda m: torch.rand(3, generator=m.chance),
    "default dtype": lambda m: torch.set_default_dtype(torch.float64),
    "default device": lambda m: torch.set_default_device("meta"),
    "grad mode": lambda m: torch.set_grad_enabled(False),
    "threads": lambda m: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic": lambda m: torch.use_deterministic_algorithms(True, warn_only=True),
    "anomaly": lambda m: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "cudnn": lambda m: setattr(torch.backends.cudnn, "benchmark", True),
    "mkldnn": lambda m: setattr(torch.backends.mkldnn, "deterministic", True),
    "matmul precision": lambda m: torch.set_float32_matmul_precision("high"),
    "autocast": lambda m: torch.set_autocast_enabled("cpu", True),
    "attention kernels": lambda m: torch.backends.cuda.enable_math_sdp(False),
    "fast path": lambda m: torch.backends.mha.set_fastpath_enabled(False),
    "jit fuser": lambda m: torch._C._jit_override_can_fuse_on_cpu(not torch._C._jit_can_fuse_on_cpu()),
    "garbage collector": lambda m: gc.disable(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_every_change_is_seen_by_the_digest_and_undone(model, change):
    before = state_digest(model)
    with kept_as_found(model):
        with watched():
            change(model)
        assert state_digest(model) != before
    assert state_digest(model) == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from([name for name in CHANGES if name not in {"anomaly", "default device"}]), max_size=8, unique=True))
def test_any_sequence_of_changes_is_undone(names):
    model = Model()
    before = state_digest(model)
    with kept_as_found(model), watched():
        for name in names:
            with contextlib.suppress(Exception):  # a change may need what an earlier one took away
                CHANGES[name](model)
    assert state_digest(model) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failing_body_leaves_the_model_as_found(model, error):
    before = state_digest(model)

    def fail():
        with kept_as_found(model):
            model.eval().half()
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert state_digest(model) == before


def test_a_second_interruption_does_not_stop_the_restoring(model):
    before = state_digest(model)

    class Stubborn(dict):
        interrupted = False

        def clear(self):
            if not Stubborn.interrupted:
                Stubborn.interrupted = True
                raise KeyboardInterrupt
            super().clear()

    model.stubborn = Stubborn(a=1)
    before = state_digest(model)

    def interrupt():
        with kept_as_found(model):
            model.stubborn["b"] = 2
            model.eval()

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert Stubborn.interrupted
    assert state_digest(model) == before


def test_an_object_that_cannot_be_put_back_does_not_keep_the_others(model):
    class Broken(list):
        def clear(self):
            raise RuntimeError("no")

    model.broken = Broken([1])

    def change():
        with kept_as_found(model):
            model.broken.append(2)
            model.eval()

    with pytest.raises(PrepareError, match="RuntimeError: no"):
        change()
    assert model.training


def test_a_problem_while_restoring_is_a_note_on_the_first_error(model):
    def change():
        with kept_as_found(model), torch.no_grad():
            model.big.weight.mul_(2)
            raise ValueError("first")

    with pytest.raises(ValueError, match="first") as caught:
        change()
    assert "could not be put back" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "write",
    [
        lambda weight: weight.data.mul_(2),
        lambda weight: weight.detach().view(-1)[:5].zero_(),
        lambda weight: weight.data.numpy().fill(3.0),
        lambda weight: torch.add(weight.data, 1, out=weight.data),
        lambda weight: weight.data.copy_(torch.zeros(BIG, BIG)),
        lambda weight: torch._foreach_mul_([weight.data], 2.0),
        lambda weight: weight.grad.zero_(),
    ],
    ids=["data", "view", "numpy", "out", "copy", "foreach", "grad"],
)
def test_a_write_into_a_large_weight_is_undone_where_it_is_watched(model, write):
    before = state_digest(model)
    with kept_as_found(model):
        with watched():
            write(model.big.weight)
        assert state_digest(model) != before
    assert state_digest(model) == before


def test_a_large_weight_is_not_copied_while_nobody_writes(model):
    with kept_as_found(model) as keeper:
        with watched():
            model.eval()(torch.randn(2, BIG))
            model.big.weight.data.numpy()
        assert not any(kept.saved is not None and kept.tensor is model.big.weight for kept in keeper.vault._kept)


def test_a_write_that_nobody_watched_is_reported_not_hidden(model):
    def write():
        with kept_as_found(model), torch.no_grad():
            model.big.weight.mul_(2)

    with pytest.raises(PrepareError, match="could not be put back wholly") as caught:
        write()
    assert "(400, 400)" in str(caught.value)


def test_an_embedding_that_renormalises_in_forward_is_put_back():
    model = nn.Embedding(300, BIG, max_norm=1.0)
    before = state_digest(model)
    with kept_as_found(model), watched():
        model(torch.arange(9))
        assert state_digest(model) != before
    assert state_digest(model) == before


def test_watching_outside_of_an_export_does_nothing(model):
    with watched():
        model.big.weight.data.mul_(2)


def test_keeping_nests(model):
    before = state_digest(model)
    with kept_as_found(model):
        model.eval()
        inner = state_digest(model)
        with kept_as_found(model.norm), watched():
            model.norm.train()
            model.big.weight.data.zero_()
        assert not model.norm.training
        assert state_digest(model) != inner, "the inner one keeps its own module only"
    assert state_digest(model) == before


def test_a_prepared_model_is_the_untouched_one_again_for_a_while(model):
    before = state_digest(model)
    with kept_as_found(model):
        with watched():
            model.eval()
            model.big.weight.data.mul_(2)
            model.frozen.data.add_(1)
            model.norm = nn.Identity()
            model.forward = lambda x: x
        prepared = state_digest(model)
        with as_found_again(model):
            assert state_digest(model) == before
            model.big.weight.data.zero_()
        assert state_digest(model) == prepared
    assert state_digest(model) == before


def test_outside_of_an_export_a_model_is_looked_at_as_it_is(model):
    before = state_digest(model)
    with as_found_again(model):
        assert state_digest(model) == before
        model.eval()
    assert state_digest(model) == before


def test_a_model_that_cannot_be_put_back_is_not_looked_at(model):
    def look():
        with kept_as_found(model):
            with torch.no_grad():
                model.big.weight.mul_(2)
            with as_found_again(model):
                raise AssertionError("it is another model")

    with pytest.raises(PrepareError, match="cannot be looked at"):
        look()


def test_script_modules_are_put_back():
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        scripted = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.Dropout()))
    model = nn.Sequential(scripted, nn.ReLU())
    before = state_digest(model)
    with kept_as_found(model):
        model.eval()
        scripted[0].weight.data.zero_()
        assert state_digest(model) != before
    assert state_digest(model) == before
    assert scripted[1].training


def test_training_goes_on_afterwards(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with kept_as_found(model):
        model.eval().half()
        parametrize.remove_parametrizations(model.conv, "weight")
    before = model.big.weight.detach().clone()
    optimizer.zero_grad()
    (model(torch.randn(4, BIG)).sum() + model.conv(torch.randn(1, 2, 5)).sum()).backward()
    optimizer.step()
    assert not torch.equal(model.big.weight, before)
    assert model.tied.weight is model.big.weight


def test_two_threads_keep_two_instances_of_one_class():
    models = [Model(), Model()]
    before = [state_digest(model) for model in models]
    failures = []
    barrier = threading.Barrier(2)

    def work(model):
        try:
            with kept_as_found(model):
                barrier.wait(10)
                model.eval().half()
                model.forward = lambda x: x
                barrier.wait(10)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [state_digest(model) for model in models] == before
    assert "forward" not in vars(models[0])


def test_other_variables_of_the_environment_are_no_business_of_an_export(model, monkeypatch):
    monkeypatch.setenv("SOMEBODY_ELSES", "1")
    with kept_as_found(model):
        os.environ["SOMEBODY_ELSES"] = "2"
    assert os.environ["SOMEBODY_ELSES"] == "2"


def test_tuples_that_hold_each_other_many_times_are_walked_once(model):
    ends: list[str] = []
    shared = (ends,)
    for _ in range(64):
        shared = (shared, shared)
    model.shared = shared
    with kept_as_found(model):
        ends.append("new")
    assert ends == []


def test_a_keeper_within_another_takes_over_the_copies_that_are_right_still(model):
    before = state_digest(model)
    with kept_as_found(model) as outer:
        with torch.no_grad():
            model.frozen.add_(1)
        changed = state_digest(model)
        with kept_as_found(model) as inner, torch.no_grad():
            same = [inner.vault.copy_of(one) is outer.vault.copy_of(one) for one in (model.norm.weight, model.frozen)]
            model.norm.weight.add_(1)
            model.frozen.add_(1)
        assert same == [True, False]
        assert state_digest(model) == changed
    assert state_digest(model) == before
