"""One call: every argument of export does what the contract says."""

import contextlib
import threading

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import torchport
from torchport import Axis, Exportable, NeuralType, Port, ProofError, TorchportError
from torchport.errors import (
    ArtifactExistsError,
    CaptureError,
    FrozenDecisionError,
    OpsetError,
    OptionError,
    PortError,
    ReferenceRunError,
    UnknownNameError,
)
from torchport.types import LengthsType, LogitsType, SpectrogramType


class Tagger(nn.Module, Exportable):
    """A masked mean over time, with a layer on either side."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(6, 8)
        self.out = nn.Linear(8, 5)

    @property
    def input_types(self):
        return {"features": NeuralType(("B", "D", "T"), SpectrogramType()), "length": NeuralType(("B",), LengthsType())}

    @property
    def output_types(self):
        return {"logits": NeuralType(("B", "T", "D"), LogitsType()), "length_out": NeuralType(("B",), LengthsType())}

    def input_example(self, max_batch=2, max_dim=11):
        return torch.randn(max_batch, 6, max_dim), torch.tensor([max_dim, max_dim - 4][:max_batch])

    def forward(self, features, length):
        mask = torch.arange(features.shape[2])[None] < length[:, None]
        hidden = torch.relu(self.into(features.transpose(1, 2))) * mask[..., None]
        mean = hidden.sum(1, keepdim=True) / length[:, None, None]
        return self.out(hidden + mean), length


class BakedTime(nn.Module, Exportable):
    """Traced, the number of frames becomes a constant."""

    input_types = {"x": "batch time 4"}
    output_types = {"y": "batch 4"}

    def forward(self, x):
        return x.sum(1) / int(x.shape[1])


class Branch(nn.Module, Exportable):
    """A branch on a value: no example can settle it."""

    input_types = {"x": "batch 4"}
    output_types = {"y": "batch 4"}

    def forward(self, x):
        if x.sum() > 0:
            return x * 2
        return x - 1


@pytest.fixture
def tagger():
    torch.manual_seed(0)
    return Tagger()


@pytest.fixture(params=["m.onnx", "m.ts", "m.PT", "m.pt2"])
def output(request, tmp_path):
    return tmp_path / request.param


def feeds(batch, time):
    rng = np.random.default_rng(batch * 100 + time)
    length = rng.integers(1, time + 1, batch)
    length[0] = time
    return {"features": rng.standard_normal((batch, 6, time)).astype("float32"), "length": length}


def eager(model, inputs):
    model = model.eval()
    with torch.no_grad():
        return [out.numpy() for out in model(**{name: torch.from_numpy(array) for name, array in inputs.items()})]


def test_one_call_gives_an_artifact_that_runs_at_other_sizes(tagger, output):
    result = tagger.export(output)
    paths, descriptions = result
    assert paths == [str(output)]
    assert "proved" in descriptions[0]
    with torchport.load(output) as run:
        for batch, time in [(1, 1), (2, 7), (5, 30)]:
            inputs = feeds(batch, time)
            for got, expected in zip(run(inputs).values(), eager(tagger, inputs), strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_the_graph_carries_the_declared_names_and_axes(tagger, tmp_path):
    result = tagger.export(tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    dims = {one.name: [dim.dim_param or dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in [*graph.input, *graph.output]}
    assert list(dims) == ["features", "length", "logits", "length_out"]
    assert dims["features"] == ["batch", 6, "features_time"]
    assert dims["logits"][:1] == ["batch"]
    assert dims["logits"][2] == 5
    assert isinstance(dims["logits"][1], str)
    assert result.signature.inputs["features"].axes[2].dynamic


def test_tracing_that_is_wrong_elsewhere_is_not_taken(tmp_path):
    class Clipped(nn.Module, Exportable):
        input_types = {"x": "batch time 4"}
        output_types = {"y": "batch 4"}

        def forward(self, x):
            return x.sum(1) / max(x.shape[1], 2)

    result = Clipped().export(tmp_path / "m.onnx")
    outcomes = {attempt.strategy: attempt.outcome for attempt in result.attempts}
    assert outcomes == {"trace": "rejected", "torch_export": "proved"}
    assert result.strategy == "torch_export"
    with torchport.load(tmp_path / "m.onnx") as run:
        for time in (1, 9):
            x = np.ones((2, time, 4), "float32")
            np.testing.assert_allclose(run({"x": x})["y"], np.full((2, 4), time / max(time, 2)), rtol=1e-6)


def test_what_the_exporter_refuses_goes_to_the_next_strategy(tmp_path, capfd):
    class Spectrum(nn.Module, Exportable):
        input_types = {"x": "batch 64"}

        def forward(self, x):
            return torch.fft.rfft(x).abs()

    result = Spectrum().export(tmp_path / "m.onnx")
    assert [attempt.outcome for attempt in result.attempts] == ["failed", "proved"]
    assert "fft_rfft" in result.attempts[0].reason
    assert capfd.readouterr() == ("", "")


def test_a_strategy_that_is_asked_for_and_wrong_raises_its_proof(tmp_path):
    with pytest.raises((ProofError, CaptureError)) as caught:
        BakedTime().export(tmp_path / "m.onnx", strategy="trace")
    assert "time" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_branch_on_a_value_is_refused_with_its_line(tmp_path):
    with pytest.raises(FrozenDecisionError) as caught:
        Branch().export(tmp_path / "m.onnx")
    assert "test_pipeline.py" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_proof_says_in_python_too_what_else_was_tried(tmp_path):
    class Ranked(nn.Module):
        """Traced, the values become a list; torch.export fixes the size."""

        def forward(self, x):
            return x.sum(1) / len(x[0].tolist())

    with pytest.raises(ProofError) as caught:
        torchport.export(Ranked(), tmp_path / "m.onnx", input_types={"x": "batch time"})
    last = str(caught.value).splitlines()[-1]
    assert last.startswith("  also tried trace: refused: ")
    assert len(last) < 600
    assert not getattr(caught.value, "__notes__", None)


def test_a_rejected_artifact_is_kept_when_asked(tmp_path):
    class Wrong(nn.Module, Exportable):
        input_types = {"x": "batch time"}
        output_types = {"y": "batch time"}

        def forward(self, x):
            return x + torch.arange(int(x.shape[1]))

    for name in ("m.ts.rejected", "m.ts.2.rejected"):  # an older one stays
        with pytest.raises(ProofError) as caught:
            Wrong().export(tmp_path / "m.ts", strategy="trace", keep_rejected=True)
        assert any(name in note for note in caught.value.__notes__)
        assert (tmp_path / name).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.ts.2.rejected", "m.ts.rejected"]


def test_an_existing_artifact_is_replaced_only_when_asked(tagger, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(ArtifactExistsError, match="overwrite"):
        tagger.export(path)
    assert path.read_bytes() == b"mine"
    tagger.export(path, overwrite=True)
    assert path.stat().st_size > 100


def test_an_unknown_extension_lists_the_known_ones(tagger, tmp_path):
    with pytest.raises(TorchportError, match=r"\.onnx"):
        tagger.export(tmp_path / "m.tflite")


@pytest.mark.parametrize("opset", [13, 14, 17, 18, 20, 21])
def test_the_file_carries_the_opset_that_was_asked_for(tagger, tmp_path, opset):
    tagger.export(tmp_path / "m.onnx", onnx_opset_version=opset)
    versions = {one.domain: one.version for one in onnx.load(tmp_path / "m.onnx").opset_import}
    assert versions[""] == opset


def test_an_opset_that_cannot_be_had_is_refused(tagger, tmp_path):
    for opset in (9, 99, "17", True):
        with pytest.raises(OpsetError, match="13 to"):
            tagger.export(tmp_path / "m.onnx", onnx_opset_version=opset)


def test_weights_may_stay_inputs(tagger, tmp_path):
    tagger.export(tmp_path / "m.onnx", export_params=False)
    names = [one.name for one in onnx.load(tmp_path / "m.onnx").graph.input]
    assert names[:2] == ["features", "length"]
    assert set(names[2:]) == {"into.weight", "into.bias", "out.weight", "out.bias"}


def test_initializers_may_be_inputs_too(tagger, tmp_path):
    tagger.export(tmp_path / "m.onnx", keep_initializers_as_inputs=True)
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert {one.name for one in graph.initializer} <= {one.name for one in graph.input}


def test_static_axes_when_asked(tagger, tmp_path):
    result = tagger.export(tmp_path / "m.onnx", use_dynamic_axes=False)
    assert not result.signature.symbols
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == [2, 6, 11]


@pytest.mark.parametrize("axes", [{"x": {0: "rows"}}, {"x": [0]}, {"x": {0: "rows"}, "y": {0: "rows"}}])
def test_explicit_axes_of_a_plain_module(tmp_path, axes):
    module = nn.Linear(4, 3)
    result = torchport.export(module, tmp_path / "m.onnx", input_example=torch.randn(2, 4), dynamic_axes={"input": axes["x"]})
    assert [axis.dynamic for axis in result.signature.inputs["input"].axes] == [True, False]
    assert [axis.dynamic for axis in result.signature.outputs["output"].axes] == [True, False]
    with torchport.load(tmp_path / "m.onnx") as run:
        assert run({"input": np.zeros((7, 4), "float32")})["output"].shape == (7, 3)


def test_an_axis_of_an_unknown_port_names_the_nearest(tmp_path):
    with pytest.raises(OptionError, match="input"):
        torchport.export(nn.Linear(4, 3), tmp_path / "m.onnx", input_example=torch.randn(2, 4), dynamic_axes={"inputs": {0: "rows"}})


def test_a_module_without_declarations_is_static_and_says_so(tmp_path):
    result = torchport.export(nn.Linear(4, 3), tmp_path / "m.onnx", input_example=torch.randn(2, 4))
    assert any("static" in note for note in result.notes)


def test_types_as_arguments_win(tagger, tmp_path):
    types = {"features": Port("rows 6 frames", dtype="float32"), "length": Port("rows", dtype="int64")}
    result = tagger.export(tmp_path / "m.onnx", input_example=tagger.input_example(), verify=False)
    result = torchport.export(
        tagger,
        tmp_path / "n.onnx",
        input_types={**types, "length": NeuralType((Axis("rows"),), LengthsType())},
        input_example=tagger.input_example(),
    )
    assert set(result.signature.symbols) >= {"rows", "frames"}


def test_verify_false_is_recorded(tagger, tmp_path):
    result = tagger.export(tmp_path / "m.onnx", verify=False)
    assert result.proof is None
    assert "NOT PROVED" in result.descriptions[0]


def test_check_trace_compares_with_the_output_example(tagger, tmp_path):
    example = tagger.input_example()
    with torch.no_grad():
        right = tagger(*example)
    tagger.export(tmp_path / "m.onnx", input_example=example, output_example=right, check_trace=True)
    with pytest.raises(TorchportError, match="output_example"):
        tagger.export(tmp_path / "n.onnx", input_example=example, output_example=(right[0] * 1.1, right[1]), check_trace=True, verify=False)
    assert not (tmp_path / "n.onnx").exists()


def test_further_examples_serve_the_proof(tmp_path):
    module = nn.Linear(4, 3)
    result = torchport.export(
        module,
        tmp_path / "m.onnx",
        input_example=torch.randn(2, 4),
        check_trace=[torch.randn(5, 4), (torch.randn(3, 4),)],
        dynamic_axes={"input": [0]},
    )
    assert result.proof.ok


def test_an_unknown_keyword_names_the_nearest(tagger, tmp_path):
    with pytest.raises(OptionError, match="replace_1D_2D"):
        tagger.export(tmp_path / "m.onnx", replace_1d_2d=True)
    with pytest.raises(OptionError):
        torchport.export(nn.Linear(4, 3), tmp_path / "m.onnx", input_example=torch.randn(2, 4), overwrit=True)


def test_an_unknown_strategy_lists_the_known_ones(tagger, tmp_path):
    with pytest.raises(UnknownNameError, match="torch_export"):
        tagger.export(tmp_path / "m.onnx", strategy="dynamo")
    with pytest.raises(OptionError, match="trace"):
        tagger.export(tmp_path / "m.onnx", strategy="script")


def test_scripting_is_tried_first_when_asked(tmp_path):
    class Loop(nn.Module, Exportable):
        input_types = {"x": "batch 4", "n": Port("", dtype="int64")}

        def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            for _ in range(int(n)):
                x = x * 2
            return x

    result = Loop().export(tmp_path / "m.ts", try_script=True, input_example=(torch.ones(2, 4), torch.tensor(3)))
    assert result.strategy == "script"
    with torchport.load(tmp_path / "m.ts") as run:
        assert run({"x": np.ones((1, 4), "float32"), "n": np.array(5)})["output"][0, 0] == 32


def test_scripting_that_fails_says_why(tmp_path):
    class Unscriptable(nn.Module, Exportable):
        input_types = {"x": "batch 4"}

        def forward(self, x, **others):
            return x * 2

    result = Unscriptable().export(tmp_path / "m.ts", try_script=True)
    assert [attempt.strategy for attempt in result.attempts] == ["script", "trace"]
    assert result.attempts[0].outcome == "failed"
    assert result.attempts[0].reason


def test_dropout_left_on_is_refused(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    with pytest.raises(ReferenceRunError, match=r"random|differ"):
        torchport.export(model, tmp_path / "m.onnx", input_example=torch.randn(2, 4), set_eval=False)
    torchport.export(model, tmp_path / "m.onnx", input_example=torch.randn(2, 4))
    assert model.training


def test_an_example_that_the_model_refuses_is_named(tmp_path):
    with pytest.raises(ReferenceRunError, match="input_example"):
        torchport.export(nn.Linear(4, 3), tmp_path / "m.onnx", input_example=torch.randn(2, 5))


def test_a_type_that_does_not_fit_the_example_is_named(tmp_path):
    with pytest.raises(PortError, match="input"):
        torchport.export(nn.Linear(4, 3), tmp_path / "m.onnx", input_example=torch.randn(2, 4), input_types={"input": "batch 5"})


def test_two_threads_export_two_instances_of_one_class(tmp_path):
    class Scaled(nn.Module, Exportable):
        input_types = {"x": "batch 4"}

        def __init__(self, scale):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(scale))

        def forward(self, x):
            raise AssertionError("the other forward is exported")

        def forward_for_export(self, x):
            return x * self.scale

    errors = []

    def run(scale):
        try:
            Scaled(scale).export(tmp_path / f"{scale}.onnx")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(scale,)) for scale in (2.0, 3.0)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not errors
    for scale in (2.0, 3.0):
        with torchport.load(tmp_path / f"{scale}.onnx") as run_artifact:
            assert run_artifact({"x": np.ones((1, 4), "float32")})["output"][0, 0] == scale


def test_verbose_prints_the_stages(tagger, tmp_path, capsys):
    tagger.export(tmp_path / "m.onnx", verbose=True)
    assert "capture" in capsys.readouterr().err
    tagger.export(tmp_path / "n.onnx")
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == ""


def test_the_result_is_plain_data_too(tagger, tmp_path):
    import json

    record = json.loads(json.dumps(tagger.export(tmp_path / "m.onnx").to_dict()))
    (part,) = record["artifacts"]
    assert part["strategy"]
    assert part["digests"]
    assert part["signature"]["inputs"]
    assert part["proof"]


def test_outputs_that_nobody_declared_take_the_axes_that_vary(tmp_path):
    class Ranks(nn.Module, Exportable):
        input_types = {"x": "batch time"}

        def forward(self, x):
            return x.sort(1)[0], x.mean(1)

    for name, verify in (("m.onnx", True), ("n.onnx", False)):
        result = Ranks().export(tmp_path / name, verify=verify)
        assert [port.shape for port in result.signature.outputs.values()] == [("batch", "time"), ("batch",)]
        assert result.notes == ()


def test_warnings_from_the_exporters_c_code_stay_away(tmp_path, capfd):
    class Packed(nn.Module, Exportable):
        input_types = {"x": "batch time 4", "length": NeuralType(("B",), LengthsType())}

        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(4, 3, batch_first=True)

        def forward(self, x, length):
            packed = nn.utils.rnn.pack_padded_sequence(x, length, batch_first=True, enforce_sorted=False)
            return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    with contextlib.suppress(TorchportError):
        Packed().export(tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")


def test_what_is_declared_of_sizes_is_left_to_the_file(tmp_path):
    model = nn.Sequential(nn.Conv1d(4, 4, 3), nn.ReLU(), nn.MaxPool1d(2))  # ONNX Runtime pools one frame by two, torch does not
    assert torchport.export(model, tmp_path / "m.onnx", input_types={"x": "batch 4 time{min=4}"}).proof.ok
    assert [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node] == ["Conv", "Relu", "MaxPool"]
    dims = {"input": {0: torch.export.Dim("batch"), 2: torch.export.Dim("time", min=4, max=500)}}
    result = torchport.export(model, tmp_path / "n.onnx", input_example=torch.ones(2, 4, 9), dynamic_axes=dims)
    assert (result.signature.symbols["time"].min, result.signature.symbols["time"].max) == (4, 500)


def test_what_is_no_module_is_refused(tmp_path):
    with pytest.raises(OptionError, match="nn.Module"):
        torchport.export(lambda x: x, tmp_path / "m.onnx", input_example=torch.ones(2))
    with pytest.raises(OptionError, match="the class Tagger"):
        torchport.export(Tagger, tmp_path / "m.onnx")


def test_an_export_folds_batch_norms_and_proves_it(tmp_path):
    model = nn.Sequential(nn.Conv1d(8, 8, 3), nn.BatchNorm1d(8)).eval()
    nn.init.uniform_(model[1].running_var, 0.5, 2.0)
    result = torchport.export(model, tmp_path / "m.onnx", input_types={"input": "batch 8 time{min=3}"}, input_example=torch.randn(3, 8, 20))
    swaps = {swap.path: swap for swap in result.parts[0].swaps}
    assert swaps["1"].new == "Passthrough"
    assert all(swap.worst_error is not None for swap in swaps.values())
    assert [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node] == ["Conv"]
