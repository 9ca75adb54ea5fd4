"""Mutants are made, undone and judged; what the proof would not have noticed is said."""

from __future__ import annotations

import dataclasses
import hashlib
import random

import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from power_makers import TYPES, Net, make
from torch import nn

import torchport
from torchport.errors import OptionError
from torchport.ports.extremes import EXTREMES
from torchport.verification import prove
from torchport.verification.power import Mutant, Power, Witnesses, prove_with_power
from torchport.verification.power._base import Mutation
from torchport.verification.power._choose import choose
from torchport.verification.power.run import least_noticed

WEIGHTS = {"weight scaled", "element changed", "weights exchanged"}
PORTS = {"inputs swapped", "outputs permuted"}
CONSTANTS = {"integer constant moved", "float constant changed"}
KINDS = {
    ".onnx": WEIGHTS | PORTS | CONSTANTS | {"node dropped", "attribute changed", "axis frozen", "shape frozen"},
    ".ts": WEIGHTS | PORTS | CONSTANTS | {"node dropped", "axis frozen"},
    ".pt2": WEIGHTS | PORTS | CONSTANTS | {"node dropped"},
}


def digest(paths):
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The artifact of each format, made once."""
    artifacts = {}

    def get(suffix):
        if suffix not in artifacts:
            artifacts[suffix] = make(tmp_path_factory.mktemp("made"), suffix)
        return artifacts[suffix]

    return get


@pytest.mark.parametrize("suffix", KINDS)
def test_every_kind_of_mutation_changes_the_file_and_is_undone(made, suffix, tmp_path):
    one = made(suffix)
    artifact = digest(one.artifact.paths)
    workshop = one.workshop(tmp_path / "work")
    before = digest(workshop.unchanged)
    mutations = workshop.mutations()
    assert {mutation.kind for mutation in mutations} == KINDS[suffix]
    for mutation in mutations:
        with mutation.made() as paths:
            assert digest(paths) != before, mutation
        assert digest(workshop.unchanged) == before, mutation
    assert digest(one.artifact.paths) == artifact


@pytest.mark.parametrize(("suffix", "mutants"), [(".onnx", 50), (".ts", 36), (".pt2", 10)])
def test_every_mutant_with_an_effect_is_killed(made, suffix, mutants):
    one = made(suffix)
    proof = prove_with_power(one.artifact, one.reference, one.witnesses, dataclasses.replace(one.options, power=mutants))
    assert proof.ok, proof.table()
    power = proof.power
    assert power.ok, power.survivors
    assert power.kill_rate == 1
    assert len(power.mutants) == mutants
    assert power.killed > mutants / 2
    assert {mutant.kind for mutant in power.mutants} == KINDS[suffix]
    assert power.witnesses >= 2 * len(one.reference.cases)
    assert all(least.scaled is None or 0 < least.scaled < 1e-3 for least in power.smallest)
    assert any(least.element is not None and least.element < 1e-3 for least in power.smallest)


def test_a_weight_that_no_output_needs_is_equivalent(made):
    one = made(".onnx")
    proof = prove_with_power(one.artifact, one.reference, one.witnesses, dataclasses.replace(one.options, power=60))
    dead = [mutant for mutant in proof.power.mutants if mutant.where.startswith("dead")]
    assert {mutant.kind for mutant in dead} >= {"weight scaled", "element changed"}
    assert all(mutant.verdict == "equivalent" and mutant.effect <= 1 for mutant in dead)


def test_a_proof_that_compares_loosely_leaves_survivors(made):
    one = made(".onnx")
    loose = dataclasses.replace(one.options, verify=False, check_tolerance=100.0, power=40)
    power = prove_with_power(one.artifact, one.reference, one.witnesses, loose).power
    assert not power.ok
    assert power.kill_rate < 0.5
    survivor = power.survivors[0]
    assert survivor.verdict == "survived"
    assert survivor.effect > 1e3
    kinds = {mutant.kind for mutant in power.survivors}
    assert kinds >= {"weight scaled", "element changed", "weights exchanged", "inputs swapped"}


def test_cases_of_one_size_leave_a_frozen_shape_unnoticed_and_the_note_says_so(made):
    one = made(".onnx")
    blind = dataclasses.replace(one.reference, cases=one.reference.cases[:1], refusals=())
    proof = prove_with_power(one.artifact, blind, one.witnesses, dataclasses.replace(one.options, power=50))
    frozen = [mutant for mutant in proof.power.mutants if mutant.kind == "shape frozen"]
    assert frozen
    assert {mutant.verdict for mutant in frozen} == {"survived"}
    assert any(note.startswith("weak: ") and "shape frozen" in note for note in proof.notes)


class Clipped(Net):
    """Wrong above a limit."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, x, y):
        return super().forward(torch.where(x > self.limit, self.limit, x), y)


