from __future__ import annotations

import pytest
import torch
from torch import nn

from torchport.errors import HookError, OptionError, SwapError
from torchport.prepare import kept_as_found, run_prepare_hooks, state_digest


class Base(nn.Module):
    def __init__(self, name: str, log: list[str], *children: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.log = log
        self.parts = nn.ModuleList(children)

    def _prepare_for_export(self, replace_1D_2D=False, **kwargs):
        self.log.append(self.name)


class Parent(Base):
    def _prepare_for_export(self, mask=True, **kwargs):
        super()._prepare_for_export(**kwargs)
        for part in self.parts:
            part._prepare_for_export(**kwargs)


class Picky(Base):
    def _prepare_for_export(self, *, beam_size=1):
        self.log.append(f"{self.name} beam {beam_size}")


def test_hooks_run_once_each_and_parents_first():
    log: list[str] = []
    shared = Base("shared", log)
    model = Base("root", log, Base("left", log, shared), nn.Sequential(Base("right", log)), shared)
    run_prepare_hooks(model)
    assert log == ["root", "left", "shared", "right"]


def test_a_child_that_its_parent_called_is_not_called_again():
    log: list[str] = []
    model = Parent("root", log, Base("left", log, Base("deep", log)), Base("right", log))
    run_prepare_hooks(model)
    assert log == ["root", "left", "right", "deep"]
    assert "_prepare_for_export" not in vars(model.parts[0])


def test_a_hook_of_the_instance_stays_on_it():
    log: list[str] = []
    model = Base("root", log, Base("child", log))
    own = lambda **kwargs: log.append("own")  # noqa: E731
    model.parts[0]._prepare_for_export = own
    run_prepare_hooks(model)
    assert log == ["root", "own"]
    assert model.parts[0]._prepare_for_export is own


def test_a_module_that_a_hook_puts_in_place_has_its_turn():
    log: list[str] = []

    class Swapping(Base):
        def _prepare_for_export(self, **kwargs):
            super()._prepare_for_export(**kwargs)
            self.parts[0] = Base("new", self.log)

    run_prepare_hooks(Swapping("root", log, Base("old", log)))
    assert log == ["root", "new"]


def test_a_hook_gets_the_keywords_that_it_names():
    log: list[str] = []
    run_prepare_hooks(Base("root", log, Picky("picky", log)), beam_size=4, onnx_opset_version=17)
    assert log == ["root", "picky beam 4"]


def test_arguments_of_every_export_need_no_hook():
    run_prepare_hooks(nn.Linear(2, 2), check_trace=True, replace_1D_2D=True)


@pytest.mark.parametrize(("given", "near"), [("beam_sise", "beam_size"), ("replace_1d_2d", "replace_1D_2D"), ("masks", "mask")])
def test_a_keyword_that_no_hook_names_is_an_error_with_the_nearest_name(given, near):
    model = Parent("root", [], Picky("picky", []))
    with pytest.raises(OptionError, match=f"did you mean {near!r}") as caught:
        run_prepare_hooks(model, **{given: 1})
    assert caught.value.exit_code == 2
    assert model.log == []


def test_a_keyword_like_no_other_lists_what_there_is():
    with pytest.raises(OptionError, match="replace_1D_2D") as caught:
        run_prepare_hooks(nn.Linear(2, 2), zzz=1)
    assert caught.value.hint is None


def test_a_hook_that_raises_is_reported_with_class_and_path():
    class Failing(Base):
        def _prepare_for_export(self, **kwargs):
            raise RuntimeError("no mask")

    model = Base("root", [], Failing("child", []))
    with pytest.raises(HookError, match=r"Failing._prepare_for_export raised RuntimeError: no mask") as caught:
        run_prepare_hooks(model)
    assert caught.value.where.startswith("parts.0 (")
    assert caught.value.stage == "prepare"
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("error", [SwapError("not equal"), KeyboardInterrupt()])
def test_errors_of_torchport_and_interruptions_pass_as_they_are(error):
    class Failing(Base):
        def _prepare_for_export(self, **kwargs):
            raise error

    with pytest.raises(type(error)):
        run_prepare_hooks(Failing("root", []))


def test_what_a_hook_writes_into_weights_is_undone():
    class Writing(Base):
        def __init__(self):
            super().__init__("root", [])
            self.weight = nn.Parameter(torch.randn(400, 400))

        def _prepare_for_export(self, **kwargs):
            self.weight.data.mul_(2)
            self.weight.detach().numpy()[0] = 7
            self.extra = 1

    model = Writing()
    before = state_digest(model)
    with kept_as_found(model):
        run_prepare_hooks(model)
        assert state_digest(model) != before
    assert state_digest(model) == before
