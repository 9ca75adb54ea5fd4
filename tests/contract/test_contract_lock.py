"""The lock: the same bytes for the same contract, read back as it was, and no garbled or hostile file gets through."""

import json

import onnx
import pytest
import torch
from contract_makers import contract
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import torchport
from torchport import NeuralType
from torchport.contract import (
    AxisTerm,
    Contract,
    PortTerm,
    SizeRange,
    contract_of,
    diff,
    format_lock,
    parse_lock,
    read_contract,
    read_lock,
    write_lock,
)
from torchport.errors import ArtifactExistsError, ContractError, UnusablePathError
from torchport.types import AudioSignal, LogitsType, ProbsType

# -- there and back -----------------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=8)
SIZE = st.integers(0, 2**40)
AXIS = st.builds(AxisTerm, SIZE) | st.builds(AxisTerm, st.none(), st.sampled_from(["s", "t", "größe"])) | st.just(AxisTerm())
PORTS = st.lists(
    st.builds(PortTerm, TEXT, TEXT | st.none(), st.lists(AXIS, max_size=3).map(tuple) | st.none(), TEXT | st.none(), st.booleans()),
    max_size=3,
    unique_by=lambda port: port.name,
).map(tuple)
RANGE = st.builds(SizeRange, st.integers(0, 9), st.none() | st.integers(20, 99), st.integers(1, 5))
DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def contracts(draw):
    inputs, outputs = draw(PORTS), draw(PORTS)
    names = {axis.symbol for port in (*inputs, *outputs) for axis in port.axes or () if axis.symbol}
    return Contract(
        draw(TEXT),
        inputs,
        outputs,
        {name: draw(RANGE) for name in sorted(names)},
        draw(st.dictionaries(TEXT, SIZE, max_size=2)),
        draw(SIZE | st.none()),
        draw(TEXT | st.none()),
        draw(TEXT | st.none()),
        draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        draw(st.dictionaries(st.sampled_from(["weights", "graph", "artifact"]), DIGEST)),
    )


@given(contracts())
def test_a_lock_is_read_back_as_it_was_written(made):
    text = format_lock(made)
    assert text.isascii()
    again = parse_lock(text)
    assert again == made
    assert format_lock(again) == text
    assert len(diff(made, again)) == 0


@given(contracts(), contracts())
def test_any_two_contracts_compare_and_the_opposite_comparison_has_the_opposite_rules(one, other):
    there, back = diff(one, other), diff(other, one)
    assert sorted(change.rule.reverse for change in there) == sorted(change.rule.id for change in back)


def test_a_lock_is_written_whole_and_never_over_another_one(tmp_path):
    path = tmp_path / "m.contract.json"
    first, second = contract("x: int8 [batch]"), contract("x: int8 [time]")
    write_lock(first, path)
    before = path.stat()
    write_lock(first, path)
    assert path.stat() == before
    with pytest.raises(ArtifactExistsError):
        write_lock(second, path)
    assert read_lock(path) == first
    write_lock(second, path, overwrite=True)
    assert read_contract(path) == second
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_does_not_take_the_extension_of_an_artifact(tmp_path):
    with pytest.raises(UnusablePathError, match="extension of an artifact"):
        write_lock(contract("x: int8 [2]"), tmp_path / "m.onnx")


# -- garbled and hostile ones -------------------------------------------------------------------------------------------------------

GOOD = json.loads(format_lock(contract("x: int8 [batch 4]", "y: int8 [batch]", model="a.B", digests={"graph": "a" * 64})))


def changed(path, value):
    """The good lock with one entry replaced, or taken out where the value is ``...``."""
    document = json.loads(json.dumps(GOOD))
    *parents, last = path
    entry = document
    for name in parents:
        entry = entry[name]
    if value is ...:
        del entry[last]
    else:
        entry[last] = value
    return json.dumps(document)


