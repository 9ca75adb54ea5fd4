"""Planted faults are found, each with its kind and cause; their correct twins pass."""

from __future__ import annotations

import dataclasses

import onnx
import pytest
import torch
from torch import nn

import torchport
from torchport.errors import ProofError
from torchport.verification import prove
from torchport.verification._records import Finding

X = {"x": ("batch 4 time", "float32")}
Y = {"y": ("batch time", "float32")}
SIZES = {"batch": 3, "time": 37}
SEEDS = (0, 1, 2)


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def kinds(proof):
    return {finding.kind for finding in proof.findings}


def causes(proof):
    return " ".join(finding.cause for finding in proof.findings)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "right",
    [
        lambda x: x.sum(1) + torch.arange(x.shape[2], device=x.device),
        lambda x: x.mean(1).cumsum(1),
        lambda x: torch.softmax(x, 1).amax(1) + 1e-3,
        lambda x: x[:, 0] * x[:, 1] - x[:, 2],
        lambda x: torch.where(x[:, 0] > 0, x[:, 1], torch.full_like(x[:, 1], float("-inf"))),
        lambda x: torch.log(x[:, 0]),
    ],
)
def test_a_correct_artifact_passes(bench, right, seed):
    proof = bench(Of(right), X, Y, SIZES, seed=seed).proof()
    assert proof.ok, proof.table()
    assert len(proof.cases) >= 9
    assert proof.worst_error <= 1e-5


