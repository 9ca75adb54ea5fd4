from __future__ import annotations

import prepare_fakes as fakes
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from torchport.errors import SwapError
from torchport.prepare import Replacement, kept_as_found, replace_for_export, replacements, state_digest, swap_modules


@pytest.fixture
def extra():
    """Registers replacements for one test."""
    added = []

    def add(one):
        replacements.add(one.name, one)
        added.append(one.name)

    yield add
    for name in added:
        replacements.remove(name)


def swap(model, *inputs, **options):
    model.eval()
    return swap_modules(model, example_call=lambda: model(*inputs), **options)


def test_a_module_at_two_paths_becomes_one_module_at_both():
    norm = fakes.FusedLayerNorm(4)
    model = nn.ModuleDict({"one": norm, "two": norm})
    model.forward = lambda x: model["two"](model["one"](x))
    swaps = swap_modules(model, example_call=lambda: model.forward(torch.randn(2, 4)))
    assert model["one"] is model["two"]
    assert type(model["one"]) is nn.LayerNorm
    assert [one.path for one in swaps] == ["one", "two"]


def test_lists_dicts_and_sequentials_swap():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.items = nn.ModuleList([fakes.FusedLayerNorm(4)])
            self.named = nn.ModuleDict({"a": fakes.FusedLayerNorm(4)})
            self.chain = nn.Sequential(fakes.FusedLayerNorm(4), nn.Dropout())
            self.plain = (self.items[0], [self.items[0]])

        def forward(self, x):
            return self.chain(self.named["a"](self.plain[0](x)))

    model = Model()
    assert len(swap(model, torch.randn(2, 4))) == 4
    assert model.plain[0] is model.items[0]
    assert type(model.items[0]) is type(model.named["a"]) is type(model.chain[0]) is nn.LayerNorm
    assert model.chain[1].p == 0.5


def test_the_root_becomes_its_replacement_and_comes_back():
    model = nn.Conv1d(3, 4, 3)
    x = torch.randn(2, 3, 9)
    before = state_digest(model)
    expected = model(x)
    with kept_as_found(model):
        swaps = swap(model, x, replace_1D_2D=True)
        assert isinstance(model, nn.Conv2d)
        torch.testing.assert_close(model(x), expected)
        assert [one.path for one in swaps] == [""]
    assert type(model) is nn.Conv1d
    assert state_digest(model) == before


def test_replace_for_export_returns_the_new_root():
    root = fakes.FusedLayerNorm(4)
    new = replace_for_export(root)
    assert type(new) is nn.LayerNorm
    assert type(root) is fakes.FusedLayerNorm


def test_a_module_that_nothing_reaches_stays_and_is_reported():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Dropout()
            self.unused = nn.Dropout()

        def forward(self, x):
            return self.used(x)

    model = Model()
    swaps = {one.path: one for one in swap(model, torch.randn(2))}
    assert type(model.unused) is nn.Dropout
    assert (swaps["unused"].new, swaps["unused"].worst_error) == ("Dropout", None)
    assert swaps["used"].worst_error == 0.0


def test_a_module_whose_weight_others_read_stays():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(x) + nn.functional.conv1d(x, self.conv.weight, padding=1)

    model = Model()
    swaps = swap(model, torch.randn(2, 3, 5), replace_1D_2D=True)
    assert type(model.conv) is nn.Conv1d
    assert swaps[0].worst_error is None


def test_a_module_that_somebody_holds_in_secret_is_put_back():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout()
            held = self.drop
            self.call = lambda x: held(x)

        def forward(self, x):
            return self.call(x)

    model = Model()
    swaps = swap(model, torch.randn(2))
    assert type(model.drop) is nn.Dropout
    assert [one.worst_error for one in swaps] == [None]