BROKEN = [
    (["format"], ..., "broken at format", "nothing"),
    (["format"], 7, "broken at format", "7"),
    (["surprise"], 1, "broken at surprise", "an entry that is not known"),
    (["inputs"], {}, "broken at inputs", "an object"),
    (["inputs", 0], "x", r"broken at inputs\[0\]", "x"),
    (["inputs", 0, "name"], None, r"inputs\[0\]\.name", "null"),
    (["inputs", 0, "optional"], 1, r"inputs\[0\]\.optional", "1"),
    (["inputs", 0, "axes"], 4, r"inputs\[0\]\.axes", "4"),
    (["inputs", 0, "axes", 1], {"size": 4, "symbol": "s"}, r"inputs\[0\]\.axes\[1\]", "a size and a symbol"),
    (["inputs", 0, "axes", 1], {"size": 4}, r"inputs\[0\]\.axes\[1\]\.symbol", "nothing"),
    (["inputs", 0, "axes", 1, "size"], -4, r"inputs\[0\]\.axes\[1\]\.size", "-4"),
    (["inputs", 0, "axes", 1, "size"], True, r"inputs\[0\]\.axes\[1\]\.size", "true"),
    (["inputs", 0, "axes", 1, "size"], 4.0, r"inputs\[0\]\.axes\[1\]\.size", r"4\.0"),
    (["inputs"], [*GOOD["inputs"], *GOOD["inputs"]], r"inputs\[1\]\.name", "x again"),
    (["symbols", "batch"], ..., r"symbols\.batch", "no range"),
    (["symbols", "other"], {"min": 1, "max": None, "multiple_of": 1}, r"symbols\.other", "no axis uses"),
    (["symbols", "batch", "multiple_of"], 0, r"symbols\.batch\.multiple_of", "0"),
    (["symbols", "batch"], {"min": 9, "max": 12, "multiple_of": 8}, r"symbols\.batch", "9 to 12"),
    (["opsets", "ai.onnx"], "18", r"opsets\.ai\.onnx", "18"),
    (["digests", "graph"], "A" * 64, r"digests\.graph", "A"),
    (["model"], ["\x1b[31m"], "broken at model", "a list"),
    (["model\x1b[31m\n"], 1, r"broken at 'model\\x1b\[31m\\n'", "not known"),
]


@pytest.mark.parametrize(("path", "value", "where", "found"), BROKEN, ids=[f"{one[0][-1]!r} {str(one[1])[:20]}" for one in BROKEN])
def test_a_broken_lock_is_refused_with_the_place(path, value, where, found):
    with pytest.raises(ContractError, match=rf"{where}[\s\S]*where: m\.json[\s\S]*found: .*{found}[\s\S]*expected: "):
        parse_lock(changed(path, value), where="m.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"torchport_contract": NaN}', "NaN is no number"),
        ('{"format": 1, "format": 2}', "'format' stands there twice"),
        ('{"format": ' + "9" * 10_000 + "}", "no JSON"),
        ("[]", "broken at its top"),
        ("{}", "no contract lock"),
        ('{"torchport_contract": 2}', r"layout that is not known[\s\S]*version 2[\s\S]*expected: version 1[\s\S]*--lock"),
        ('{"torchport_contract": true}', "layout that is not known"),
        ('{"torchport_contract": {"a": 1}}', r"layout that is not known[\s\S]*an object"),
    ],
    ids=lambda one: one[:20],
)
def test_what_is_no_lock_is_refused(text, message):
    with pytest.raises(ContractError, match=message):
        parse_lock(text)


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path):
    (tmp_path / "m.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ContractError, match="cannot be read"):
        read_lock(tmp_path / "m.json")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**25)
    with pytest.raises(ContractError, match="too large"):
        read_contract(tmp_path / "large.json")
    with pytest.raises(UnusablePathError, match="no such file"):
        read_contract(tmp_path / "missing.json")


# -- of artifacts -------------------------------------------------------------------------------------------------------------------