class Recurrent(nn.Module):
    """An LSTM whose initial state is made for the batch at hand, or for the traced one."""

    def __init__(self, batch=None):
        super().__init__()
        torch.manual_seed(5)
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.batch = batch

    def forward(self, x):
        x = x.transpose(1, 2)
        state = x.new_zeros(1, self.batch or x.shape[0], 6)
        return self.lstm(x, (state, state))[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_initial_state_for_the_traced_batch_is_found_and_its_twin_passes(bench, seed):
    model = bench(Recurrent(), X, {"y": ("batch time 6", "float32")}, SIZES, seed=seed)
    assert model.proof().ok
    proof = model.proof(Recurrent(batch=3))
    assert not proof.ok
    assert all(finding.sizes.get("batch") != 3 for finding in proof.findings)


TABLE = torch.arange(60) * 0.5

FAULTS = {
    "a positional range of the traced length": (
        lambda x: x.sum(1) + torch.arange(x.shape[2]),
        lambda x: x.sum(1) + torch.arange(37),
        "`time` was baked in at 37",
    ),
    "a mean over the traced length": (
        lambda x: x[:, 0] / x.shape[2],
        lambda x: x[:, 0] / 37,
        "`time` was baked in at 37: node Div",
    ),
    "a batch that is baked into a reshape": (
        lambda x: x.sum(1) * 2,
        lambda x: x.sum(1).reshape(3, -1) * 2,
        "`batch` was baked in at 3: node Reshape",
    ),
    "a positional table shorter than the axis": (
        lambda x: x.sum(1) + torch.arange(500)[: x.shape[2]] * 0.5,
        lambda x: x.sum(1) + TABLE[: x.shape[2]],
        "60 rows",
    ),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_baked_size_is_found_with_its_cause(bench, name, seed):
    right, wrong, cause = FAULTS[name]
    model = bench(Of(right), X, Y, SIZES, seed=seed)
    assert model.proof().ok
    proof = model.proof(Of(wrong))
    assert not proof.ok
    assert cause in causes(proof)
    assert "example" not in {case.label for case in proof.cases if case.findings}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_weight_is_found(bench, seed):
    class Linear(nn.Module):
        def __init__(self, nudge):
            super().__init__()
            torch.manual_seed(3)
            self.layer = nn.Linear(4, 2)
            with torch.no_grad():
                self.layer.weight[1, 2] += nudge

        def forward(self, x):
            return self.layer(x.transpose(1, 2))

    model = bench(Linear(0.0), X, {"y": ("batch time 2", "float32")}, SIZES, seed=seed)
    assert model.proof(Linear(0.0)).ok
    proof = model.proof(Linear(1e-3))
    assert kinds(proof) == {"value"}
    assert all(finding.index[2] == 1 for finding in proof.findings)


def test_dropout_left_on_in_the_file_is_found(bench):
    model = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    reference = model.reference()
    artifact = model.onnx(reference=reference)
    graph = onnx.load(artifact.path)
    node = graph.graph.node[-1]
    node.output[0] = "before"
    graph.graph.node.append(onnx.helper.make_node("RandomUniformLike", ["before"], ["noise"], name="noise"))
    graph.graph.node.append(onnx.helper.make_node("Mul", ["before", "noise"], ["y"], name="drop"))
    onnx.save(graph, artifact.path)
    assert kinds(prove(artifact, reference, model.export_options)) == {"value"}


def test_a_lost_nan_pattern_is_found(bench):
    model = bench(Of(lambda x: torch.log(x[:, 0])), X, Y, SIZES)
    assert model.proof().ok
    assert "pattern" in kinds(model.proof(Of(lambda x: torch.log(x[:, 0].clamp(min=1e-9)))))


def test_another_dtype_is_found_in_the_file_and_in_the_answers(bench):
    proof = bench(Of(lambda x: x.sum(1)), X, Y, SIZES).proof(Of(lambda x: x.sum(1).double()))
    assert kinds(proof) == {"dtype"}
    assert {bool(finding.sizes) for finding in proof.findings} == {True, False}


def test_swapped_outputs_are_found_and_named(bench):
    outputs = {"low": ("batch time", "float32"), "high": ("batch time", "float32")}
    model = bench(Of(lambda x: (x.amin(1), x.amax(1))), X, outputs, SIZES)
    assert model.proof().ok
    proof = model.proof(Of(lambda x: (x.amax(1), x.amin(1))))
    assert "the file gives output `high` under the name `low`" in causes(proof)


def test_swapped_inputs_are_found(bench):
    inputs = {"a": ("batch time", "float32"), "b": ("batch time", "float32")}
    model = bench(Of(lambda a, b: a - b), inputs, Y, SIZES)
    assert model.proof().ok
    assert kinds(model.proof(Of(lambda a, b: b - a))) == {"value"}


def test_permuted_channels_of_an_output_are_found(bench):
    outputs = {"y": ("batch 4 time", "float32")}
    assert kinds(bench(Of(lambda x: x * 2), X, outputs, SIZES).proof(Of(lambda x: x.flip(1) * 2))) == {"value"}


def test_a_result_that_is_broadcast_is_a_shape_difference(bench):
    proof = bench(Of(lambda x: x.sum(1)), X, Y, SIZES).proof(Of(lambda x: x.sum(1)[:1]))
    assert "shape" in kinds(proof)


def test_an_axis_that_is_fixed_in_the_file_is_found(bench):
    model = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    proof = model.proof(dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}})
    assert "axis" in kinds(proof)
    assert "`time` was baked in at 37" in causes(proof)


def test_an_axis_under_another_name_is_found(bench):
    model = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    proof = model.proof(dynamic_axes={"x": {0: "batch", 2: "s18"}, "y": {0: "batch", 1: "s18"}})
    assert kinds(proof) == {"axis"}
    assert {finding.got for finding in proof.findings} == {"s18 in the file"}


def test_others_may_call_an_axis_as_they_like(bench):
    model = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    reference = model.reference()
    artifact = model.onnx(reference=reference, dynamic_axes={"x": {0: "batch", 2: "s18"}, "y": {0: "batch", 1: "s18"}})
    assert prove(dataclasses.replace(artifact, metadata={}), reference, model.export_options).ok


def test_a_wrong_static_size_in_the_file_is_found(bench):
    model = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    reference = model.reference()
    artifact = model.onnx(reference=reference)
    graph = onnx.load(artifact.path)
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    onnx.save(graph, artifact.path)
    proof = prove(artifact, reference, model.export_options)
    assert any(finding.kind == "axis" and "size 4" in finding.expected for finding in proof.findings)