def test_the_artifact_itself_is_held_against_the_witnesses(made, tmp_path):
    one = made(".onnx")
    usual = [case for case in (*one.reference.cases, *one.witnesses.usual) if case.label not in EXTREMES]
    largest = sorted(float(case.inputs["x"].max()) for case in usual)
    limit = (largest[0] + largest[-1]) / 2
    low = tuple(case for case in one.reference.cases if case.inputs["x"].max() < limit)
    faulty = make(tmp_path, ".onnx", lambda: Clipped(limit))
    few = dataclasses.replace(one.reference, cases=low, refusals=())
    assert prove(faulty.artifact, few, one.options).ok
    proof = prove_with_power(faulty.artifact, few, one.witnesses, one.options)
    assert not proof.ok
    assert proof.power is None
    assert {(finding.kind, finding.port) for finding in proof.findings} >= {("value", "c")}


class Limited(nn.Module):
    """A limit that usual numbers do not reach; a resize, whose factors a runtime reads while it loads."""

    def __init__(self, limit=20.0):
        super().__init__()
        self.limit = limit
        self.scale = nn.Parameter(torch.full((6, 1), 0.5))

    def forward(self, x, y):
        longer = nn.functional.interpolate(x * self.scale, scale_factor=2.0)
        return x.clamp(max=self.limit), y, longer.flatten(1)


def test_a_limit_that_only_driven_values_reach_is_a_survivor(tmp_path):
    one = make(tmp_path, ".onnx", Limited)
    usual = dataclasses.replace(one.reference, cases=one.reference.cases[:4], refusals=())
    power = prove_with_power(one.artifact, usual, one.witnesses, dataclasses.replace(one.options, power=40)).power
    limits = [mutant for mutant in power.mutants if "20 to 30" in mutant.change]
    assert [mutant.verdict for mutant in limits] == ["survived"]
    unseen = dataclasses.replace(one.witnesses, driven=())
    power = prove_with_power(one.artifact, usual, unseen, dataclasses.replace(one.options, power=40)).power
    assert [mutant.verdict for mutant in power.mutants if "20 to 30" in mutant.change] == ["equivalent"]


def test_driven_values_that_the_artifact_answers_otherwise_do_not_count(tmp_path):
    one = make(tmp_path, ".onnx", Limited)
    usual = dataclasses.replace(one.reference, cases=one.reference.cases[:4], refusals=())
    (tmp_path / "other").mkdir()
    other = make(tmp_path / "other", ".onnx", lambda: Limited(30.0))
    proof = prove_with_power(other.artifact, usual, one.witnesses, one.options)
    assert proof.ok
    assert len(one.witnesses.usual) <= proof.power.witnesses < len(one.witnesses.usual) + len(one.witnesses.driven)


def test_large_and_external_weights_are_taken_apart_and_still_prove(tmp_path):
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Linear(6, 700)
            self.down = nn.Linear(700, 6)

        def forward(self, x, y):
            a = self.down(self.up(x.transpose(1, 2))).transpose(1, 2)
            return a, a + y, x.flatten(1)

    one = make(tmp_path, ".onnx", Wide)
    inside = prove_with_power(one.artifact, one.reference, one.witnesses, one.options).power
    assert inside.kill_rate == 1
    model = onnx.load(one.artifact.path)
    folder = tmp_path / "outside"
    folder.mkdir()
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    outside = dataclasses.replace(one.artifact, paths=(folder / "m.onnx", folder / "m.data"))
    data = digest(outside.paths)
    power = prove_with_power(outside, one.reference, one.witnesses, one.options).power
    assert power.kill_rate == 1
    assert [mutant.verdict for mutant in power.mutants] == [mutant.verdict for mutant in inside.mutants]
    assert digest(outside.paths) == data


def test_weights_that_are_inputs_are_not_mutated_and_the_note_says_so(tmp_path):
    example = (torch.randn(3, 6, 5), torch.randn(3, 6, 5))
    types = {"input_types": TYPES["inputs"], "output_types": TYPES["outputs"]}
    result = torchport.export(Net().eval(), tmp_path / "m.onnx", input_example=example, power=12, export_params=False, **types)
    power = result.proof.power
    assert power.notes == ("the file holds no weights: its graph alone was mutated",)
    assert power.smallest == ()
    assert not {mutant.kind for mutant in power.mutants} & WEIGHTS
    assert power.kill_rate == 1


