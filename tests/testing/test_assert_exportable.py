"""`assert_exportable`: what it returns, what it says when it fails, and that it leaves nothing behind."""

import tempfile
from pathlib import Path

import pytest
import torch
from suite_models import Encoder, Limited, Pair, Spoken, Sum
from torch import nn

from torchport import ProofError, TorchportError
from torchport.errors import FrozenDecisionError, HookError, OptionError, UnknownNameError
from torchport.prepare import state_digest
from torchport.testing import FormatFailure, NotExportableError, assert_exportable
from torchport.testing._assertion import suffixes_of


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Temporary folders are made here, so that one that is left behind is seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert list(tmp_path.glob("**/*.onnx*")) == []
    assert list(tmp_path.glob("torchport-*")) == []


def failure_of(model, *args, **kwargs):
    with pytest.raises(NotExportableError) as caught:
        assert_exportable(model, *args, **kwargs)
    return caught.value


def test_the_results_come_by_format():
    results = assert_exportable(Sum())
    assert list(results) == [".onnx", ".ts"]
    assert all(result.proof.ok and len(result.proof.cases) >= 6 for result in results.values())
    assert not any(path.exists() for result in results.values() for path in result.paths)


def test_formats_go_by_extension_or_name():
    assert list(assert_exportable(Sum(), "onnx")) == [".onnx"]
    assert suffixes_of(["exported_program", ".PT2", "ts"]) == [".pt2", ".ts"]


def test_a_module_of_somebody_else_takes_its_ports_from_the_call():
    assert_exportable(nn.Linear(4, 2), ".onnx", input_types={"input": ("batch 4", "float32")})
    assert_exportable(nn.Linear(4, 2), ".onnx", input_example=torch.ones(3, 4), dynamic_axes={"input": [0]})


def test_a_failure_is_an_assertion_and_an_error_of_torchport():
    error = failure_of(Limited(), ".onnx")
    assert isinstance(error, AssertionError)
    assert isinstance(error, TorchportError)
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_the_smallest_failing_sizes_are_named():
    error = failure_of(Limited(), ".onnx", strategy="trace")
    (failure,) = error.failures
    assert isinstance(failure, FormatFailure)
    assert (failure.format, failure.sizes) == (".onnx", {"batch": 1, "time": 41})
    assert isinstance(failure.error, ProofError)
    text = str(error)
    assert text.startswith("test: Limited cannot be exported to .onnx\n  .onnx: verify: limited.onnx is not equal to the model")
    assert "smallest failing sizes: batch=1, time=41" in text
    assert "worst element" in text
    assert "kept as" not in text
    assert len(text.splitlines()) <= 6


def test_the_sizes_belong_to_the_strategy_that_is_told_of():
    error = failure_of(Limited(), ".onnx")
    assert "also tried torch_export" in str(error)
    assert error.failures[0].sizes == {"batch": 1, "time": 41}


def test_formats_after_a_failed_one_are_tried():
    error = failure_of(Limited(), (".onnx", ".ts"))
    assert str(error).startswith("test: Limited cannot be exported to .onnx (.ts passes)")


def test_a_failing_subnet_is_shrunk_against_its_own_part():
    error = failure_of(Pair(), ".onnx", strategy="trace")
    assert "decoder-pair.onnx is not equal" in str(error)
    assert error.failures[0].sizes == {"batch": 1, "time": 41}


def test_what_fails_before_the_proof_has_no_sizes():
    error = failure_of(Spoken(), ".onnx")
    (failure,) = error.failures
    assert isinstance(failure.error, HookError)
    assert failure.sizes is None
    assert "no example today" in str(error)
    assert "smallest" not in str(error)


class Decides(Sum):
    def forward(self, x):
        return x.sum(1) if bool(x.sum() > 0) else x.sum(1) + 1


def test_a_frozen_decision_is_told_of_as_it_is():
    error = failure_of(Decides(), ".onnx", strategy="trace")
    assert isinstance(error.failures[0].error, FrozenDecisionError)


class Transposed(Sum):
    """Right while batch and time are apart by nothing but their order; the caller's own example is what fails."""

    def forward(self, x):
        return x.sum(1) if x.shape != (2, 5) else x.sum(1) * 3


def test_what_only_the_callers_example_shows_is_told_with_its_sizes():
    error = failure_of(Transposed(), ".onnx", strategy="trace", check_trace=[torch.randn(2, 5)])
    assert error.failures[0].sizes == {"batch": 2, "time": 5}


def test_an_artifact_that_takes_its_weights_as_inputs_is_shrunk_too():
    class Weighted(Encoder):
        def forward(self, x):
            return self.linear(x) if x.shape[1] <= 40 else self.linear(x) + 1

    error = failure_of(Weighted(), ".onnx", strategy="trace", export_params=False)
    assert error.failures[0].sizes == {"batch": 1, "time": 41}


def test_a_file_that_no_runtime_opens_is_told_of_without_sizes():
    class Unopened(Sum):
        def forward(self, x):
            return torch.special.bessel_j0(x).sum(1)

    error = failure_of(Unopened(), ".onnx", strategy="trace")
    assert error.failures[0].sizes is None


@pytest.mark.parametrize("model", [Encoder(), Pair()], ids=["passes", "fails"])
def test_the_model_is_left_as_it_was_found(model):
    model.train()
    before, seeds = state_digest(model), torch.get_rng_state()
    try:
        assert_exportable(model, ".onnx")
    except NotExportableError:
        assert isinstance(model, Pair)
    assert state_digest(model) == before
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), seeds)


class SumThenTwice(Sum):
    """In training mode it answers something else; only eval is exported, and only eval may be what the sizes are shrunk against."""

    def forward(self, x):
        scaled = x.sum(1) * (5 if self.training else 1)
        return scaled if x.shape[1] <= 40 else scaled + 1


def test_sizes_are_shrunk_against_the_model_in_the_mode_that_is_exported():
    assert failure_of(SumThenTwice().train(), ".onnx", strategy="trace").failures[0].sizes == {"batch": 1, "time": 41}


@pytest.mark.parametrize("name", ["verify", "output", "overwrite", "keep_rejected"])
def test_arguments_that_are_its_own_are_refused(name):
    with pytest.raises(OptionError, match=f"takes no {name}"):
        assert_exportable(Sum(), **{name: False})


def test_what_is_no_model_is_refused():
    with pytest.raises(OptionError, match=r"only a torch.nn.Module"):
        assert_exportable(Sum)


def test_unknown_and_missing_formats_are_refused():
    with pytest.raises(UnknownNameError, match=r"no format has the extension '.onx'"):
        assert_exportable(Sum(), "onx")
    with pytest.raises(OptionError, match="no format to export to"):
        assert_exportable(Sum(), ())


def test_the_public_names_are_there():
    import torchport.testing

    assert set(dir(torchport.testing)) == set(torchport.testing.__all__)
    assert all(getattr(torchport.testing, name) is not None for name in torchport.testing.__all__)
    assert not hasattr(torchport.testing, "nothing_of_the_kind")


def test_of_several_rejected_files_the_one_that_the_error_is_about_is_kept(tmp_path):
    import torchport
    from torchport.emit import read_metadata

    with pytest.raises(ProofError) as caught:
        torchport.export(Limited(), tmp_path / "m.onnx", keep_rejected=True)
    assert "also tried torch_export" in str(caught.value)
    kept = Path(caught.value.rejected.artifact.path)
    assert kept.name == "m.onnx.rejected"
    named = kept.rename(tmp_path / "kept.onnx")
    assert read_metadata(named)["torchport.strategy"] == "trace"
    named.unlink()