def test_other_names_in_the_file_are_found(bench):
    proof = bench(Of(lambda x: x.sum(1)), X, Y, SIZES).proof(output_names=["z"], dynamic_axes={"x": {0: "batch", 2: "time"}})
    (finding,) = proof.findings
    assert (finding.kind, finding.expected, finding.got) == ("names", "outputs y", "z")
    assert proof.cases == ()
    with pytest.raises(ProofError, match="has other ports than the model") as caught:
        proof.raise_if_failed()
    assert caught.value.hint.startswith("the file has other names of outputs: y is z there; declare output_types")


def test_a_file_that_the_runtime_refuses_is_a_finding_not_a_crash(bench):
    model = bench(Of(lambda x: x.sum(1)), X, Y, SIZES)
    reference = model.reference()
    artifact = model.onnx(reference=reference)
    artifact.path.write_bytes(artifact.path.read_bytes()[:-20])
    proof = prove(artifact, reference, model.export_options)
    assert kinds(proof) == {"runtime"}
    assert proof.cases == ()


def test_a_failed_proof_raises_with_its_table_and_its_record(bench):
    proof = bench(Of(lambda x: x[:, 0] / x.shape[2]), X, Y, SIZES).proof(Of(lambda x: x[:, 0] / 37))
    with pytest.raises(ProofError) as caught:
        proof.raise_if_failed()
    text = str(caught.value)
    assert caught.value.proof is proof
    for word in ("port", "sizes", "worst element", "expected", "got", "look at this first", "batch 1, time 1", "baked in at 37"):
        assert word in text
    assert proof.to_dict()["ok"] is False
    assert proof.to_dict()["findings"][0]["kind"] == "value"


def test_a_long_table_is_cut_and_the_record_is_not(bench):
    outputs = {"y": ("batch time", "float32"), "z": ("batch time", "float32")}
    proof = bench(Of(lambda x: (x.sum(1), x.amax(1))), X, outputs, SIZES).proof(Of(lambda x: (x.sum(1) * 2, x.amax(1) * 2)))
    assert len(proof.findings) == 2 * len([case for case in proof.cases if case.label != "zeros"])
    assert f"and {len(proof.findings) - 12} more" in proof.table()


def test_findings_that_are_the_same_in_every_case_are_one_row_and_the_record_has_each(bench):
    proof = bench(Of(lambda x: x.sum(1)), X, Y, SIZES).proof()
    same = [Finding("runtime", "y", {"batch": size}, "an answer", "a very long reason", cause="no such kernel") for size in range(1, 21)]
    other = [Finding("runtime", "y", {"batch": size}, "an answer", f"reason {size}", cause="no such kernel") for size in range(30, 45)]
    table = dataclasses.replace(proof, findings=(*same, *other)).table()
    assert table.count("a very long reason") == 1
    assert "batch 1 and 19 more cases alike" in table
    assert "and 4 more" in table.splitlines()[-2]
    assert len(dataclasses.replace(proof, findings=tuple(same)).to_dict()["findings"]) == 20
    assert "batch 1 and 1 more case alike" in dataclasses.replace(proof, findings=tuple(same[:2])).table()


def test_a_proof_that_holds_says_at_how_many_sizes(bench):
    proof = bench(Of(lambda x: x.sum(1)), X, Y, SIZES).proof()
    proof.raise_if_failed()
    assert f"equals the model in onnxruntime at {len(proof.cases)} sizes" in proof.summary()
    assert "worst error" in proof.table()
    assert proof.to_dict()["ok"] is True
    assert len(proof.to_dict()["cases"]) == len(proof.cases)


