"""``torchport.load`` and ``torchport.verify``: artifacts as callables, and artifacts of anybody proved."""

import threading
import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import torchport
from torchport.errors import OptionError, PortError, PortTypeError, PortValueError, ProofError, RuntimeFailure, TorchportError
from torchport.loading import load, verify
from torchport.prepare.digest import state_digest

FORMATS = ("onnx", "ts", "pt2")


class Scores(nn.Module):
    input_types = {"mel": ("batch 4 time", "float32"), "gain": ("batch", "float32")}
    output_types = {"scores": "batch 3 time", "total": "batch"}

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(4, 3, 1)

    def forward(self, mel, gain):
        scores = self.conv(mel) * gain[:, None, None]
        return scores, scores.sum(dim=(1, 2))


@pytest.fixture(scope="module")
def model():
    return Scores()


@pytest.fixture(scope="module")
def artifacts(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    return {suffix: torchport.export(model, folder / f"m.{suffix}").path for suffix in FORMATS}


def inputs(batch=2, time=6):
    rng = np.random.default_rng(1)
    return {"mel": rng.normal(size=(batch, 4, time)).astype(np.float32), "gain": rng.normal(size=batch).astype(np.float32)}


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_artifact_answers_as_the_model_does(artifacts, model, suffix):
    given = inputs()
    with load(artifacts[suffix]) as artifact:
        answer = artifact(given)
        assert list(answer) == ["scores", "total"]
        assert (
            str(artifact.signature)
            == "(mel: float32[batch 4 time], gain: float32[batch]) -> (scores: float32[batch 3 time], total: float32[batch])"
        )
        assert artifact.metadata["torchport.strategy"]
    with torch.no_grad():
        expected = model(*(torch.from_numpy(array) for array in given.values()))
    for array, tensor in zip(answer.values(), expected, strict=True):
        assert isinstance(array, np.ndarray)
        assert array.flags.writeable
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-5, atol=1e-6)


def test_tensors_keywords_and_strided_arrays_are_taken(artifacts):
    given = inputs()
    with load(str(artifacts["onnx"])) as artifact:
        first = artifact(given)["scores"]
        tensor = torch.from_numpy(given["mel"]).requires_grad_()
        np.testing.assert_array_equal(artifact(mel=tensor, gain=given["gain"])["scores"], first)
        strided = np.asfortranarray(given["mel"])
        np.testing.assert_array_equal(artifact({"mel": strided}, gain=torch.from_numpy(given["gain"]))["scores"], first)


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ({"gain": None}, PortValueError, ("an input is missing", "where: gain")),
        ({"gian": np.ones(2, np.float32)}, PortValueError, ("no such input", "where: gian", "did you mean 'gain'?")),
        ({"mel": np.ones((2, 5, 6), np.float32)}, PortValueError, ("mel, axis 1", "found: 5", "expected: 4")),
        ({"mel": np.ones((2, 4), np.float32)}, PortValueError, ("another rank", "where: mel")),
        ({"mel": np.ones((2, 4, 0), np.float32)}, PortValueError, ("mel, axis 2", "1 or more")),
        ({"gain": np.ones(3, np.float32)}, PortValueError, ("'batch'", "gain, axis 0", "2; 3")),
        ({"mel": np.ones((2, 4, 6))}, PortTypeError, ("where: mel", "found: float64", "expected: float32")),
        ({"mel": [[1.0]]}, PortTypeError, ("neither an array nor a tensor", "where: mel", "found: list")),
    ],
)
def test_wrong_inputs_are_refused_by_port(artifacts, change, kind, told):
    given = {name: array for name, array in {**inputs(), **change}.items() if array is not None}
    with load(artifacts["onnx"]) as artifact, pytest.raises(kind) as caught:
        artifact(given)
    assert isinstance(caught.value, PortError)
    assert str(caught.value).startswith("load:")
    for part in told:
        assert part in str(caught.value)


def test_inputs_are_given_by_name(artifacts):
    with load(artifacts["onnx"]) as artifact, pytest.raises(PortTypeError, match="by name"):
        artifact(np.ones(2))


def test_a_closed_artifact_says_so(artifacts):
    artifact = load(artifacts["ts"])
    artifact.close()
    artifact.close()
    with pytest.raises(RuntimeFailure, match="was closed"):
        artifact(inputs())
    assert "m.ts" in repr(artifact)


def test_what_is_no_artifact_is_refused(tmp_path):
    with pytest.raises(OptionError, match="no such artifact"):
        load(tmp_path / "gone.onnx")
    with pytest.raises(OptionError, match="is a directory"):
        load(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"\x99nothing")
    with pytest.raises(RuntimeFailure, match=r"broken\.onnx") as caught:
        load(tmp_path / "broken.onnx")
    assert str(caught.value).startswith("load: ")
    (tmp_path / "x.txt").touch()
    with pytest.raises(OptionError, match=r"\.onnx"):
        load(tmp_path / "x.txt")