def test_dropout_that_is_kept_training_stays():
    model = nn.Sequential(nn.Dropout(), nn.Dropout()).eval()
    model[0].train()
    swap_modules(model, example_call=lambda: model(torch.randn(2)))
    assert type(model[0]) is nn.Dropout
    assert isinstance(model[1], nn.Identity)


def test_a_wrong_replacement_is_refused_with_path_types_and_error(extra):
    class Wrong(Replacement):
        name = "wrong"

        def matches(self, module):
            return isinstance(module, nn.ReLU)

        def replace(self, module):
            return nn.GELU()

    extra(Wrong())
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    before = state_digest(model)

    def export():
        with kept_as_found(model):
            swap(model, torch.randn(4, 3))

    with pytest.raises(SwapError, match="ReLU → GELU") as caught:
        export()
    assert caught.value.where == "0.1"
    assert "worst error" in str(caught.value)
    assert state_digest(model) == before


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda x: x.double(), "dtype"),
        (lambda x: x[:1], "shape"),
        (lambda x: (x,), "structure"),
        (lambda x: x * float("nan"), "NaN/Inf pattern"),
        (lambda x: x * (1 + 1e-5), "value"),
    ],
)
def test_the_proof_sees_every_kind_of_difference(extra, answer, kind):
    class Other(nn.Module):
        def forward(self, x):
            return answer(x)

    class Wrong(Replacement):
        name = "wrong"

        def matches(self, module):
            return type(module) is nn.Identity

        def replace(self, module):
            return Other()

    extra(Wrong())
    with pytest.raises(SwapError) as caught:
        swap(nn.Sequential(nn.Identity()), torch.randn(4, 3))
    assert f"({kind};" in caught.value.message


@pytest.mark.parametrize(
    ("made", "said"),
    [(lambda m: m, "must return a new module"), (lambda m: 3, "must return a new module"), (lambda m: 1 / 0, "ZeroDivisionError")],
)
def test_a_broken_replacement_is_named(extra, made, said):
    class Broken(Replacement):
        name = "broken"

        def matches(self, module):
            return type(module) is nn.Identity

        def replace(self, module):
            return made(module)

    extra(Broken())
    with pytest.raises(SwapError, match=said):
        swap(nn.Sequential(nn.Identity()), torch.randn(4, 3))


def test_a_model_that_reads_what_a_swap_took_away_is_refused_with_the_reason():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = parametrizations.weight_norm(nn.Conv1d(2, 2, 1))

        def forward(self, x):
            return self.conv(x) * len(self.conv.parametrizations)

    with pytest.raises(SwapError, match="runs no longer"):
        swap(Model(), torch.randn(1, 2, 3))


def test_user_hooks_go_with_the_place_in_the_tree():
    seen = []
    model = nn.Sequential(fakes.FusedLayerNorm(4), nn.Dropout())
    model[0].register_forward_hook(lambda module, args, out: seen.append(type(module).__name__))
    model[1].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    x = torch.randn(2, 4)
    expected = model.eval()(x)
    swap(model, x)
    seen.clear()
    torch.testing.assert_close(model(x), expected)
    assert seen == ["LayerNorm"]