def test_an_argmax_that_ties_is_refused_with_that_reason_and_proved_when_ties_are_allowed(bench):
    def best(x):
        return torch.cat([x * 1.5, x * 1.5], 1).argmax(1)

    outputs = {"y": ("batch time", "int64")}

    def other(x):
        return torch.cat([x * 1.5, x * 1.5], 1).flip(1).argmax(1).neg() + 7

    proof = bench(Of(best), X, outputs, SIZES).proof(Of(other))
    assert kinds(proof) == {"tie"}
    assert "allow_ties=True" in causes(proof)
    allowed = bench(Of(best), X, outputs, SIZES, options={"allow_ties": True}).proof(Of(other))
    assert allowed.ok, allowed.table()
    assert any(note.startswith("allowed:") for note in allowed.notes)


def test_another_index_that_is_no_tie_stays_a_failure_even_when_ties_are_allowed(bench):
    outputs = {"y": ("batch time", "int64")}
    model = bench(Of(lambda x: x.argmax(1)), X, outputs, SIZES, options={"allow_ties": True})
    assert model.proof().ok
    assert kinds(model.proof(Of(lambda x: x.argmin(1)))) == {"value"}


def test_an_ill_conditioned_output_is_held_to_its_own_noise(bench):
    def cancelling(x):
        return (x.sum(1) * 1e4 + 1e7) - 1e7

    proof = bench(Of(cancelling), X, Y, SIZES).proof(Of(lambda x: (x[:, 0] + x[:, 1] + x[:, 2] + x[:, 3]) * 1e4))
    assert proof.noise["y"] > 1e-6
    assert proof.ok, proof.table()


def angle(x, y):
    return torch.acos(nn.functional.cosine_similarity(x, y, dim=-1))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_angle_of_none_is_decided_by_rounding_and_refuses_nothing(bench, seed):
    torch.manual_seed(seed)
    rows = torch.randn(4, 16)
    example = {"x": rows, "y": torch.where(torch.arange(4)[:, None] < 2, rows, rows.flip(0))}
    inputs = dict.fromkeys(example, ("batch 16", "float32"))
    model = bench(Of(angle), inputs, {"angle": ("batch", "float32")}, {}, example=example)
    proof = model.proof()
    assert proof.ok, proof.table()
    assert not model.proof(Of(lambda x, y: angle(x, y) + 1e-3)).ok
    assert not model.proof(Of(lambda x, y: angle(x, y).clamp(max=1.2))).ok


def test_another_way_to_round_a_half_is_no_matter_of_rounding(bench):
    example = {"x": torch.arange(24).reshape(2, 12) / 2 - 3}
    model = bench(Of(torch.round), {"x": ("batch time", "float32")}, Y, {}, example=example)
    assert model.proof().ok
    assert kinds(model.proof(Of(lambda x: torch.floor(x + 0.5)))) == {"value"}


@pytest.mark.parametrize("call", [torch.sort, lambda x: torch.topk(x, 3, -1)])
def test_indices_of_an_example_that_is_needed_more_than_once_do_not_tie(tmp_path, call):
    torch.manual_seed(0)
    x = torch.randn(3, 37)
    assert torchport.export(Of(call), tmp_path / "m.onnx", input_example=(x,), input_types={"tensors_0": "batch time"}).proof.ok


def test_weights_as_inputs_are_fed(bench):
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(x.transpose(1, 2))

    model = bench(Linear(), X, {"y": ("batch time 2", "float32")}, SIZES)
    reference = model.reference()
    artifact = model.onnx(reference=reference, export_params=False, do_constant_folding=False, input_names=None)
    graph = onnx.load(artifact.path)
    names = [value.name for value in graph.graph.input]
    feeds = {name: parameter.detach().numpy() for name, parameter in model.module.named_parameters() if name in names}
    assert feeds
    for node in graph.graph.node:
        for index, name in enumerate(node.input):
            if name == names[0]:
                node.input[index] = "x"
    graph.graph.input[0].name = "x"
    for index, symbol in ((0, "batch"), (2, "time")):
        graph.graph.input[0].type.tensor_type.shape.dim[index].dim_param = symbol
    onnx.save(graph, artifact.path)
    proof = prove(artifact, reference, model.export_options, feeds=feeds)
    assert proof.ok, proof.table()
    wrong = {name: array + 1 for name, array in feeds.items()}
    assert not prove(artifact, reference, model.export_options, feeds=wrong).ok