def test_what_a_runtime_refuses_when_it_is_called_is_no_verifying(tmp_path):
    node = onnx.helper.make_node("Reshape", ["x", "shape"], ["y"])
    shape = onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [1], [5])
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = onnx.helper.make_graph([node], "g", [x], [y], [shape])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), tmp_path / "r.onnx")
    with load(tmp_path / "r.onnx") as fives, pytest.raises(RuntimeFailure) as caught:
        fives(x=np.ones(3, np.float32))
    assert str(caught.value).startswith("load: ")


def foreign(path, *, dims=("N", 4), bias=0.0):
    """An ONNX file that torchport did not write: a linear layer under names of its own."""
    value, tensor = onnx.helper.make_tensor_value_info, onnx.numpy_helper.from_array
    layer = linear()
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["data", "w", "b"], ["answer"], transB=1)],
        "g",
        [value("data", onnx.TensorProto.FLOAT, dims)],
        [value("answer", onnx.TensorProto.FLOAT, [dims[0], 2])],
        [tensor(layer.weight.detach().numpy(), "w"), tensor(layer.bias.detach().numpy() + np.float32(bias), "b")],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def linear():
    torch.manual_seed(1)
    return nn.Linear(4, 2)


def test_a_foreign_file_is_loaded_with_the_ports_that_it_states(tmp_path):
    with load(foreign(tmp_path / "f.onnx")) as artifact:
        assert str(artifact.signature) == "(data: float32[N{min=0} 4]) -> (answer: float32[N{min=0} 2])"
        assert artifact({"data": np.ones((5, 4), np.float32)})["answer"].shape == (5, 2)
        assert artifact({"data": np.ones((0, 4), np.float32)})["answer"].shape == (0, 2)
        with pytest.raises(PortValueError, match="data, axis 1"):
            artifact({"data": np.ones((5, 3), np.float32)})


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # torch.jit, which the test itself calls
def test_a_foreign_torchscript_file_is_loaded(tmp_path):
    torch.jit.trace(linear(), torch.ones(1, 4)).save(tmp_path / "f.pt")
    with load(tmp_path / "f.pt") as artifact:
        (answer,) = artifact({"input": np.ones((3, 4), np.float32)}).values()
    assert answer.shape == (3, 2)