class Tiny(torch.nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.linear = torch.nn.Linear(4, width)

    def forward(self, x):
        return self.linear(x)


TYPES = {"input_types": {"x": ("batch time{max=50} 4", "float32")}, "output_types": {"y": ("batch time 3", "float32")}, "verify": False}


@pytest.mark.parametrize("suffix", ["onnx", "ts", "pt2"])
def test_an_artifact_and_its_lock_are_the_same(tmp_path, suffix):
    path, lock = tmp_path / f"m.{suffix}", tmp_path / "m.contract.json"
    torchport.export(Tiny(), path, **TYPES)
    made = contract_of(path)
    write_lock(made, lock)
    assert read_contract(lock) == made == read_contract(path)
    assert len(diff(read_contract(lock), read_contract(path))) == 0
    assert made.inputs == (PortTerm("x", "float32", (AxisTerm(None, "batch"), AxisTerm(None, "time"), AxisTerm(4))),)
    assert made.symbols["time"] == SizeRange(1, 50)
    assert set(made.digests) == {"weights", "graph", "artifact"}
    assert made.model is not None
    assert made.model.endswith("Tiny")


def test_two_exports_of_one_model_have_the_same_lock_and_a_retrained_one_differs_in_its_weights(tmp_path):
    model = Tiny()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torchport.export(model, tmp_path / name / "m.onnx", **TYPES)
    one, other = (contract_of(tmp_path / name / "m.onnx") for name in ("a", "b"))
    assert format_lock(one) == format_lock(other)
    torchport.export(Tiny(), tmp_path / "new.onnx", **TYPES)
    found = diff(one, contract_of(tmp_path / "new.onnx"))
    assert [change.rule.id for change in found] == ["weights-changed", "artifact-changed"]
    assert found.verdict == "same"


def test_a_declared_range_that_shrank_is_seen(tmp_path):
    torchport.export(Tiny(), tmp_path / "a.onnx", **TYPES)
    torchport.export(Tiny(), tmp_path / "b.onnx", **{**TYPES, "input_types": {"x": ("batch time{max=40} 4", "float32")}})
    found = diff(contract_of(tmp_path / "a.onnx"), contract_of(tmp_path / "b.onnx"))
    assert [change.rule.id for change in found.of("breaking")] == ["input-range-narrowed"]


class Scorer(torch.nn.Module):
    def forward(self, x):
        return x.mean(1)


def test_logits_that_become_probabilities_are_seen_though_nothing_else_changed(tmp_path):
    made = []
    for element in (LogitsType(), ProbsType()):
        path = tmp_path / f"{type(element).__name__}.onnx"
        inputs = {"x": NeuralType(("B", "T"), AudioSignal(freq=16000))}
        torchport.export(Scorer(), path, input_types=inputs, output_types={"y": NeuralType(("B",), element)}, verify=False)
        made.append(contract_of(path))
    assert made[0].inputs[0].element == "AudioSignal(freq=16000)"
    assert [one.outputs[0].element for one in made] == ["LogitsType()", "ProbsType()"]
    found = diff(*made)
    assert [change.rule.id for change in found.of("breaking")] == ["output-meaning-changed"]
    assert parse_lock(format_lock(made[0])) == made[0]


def foreign(path, inputs, outputs=("y",), opsets=(("", 17),)):
    def value(name, dims=("n",)):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))

    first = inputs[0][0]
    graph = helper.make_graph(
        [helper.make_node("Identity", [first], [name]) for name in dict.fromkeys(outputs)],
        "g",
        [value(name, dims) for name, dims in inputs],
        [value(name) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*one) for one in opsets], ir_version=8)
    onnx.save(model, path)
    return path


def test_a_foreign_file_has_the_contract_that_its_graph_shows(tmp_path):
    path = foreign(tmp_path / "m.onnx", [("x", ["2*n", None, -1, 5])], opsets=(("", 17), ("com.acme", 2)))
    made = contract_of(path)
    assert made.inputs[0].axes == (AxisTerm(None, "2*n"), AxisTerm(), AxisTerm(), AxisTerm(5))
    assert made.symbols == {"2*n": SizeRange(), "n": SizeRange()}
    assert made.opsets == {"ai.onnx": 17, "com.acme": 2}
    assert (made.ir_version, made.model, made.strategy, made.writer) == (8, None, None, {})
    assert parse_lock(format_lock(made)) == made


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_a_foreign_torchscript_file_has_the_ports_that_its_runtime_shows(tmp_path):
    torch.jit.script(Tiny()).save(tmp_path / "m.pt")
    made = contract_of(tmp_path / "m.pt")
    assert [port.name for port in made.inputs] == ["x"]
    assert made.inputs[0].axes is None


def test_a_file_with_two_ports_of_one_name_has_no_contract(tmp_path):
    with pytest.raises(UnusablePathError, match="two ports of the file have one name"):
        contract_of(foreign(tmp_path / "m.onnx", [("x", ["n"])], outputs=("y", "y")))


def test_a_file_with_a_broken_graph_has_no_contract(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x3a\x04\x0a\x02\xff\xff")
    with pytest.raises(UnusablePathError, match="not an ONNX model"):
        contract_of(tmp_path / "m.onnx")


def test_a_file_that_is_missing_or_no_model_has_no_contract(tmp_path):
    with pytest.raises(UnusablePathError, match="no such artifact"):
        contract_of(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"junk that is no model")
    with pytest.raises(UnusablePathError):
        contract_of(tmp_path / "m.onnx")