def test_an_unused_input_that_the_file_dropped_is_no_finding_when_it_is_reported(bench):
    inputs = {"x": ("batch time", "float32"), "unused": ("batch", "float32")}
    model = bench(Of(lambda x, unused: x * 2), inputs, Y, SIZES)
    reference = model.reference()
    artifact = model.onnx(reference=reference)
    assert [value.name for value in onnx.load(artifact.path).graph.input] == ["x"]
    (finding,) = prove(artifact, reference, model.export_options).findings
    assert finding.kind == "names"
    assert finding.cause.startswith("the file has no input unused; exporters drop")
    assert prove(dataclasses.replace(artifact, unused_inputs=("unused",)), reference, model.export_options).ok


def test_without_verify_the_callers_examples_alone_are_checked_within_check_tolerance(bench):
    model = bench(Of(lambda x: x.sum(1)), X, Y, SIZES, options={"verify": False, "check_trace": True})
    assert model.proof(Of(lambda x: x.sum(1) * 1.005)).ok
    proof = model.proof(Of(lambda x: x.sum(1) * 1.02))
    assert [case.label for case in proof.cases] == ["example"]
    assert kinds(proof) == {"value"}


def test_the_file_is_checked_against_output_example_too(bench):
    model = bench(Of(lambda x: x.sum(1)), X, Y, SIZES, options={"check_tolerance": 0.1})
    stated = {"y": model.example["x"].sum(1) * 1.09}
    reference = model.reference(output_example=stated)
    assert prove(model.onnx(reference=reference), reference, model.export_options).ok
    strict = dataclasses.replace(model.export_options, check_tolerance=0.01)
    assert kinds(prove(model.onnx(reference=reference), reference, strict)) == {"example"}


def test_a_file_that_answers_where_the_model_refuses_is_refused(bench):
    def limited(x):
        if not torch.jit.is_tracing() and x.shape[2] > 50:
            raise ValueError("too long")
        return x.sum(1)

    proof = bench(Of(limited), X, Y, SIZES).proof()
    assert not proof.ok
    assert {finding.kind for finding in proof.findings} == {"range"}
    assert proof.ranges == {"time": (1, 50)}
    assert "max=" in proof.findings[0].cause


@pytest.mark.parametrize(
    ("refused", "cause"),
    [
        (lambda size: size % 4, "declare time{multiple_of=4}: where"),
        (lambda size: size > 50 or size < 5, "declare time{min=5,max=50}: where"),
    ],
)
def test_what_a_file_does_not_keep_is_told_as_a_declaration(bench, refused, cause):
    def limited(x):
        if not torch.jit.is_tracing() and refused(x.shape[2]):
            raise ValueError("no such size")
        return x.sum(1)

    proof = bench(Of(limited), X, Y, {**SIZES, "time": 40}).proof()
    assert proof.findings[0].kind == "range"
    assert proof.findings[0].cause.startswith(cause)


def test_a_relation_that_a_file_does_not_keep_is_told(bench):
    def related(x, z):
        if not torch.jit.is_tracing() and x.shape[2] > z.shape[2]:
            raise ValueError("more than that")
        return x.sum(2) + z.sum(2)

    ports = {"x": ("batch 4 asked", "float32"), "z": ("batch 4 given", "float32")}
    proof = bench(Of(related), ports, {"y": ("batch 4", "float32")}, {"batch": 3, "asked": 7, "given": 9}).proof()
    assert {finding.kind for finding in proof.findings} == {"range"}
    assert "asked must be at most given" in proof.findings[0].cause


def test_a_file_that_refuses_where_the_model_refuses_is_silent(bench):
    proof = bench(nn.Conv1d(4, 6, 9), X, {"y": ("batch 6 frames", "float32")}, SIZES).proof()
    assert proof.ok, proof.table()
    assert proof.ranges == {"time": (9, None)}
    assert proof.notes == ()