def test_a_format_without_mutations_says_so(made):
    one = made(".onnx")
    foreign = dataclasses.replace(one.artifact, format="foreign")
    power = prove_with_power(foreign, one.reference, Witnesses(), one.options).power
    assert power.mutants == ()
    assert "not supported" in power.notes[0]
    assert not power.ok


def test_large_tensors_that_are_not_plain_bytes_are_not_supported(made, tmp_path):
    one = made(".onnx")
    model = onnx.load(one.artifact.path)
    model.graph.initializer.append(onnx.helper.make_tensor("unused", onnx.TensorProto.FLOAT, [3000], [1.0] * 3000))
    onnx.save(model, tmp_path / "m.onnx")
    power = prove_with_power(dataclasses.replace(one.artifact, paths=(tmp_path / "m.onnx",)), one.reference, Witnesses(), one.options).power
    assert "'unused' is not stored as plain bytes" in power.notes[0]


def test_the_same_seed_makes_the_same_mutants(made, tmp_path):
    one = made(".onnx")

    def chosen(seed, folder):
        return [(m.kind, m.where, m.change) for m in choose(one.workshop(folder, seed).mutations(), 20, random.Random(seed))]

    assert chosen(0, tmp_path / "a") == chosen(0, tmp_path / "b")
    assert chosen(0, tmp_path / "a") != chosen(1, tmp_path / "c")


def unmade():
    raise AssertionError


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 60), st.integers(0, 3))
def test_the_budget_is_spread_over_the_kinds(counts, budget, seed):
    mutations = [Mutation(f"kind {kind}", str(place), "", unmade) for kind, count in enumerate(counts) for place in range(count)]
    chosen = choose(mutations, budget, random.Random(seed))
    assert len(chosen) == min(budget, len(mutations))
    assert len({(one.kind, one.where) for one in chosen}) == len(chosen)
    shares = [sum(one.kind == f"kind {kind}" for one in chosen) for kind in range(len(counts))]
    for share, count in zip(shares, counts, strict=True):
        assert share == count or share >= max(shares) - 1


@given(st.floats(1e-9, 3.0))
def test_the_least_noticed_change_is_the_last_step_above_the_threshold(threshold):
    least = least_noticed(lambda amount: amount >= threshold)
    if threshold > 1:
        assert least is None
    else:
        assert least >= threshold
        assert least / 10**0.5 < threshold or least < 2e-7


def test_the_record_counts_by_kind_and_says_its_weakness():
    mutants = (
        Mutant("weight scaled", "w", "times 1.1", "killed", "value of y"),
        Mutant("weight scaled", "v", "times 1.1", "equivalent", effect=0.2),
        Mutant("node dropped", "Relu", "gives its input", "survived", effect=float("inf")),
    )
    power = Power(mutants)
    assert power.summary() == "1 of 2 mutants noticed; 1 more change no output beyond its tolerance"
    assert not power.ok
    assert power.by_kind["weight scaled"].killed == 1
    assert power.to_dict()["mutants"][2]["effect"] == "infinite"
    assert Power(mutants[1:2]).summary() == "no power shown: none of 1 mutants changes an output beyond its tolerance"


def test_an_export_with_power_has_it_in_its_proof(tmp_path):
    example = (torch.randn(3, 6, 5), torch.randn(3, 6, 5))
    types = {"input_types": TYPES["inputs"], "output_types": TYPES["outputs"]}
    model = Net().eval()
    result = torchport.export(model, tmp_path / "m.onnx", input_example=example, power=12, **types)
    assert len(result.proof.power.mutants) == 12
    assert result.to_dict()["artifacts"][0]["proof"]["power"]["kill_rate"] == 1
    proof = torchport.verify(tmp_path / "m.onnx", model, input_example=example, power=5, **types)
    assert len(proof.power.mutants) == 5
    assert torchport.verify(tmp_path / "m.onnx", model, input_example=example, **types).power is None


@pytest.mark.parametrize(
    ("arguments", "found"),
    [({"power": -1}, "-1"), ({"power": "much"}, "much"), ({"power": True, "verify": False}, "True")],
)
def test_a_power_that_makes_no_sense_is_refused(tmp_path, arguments, found):
    with pytest.raises(OptionError, match="power") as caught:
        torchport.export(Net(), tmp_path / "m.onnx", **arguments)
    assert found in str(caught.value)
    assert list(tmp_path.iterdir()) == []