def test_inputs_that_a_module_writes_into_are_compared_as_they_arrived(extra):
    class Doubling(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    class Double(Replacement):
        name = "double"

        def matches(self, module):
            return isinstance(module, Doubling)

        def replace(self, module):
            class New(nn.Module):
                def forward(self, x):
                    return x.add_(x)

            return New()

    extra(Double())
    assert swap(nn.Sequential(Doubling()), torch.randn(3))[0].worst_error == 0.0


def test_what_a_hook_swapped_is_proved_on_real_tensors_later():
    model = nn.Sequential(fakes.KernelOnlyLayerNorm(4), fakes.FusedRMSNorm(4)).eval()
    model[0] = fakes.FastLayerNorm(4)
    with kept_as_found(model):
        replace_for_export(model)
        swaps = swap(model, torch.randn(3, 4))
        assert [(one.path, one.old) for one in swaps] == [("0", "FastLayerNorm"), ("1", "FusedRMSNorm")]
        assert all(one.worst_error is not None for one in swaps)


def test_a_module_without_a_kernel_here_swaps_all_the_same():
    assert type(replace_for_export(nn.Sequential(fakes.KernelOnlyLayerNorm(4)))[0]) is nn.LayerNorm


def test_a_hook_that_swapped_wrongly_is_found_by_the_later_proof(extra):
    class Wrong(Replacement):
        name = "wrong"

        def matches(self, module):
            return type(module) is nn.ReLU

        def replace(self, module):
            return nn.GELU()

    extra(Wrong())
    model = nn.Sequential(nn.ReLU()).eval()

    def export():
        with kept_as_found(model):
            replace_for_export(model)
            swap(model, torch.randn(3, 4))

    with pytest.raises(SwapError, match="ReLU → GELU"):
        export()
    assert type(model[0]) is nn.ReLU


def test_a_swap_on_request_of_a_hook_folds_later():
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4))
    model(torch.randn(4, 3, 9))
    x = torch.randn(2, 3, 9)
    expected = model.eval()(x)
    with kept_as_found(model):
        replace_for_export(model, replace_1D_2D=True)
        swaps = swap(model, x, replace_1D_2D=True)
        assert type(model[1]).__name__ == "Passthrough"
        torch.testing.assert_close(model(x), expected)
        assert [(one.old, one.new) for one in swaps] == [("Conv1d", "Conv1dAs2d"), ("BatchNorm1d", "Passthrough")]


def test_where_nothing_matches_the_model_runs_at_most_once():
    runs = []
    model = nn.Sequential(nn.Linear(2, 2))
    model.register_forward_hook(lambda *_: runs.append(1))
    with kept_as_found(model):
        assert swap(model, torch.randn(1, 2)) == ()
        assert swap(model, torch.randn(1, 2)) == ()
        assert len(runs) == 1


def test_what_forward_writes_into_a_large_weight_is_undone():
    class Normalising(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(400, 400))

        def forward(self, x):
            self.weight.data.div_(self.weight.norm())
            return x @ self.weight

    model = Normalising()
    before = state_digest(model)
    with kept_as_found(model):
        swap(model, torch.randn(2, 400))
        with torch.no_grad():
            model(torch.randn(2, 400))
    assert state_digest(model) == before


def test_a_third_party_registers_one_class(extra):
    class MySwish(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(x)

    class SwishReplacement(Replacement):
        name = "my-swish"

        def matches(self, module):
            return isinstance(module, MySwish)

        def replace(self, module):
            return nn.SiLU()

    extra(SwishReplacement())
    model = nn.Sequential(MySwish())
    assert swap(model, torch.randn(50))[0].new == "SiLU"


def test_recurrent_weight_norm_becomes_plain_weights():
    from torch.nn.utils import weight_norm

    with pytest.warns(FutureWarning):
        lstm = weight_norm(nn.LSTM(3, 4, batch_first=True), "weight_hh_l0")
    model = nn.Sequential(lstm)
    x = torch.randn(2, 5, 3)
    expected = model.eval()(x)
    with kept_as_found(model):
        swaps = swap(model, x)
        assert swaps[0].worst_error is not None
        assert "weight_hh_l0" in dict(model[0].named_parameters())
        torch.testing.assert_close(model(x), expected)
    assert "weight_hh_l0_g" in dict(lstm.named_parameters())
    assert not any(weight is None for weight in lstm._flat_weights)


def test_a_model_under_autocast_of_its_own_flags_is_compared_in_its_dtype():
    model = nn.Sequential(fakes.MixedFusedLayerNorm(4)).eval()
    with torch.no_grad():
        swaps = swap_modules(model, example_call=lambda: model(torch.randn(2, 4).half()))
    assert swaps[0].worst_error is not None
