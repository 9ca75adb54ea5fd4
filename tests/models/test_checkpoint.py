"""Checkpoints of training code: the state dict is found behind keys and prefixes, exactly or not at all."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchport.errors import ArchiveError
from torchport.models._checkpoint import _fits, state_for


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.words.weight


NET = Net()
STATE = NET.state_dict()
OTHER = Net().state_dict()


def prefixed(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


def inside(state):
    """As `torch.compile` of a submodule names it."""
    return {name.replace("encoder.", "encoder._orig_mod."): value for name, value in state.items()}


@pytest.mark.parametrize(
    ("loaded", "done"),
    [
        (STATE, ""),
        ({**STATE, "epoch": 3}, "left out epoch"),
        ({"model_state_dict": STATE, "epoch": 3}, "took 'model_state_dict'"),
        ({"state_dict": prefixed("model."), "hyper_parameters": {"lr": 0.1}}, "took 'state_dict', took the prefix 'model.' off the names"),
        (prefixed("module."), "took the prefix 'module.' off the names"),
        (prefixed("_orig_mod."), "took the prefix '_orig_mod.' off the names"),
        (prefixed("module._orig_mod."), "took the prefix 'module._orig_mod.' off the names"),
        (inside(STATE), "took the names of wrappers"),
        ({"ema": {"shadow": STATE}, "step": torch.tensor(3)}, "took 'ema.shadow'"),
        ({**prefixed("module."), "n_averaged": torch.tensor(7)}, "left out n_averaged"),
        ({"state_dict": {**prefixed("net."), "loss.weight": torch.ones(2)}}, "left out loss.weight"),
        ({"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1}]}}, "took 'model'"),
        ({"model": STATE, "ema": {name: value.clone() for name, value in STATE.items()}}, "took 'model'"),
    ],
)
def test_the_state_dict_is_found(loaded, done):
    state, said = state_for(NET, loaded, where="c.pt")
    assert state.keys() == STATE.keys()
    assert all(state[name] is STATE[name] for name in STATE)
    assert done in said
    assert bool(done) == bool(said)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("ab", min_size=1, max_size=2), max_size=3), st.lists(st.sampled_from(["model", "ema", "x"]), max_size=2))
def test_any_one_prefix_below_any_key_comes_off(prefix, keys):
    loaded = prefixed("".join(f"{part}." for part in prefix))
    for key in keys:
        loaded = {key: loaded}
    assert state_for(NET, loaded, where="c.pt")[0] == STATE


def test_a_tied_tensor_may_be_there_once():
    tied = Tied()
    loaded = {"module.words.weight": tied.words.weight.detach()}
    state, _ = state_for(tied, loaded, where="c.safetensors")
    assert state["head.weight"] is state["words.weight"]


def test_several_that_fit_are_told_apart_by_name():
    loaded = {"model": STATE, "ema": OTHER}
    with pytest.raises(ArchiveError, match="several state dicts that fit") as caught:
        state_for(NET, loaded, where="c.pt")
    assert caught.value.hint == "weights_key='model' or weights_key='ema'"
    assert state_for(NET, loaded, where="c.pt", key="ema")[0] == OTHER
    with pytest.raises(ArchiveError, match="expected: model or ema"):
        state_for(NET, loaded, where="c.pt", key="emma")


def test_two_prefixes_that_fit_are_told_apart_too():
    loaded = {"state_dict": {**prefixed("generator."), **prefixed("critic.", OTHER)}}
    with pytest.raises(ArchiveError, match=r"weights_key='state_dict\.generator'"):
        state_for(NET, loaded, where="c.pt")
    for key in ("critic", "critic.", "state_dict.critic"):
        assert state_for(NET, loaded, where="c.pt", key=key)[0] == OTHER


def test_shapes_choose_where_names_do_not():
    wide = {name: torch.ones(9, *value.shape[1:]) if value.dim() else value for name, value in STATE.items()}
    assert state_for(NET, {"teacher": wide, "student": STATE}, where="c.pt")[1] == "took 'student'"
    assert state_for(NET, {"teacher": wide}, where="c.pt")[0] == wide, "the loader says which shapes differ"


def test_what_does_not_fit_is_shown_with_the_nearest():
    loaded = {"model": {**prefixed("module."), "module.more": torch.ones(1)}, "other": {"a": torch.ones(1)}}
    loaded["model"]["module.encoder.kernel"] = loaded["model"].pop("module.encoder.weight")
    with pytest.raises(ArchiveError, match="do not fit the model") as caught:
        state_for(NET, loaded, where="c.pt")
    told = str(caught.value)
    for part in ("nearest, below 'model' and the prefix 'module.'", "missing: encoder.weight", "unexpected: more", "other (1 entry: a)"):
        assert part in told
    with pytest.raises(ArchiveError, match="no tensors by name"):
        state_for(NET, {"epoch": 3, "nested": {"a": 1}}, where="c.pt")


@pytest.mark.parametrize("turned", [False, True])
def test_two_names_that_a_wrappers_part_tells_apart_are_never_one(turned):
    """Whichever stands first in the file: neither is taken by guess."""
    linear = torch.nn.Linear(2, 2)
    plain = {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}
    wrapped = {"_orig_mod.weight": torch.ones(2, 2), "_orig_mod.bias": torch.ones(2)}
    with pytest.raises(ArchiveError, match="with different values"):
        state_for(linear, wrapped | plain if turned else plain | wrapped, where="c.pt")
    for key, expected in (("_orig_mod", wrapped["_orig_mod.bias"]), ("", plain["bias"])):
        taken, _ = state_for(linear, plain | wrapped, where="c.pt", key=key)
        assert taken["bias"] is expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_copies_are_equal_where_a_value_is_no_number(dtype):
    state = {name: value.to(dtype) for name, value in torch.nn.Linear(2, 2).state_dict().items()}
    state["bias"][0] = float("nan")
    copied = {name: value.clone() for name, value in state.items()}
    linear = torch.nn.Linear(2, 2, dtype=dtype)
    taken, said = state_for(linear, {"model": state, "ema": copied}, where="c.pt")
    assert taken["bias"] is state["bias"]
    assert said == "took 'model'"
    copied["bias"][1] += 1
    with pytest.raises(ArchiveError, match="with different values"):
        state_for(linear, {"model": state, "ema": copied}, where="c.pt")


class Name(str):
    """Counts how often names are looked up or compared."""

    __slots__ = ()
    asked = 0

    def __hash__(self):
        Name.asked += 1
        return super().__hash__()

    def __eq__(self, other):
        return super().__eq__(other)

    def startswith(self, *args):
        Name.asked += 1
        return super().startswith(*args)


@pytest.mark.parametrize("fits", [False, True])
def test_the_work_grows_with_the_names_and_not_with_their_square(fits):
    """A file of another model has as many prefixes as layers, and a file of this one as many names as the model."""
    found = []
    for layers in (10, 80):
        state = {Name(f"layers.{number}.weight"): torch.zeros(1) for number in range(layers)}
        own = dict.fromkeys(map(str, state), torch.zeros(0)) if fits else torch.nn.Linear(2, 2).state_dict()
        Name.asked = 0
        assert len(list(_fits("", state, own))) == fits
        found.append(Name.asked / layers)
    assert found[1] <= found[0]