def test_weights_left_as_inputs_are_asked_for(tmp_path):
    path = torchport.export(linear(), tmp_path / "w.onnx", input_types={"input": ("batch 4", "float32")}, export_params=False).path
    module = linear()
    assert verify(path, module, input_types={"input": ("batch 4", "float32")}).ok
    with load(path) as artifact:
        with pytest.raises(PortValueError, match=r"export_params=False"):
            artifact(input=np.ones((1, 4), np.float32))
        answer = artifact(input=np.ones((1, 4), np.float32), **module.state_dict())
    np.testing.assert_allclose(answer.popitem()[1], module(torch.ones(1, 4)).detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("suffix", FORMATS)
def test_verify_proves_what_export_wrote_and_leaves_the_model_as_it_was(artifacts, suffix):
    model = Scores().train()
    before = state_digest(model)
    proof = verify(artifacts[suffix], model)
    assert proof.ok
    assert len(proof.cases) >= 8
    assert state_digest(model) == before


def test_verify_refuses_other_weights_with_the_proof(artifacts):
    model = Scores()
    with torch.no_grad():
        model.conv.bias[1] += 1e-3
    before = state_digest(model)
    with pytest.raises(ProofError) as caught:
        verify(artifacts["ts"], model)
    assert {finding.kind for finding in caught.value.proof.findings} == {"value"}
    assert state_digest(model) == before


def test_verify_refuses_a_file_that_lost_a_dynamic_axis(model, tmp_path):
    path = torchport.export(model, tmp_path / "static.onnx", use_dynamic_axes=False).path
    with pytest.raises(ProofError, match="baked in"):
        verify(path, model)
    assert verify(path, model, use_dynamic_axes=False).ok


def test_a_foreign_file_is_proved_with_the_ports_that_it_states(tmp_path):
    example = (torch.randn(3, 4),)
    proof = verify(foreign(tmp_path / "f.onnx"), linear(), input_example=example)
    assert len({case.sizes["N"] for case in proof.cases}) >= 4
    with pytest.raises(ProofError):
        verify(foreign(tmp_path / "g.onnx", bias=1e-3), linear(), input_example=example)


def test_a_foreign_file_is_held_against_the_ports_that_the_caller_declares(tmp_path):
    types = {"input_types": {"data": "rows 4"}, "output_types": {"answer": "rows 2"}}
    example = (torch.randn(3, 4),)
    assert verify(foreign(tmp_path / "f.onnx", dims=("rows", 4)), linear(), input_example=example, **types).ok
    with pytest.raises(ProofError, match="rows"):
        verify(foreign(tmp_path / "g.onnx", dims=(3, 4)), linear(), input_example=example, **types)


@pytest.mark.parametrize("called", ["rows", "batch_size", "dim0", None, 3])
def test_the_axes_of_a_foreign_file_are_known_by_their_places(tmp_path, called):
    types = {"input_types": {"data": "rows 4"}, "output_types": {"answer": "rows 2"}}
    path, example = foreign(tmp_path / "f.onnx", dims=(called, 4)), (torch.randn(3, 4),)
    if called == 3:
        with pytest.raises(ProofError, match="`rows` was baked in at 3"):
            verify(path, linear(), input_example=example, **types)
    else:
        assert len({case.sizes["rows"] for case in verify(path, linear(), input_example=example, **types).cases}) > 3


def test_a_foreign_file_may_leave_open_what_is_declared_fixed(tmp_path):
    types = {"input_types": {"data": "rows 4"}, "output_types": {"answer": "rows 2"}}
    assert verify(foreign(tmp_path / "f.onnx", dims=("n", "width")), linear(), input_example=(torch.randn(3, 4),), **types).ok


def test_hints_of_verify_are_of_use_to_it(tmp_path):
    types = {"input_types": {"data": "rows 4"}, "output_types": {"answer": "rows 2"}}
    with pytest.raises(ProofError) as caught:
        verify(foreign(tmp_path / "f.onnx", dims=(5, 4)), linear(), input_example=(torch.randn(3, 4),), **types)
    assert caught.value.hint == "look at this first: `rows` is fixed in the file at 5"
    with pytest.raises(ProofError) as caught:
        verify(foreign(tmp_path / "g.onnx", bias=0.5), linear(), input_example=(torch.randn(3, 4),), **types)
    assert "strategy" not in caught.value.hint
    assert "is this the model that the file was made from" in caught.value.hint


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(4, 3, 3, padding=1)

    def forward(self, x, mask):
        return self.conv(x) * mask[:, None], mask.sum(1)


@pytest.mark.parametrize("declared", ["nothing", "inputs", "both"])
@pytest.mark.parametrize("output", ["steps", "time", "flags", "batch"])
def test_a_foreign_file_may_call_one_axis_differently_in_each_port_but_no_two_axes_alike(tmp_path, output, declared):
    path, example = tmp_path / "f.onnx", (torch.randn(2, 4, 11), torch.ones(2, 11))
    axes = {"x": {0: "batch", 2: "time"}, "mask": {0: "batch", 1: "flags"}, "y": {0: "batch", 2: output}, "n": {0: "batch"}}
    names = {"input_names": ["x", "mask"], "output_names": ["y", "n"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the trace-based exporter, which is what others use
        torch.onnx.export(Masked().eval(), example, path, dynamo=False, dynamic_axes=axes, **names)
    types = {"input_types": {"x": "batch 4 time", "mask": "batch flags"}, "output_types": {"y": f"batch 3 {output}", "n": "batch"}}
    given = {"nothing": {}, "inputs": {"input_types": types["input_types"]}, "both": types}[declared]
    if output == "batch":
        with pytest.raises(TorchportError, match="batch"):
            verify(path, Masked(), input_example=example, **given)
    else:
        assert verify(path, Masked(), input_example=example, **given).ok


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Scores(), Half()

    def list_export_subnets(self):
        return ["encoder", "decoder"]


class Half(nn.Module):
    input_types = {"x": ("batch 3", "float32")}

    def forward(self, x):
        return x / 2


def test_the_file_name_tells_the_subnet(tmp_path):
    pair = Pair()
    first, second = torchport.export(pair, tmp_path / "m.onnx").paths
    assert verify(first, pair).ok
    assert verify(second, pair).ok
    renamed = second.rename(tmp_path / "renamed.onnx")
    with pytest.raises(OptionError, match="subnet="):
        verify(renamed, pair)
    assert verify(renamed, pair, subnet="decoder").ok
    with pytest.raises(OptionError, match="encoder, decoder"):
        verify(renamed, pair, subnet="decodr")


@pytest.mark.parametrize(("arguments", "told"), [({"check_tolerance": 0}, "check_tolerance"), ({"module": 3}, "torch.nn.Module")])
def test_verify_refuses_arguments_that_mean_nothing(artifacts, model, arguments, told):
    with pytest.raises(OptionError, match=told):
        verify(**{"path": artifacts["onnx"], "module": model, **arguments})


def test_verify_refuses_what_is_no_onnx_file(tmp_path):
    (tmp_path / "b.onnx").write_bytes(b"\x99nothing")
    with pytest.raises(RuntimeFailure, match=r"b\.onnx"):
        verify(tmp_path / "b.onnx", linear(), input_example=(torch.ones(2, 4),))


def test_two_threads_verify_at_once(artifacts):
    proofs = []
    models = [Scores(), Scores()]  # made here: both threads would draw their weights from the one generator
    threads = [threading.Thread(target=lambda model=model: proofs.append(verify(artifacts["onnx"], model))) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [proof.ok for proof in proofs] == [True, True]


def test_the_public_names_are_the_functions_after_everything_is_imported():
    assert torchport.verify is verify
    assert torchport.load is load


@pytest.mark.parametrize("timeout", [-1.0, 0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["onnx", "ts"])
def test_a_timeout_that_is_none_is_refused(artifacts, kind, timeout):
    with pytest.raises(OptionError, match="timeout is in seconds"):
        load(artifacts[kind], timeout=timeout)
    with pytest.raises(OptionError, match="timeout is in seconds"):
        verify(artifacts[kind], Scores(), timeout=timeout)
