"""Where mutations are found in graphs and code, and what they say of themselves."""

from __future__ import annotations

import onnx
import pytest
import torch
from torch import nn

from torchport.ports import Port, Signature
from torchport.verification.power import Mutant, Noticed, Power
from torchport.verification.power._archive import is_dense
from torchport.verification.power._code import code_changes
from torchport.verification.power._onnx_nodes import node_changes
from torchport.verification.power._onnx_ports import frozen_values, instrumented, swapped_ports
from torchport.verification.power._pickled import stored_tensors
from torchport.verification.power.run import _weaknesses

GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 4] x, bool c) => (float[n, 4] y)
<int64[1] far = {9223372036854775807}, int64[1] near = {1}, bool flag = {1}, bool[1] steady = {1}, int64 trips = {3}, float[1] none = {0}>
{
    half = Constant <value_float = 0.5> ()
    axes = Constant <value_ints = [0, 1]> ()
    table = Constant <value = int64[2] {5, 6}> ()
    picked = If (c) <
        then_branch = left () => (float[n, 4] a) { small = Constant <value_float = 0.00001> () a = Add (x, small) },
        else_branch = right () => (float[n, 4] b) { b = Softmax <axis = 1> (x) }
    >
    padded = Pad <mode = "edge"> (picked, table)
    turned = Transpose <perm = [1, 0]> (padded)
    flat = Transpose <perm = [0]> (near)
    looped = Loop (trips, flag, picked) <
        body = inner (int64 i, bool go, float[n, 4] s) => (bool on, float[n, 4] t) { on = Identity (go) t = Exp (s) }
    >
    cast = Cast <to = 1> (looped)
    y = LeakyRelu <alpha = 0.01> (cast)
}
"""


@pytest.fixture
def graph():
    return onnx.parser.parse_model(GRAPH)


def changes_of(model, kind):
    return {(where, words) for found, where, words, _ in node_changes(model) if found == kind}


def test_every_change_of_a_node_changes_a_copy_and_nothing_else(graph):
    before = graph.SerializeToString(deterministic=True)
    for kind, where, words, make in node_changes(graph):
        copy = onnx.ModelProto()
        copy.CopyFrom(graph)
        make(copy)
        assert copy.SerializeToString(deterministic=True) != before, (kind, where, words)
        assert graph.SerializeToString(deterministic=True) == before


def test_constants_are_found_wherever_they_stand(graph):
    floats = {words for _, words in changes_of(graph, "float constant changed")}
    assert floats == {"value_float 0.5 to 0.75", "value_float 1e-05 to 0.001", "0 to 0.5"}
    integers = changes_of(graph, "integer constant moved")
    assert ("near", "1 to 2") in integers
    assert {words for _, words in integers} >= {"5 to 6", "value_ints [0, 1] to [0, 2]"}
    assert changes_of(graph, "boolean constant flipped") == {("steady", "True to False")}


def test_sentinels_and_the_trips_of_loops_are_left_alone(graph):
    touched = {where for kind, where, _, _ in node_changes(graph)}
    assert not touched & {"far", "trips"}
    assert not any("Exp" in where for where in touched)


def test_attributes_change_to_something_that_they_can_be(graph):
    words = {words for _, words in changes_of(graph, "attribute changed")}
    assert words == {"axis 1 to 0", "mode edge to reflect", "perm [1, 0] to [0, 1]", "alpha 0.01 to 0.015"}


def test_a_graph_without_computed_shapes_has_none_to_freeze(graph):
    assert instrumented(graph) is None
    assert list(frozen_values(graph, {})) == []
    assert list(swapped_ports(graph)) == []


CODE = """class Net(Module):
  __parameters__ = []
  training : bool
  def forward(self: __torch__.Net,
    x: Tensor,
    y: Tensor,
    n: Tensor) -> Tuple[Tensor, Tensor]:
    _0 = torch.size(x, 1)
    _1 = torch.size(x, 7)
    _2 = torch.softmax(torch.add(x, y), -1)
    for i in range(3):
      _3 = torch.relu(
    _4 = torch.clamp(_2, None, 0.)
    _5 = torch.gelu()
    return {answer}
"""


def changes(answer, inputs=("x", "y", "n")):
    ports = {"x": Port("batch time"), "y": Port("batch time"), "n": Port("batch", dtype="int64")}
    signature = Signature.of(inputs={name: ports[name] for name in inputs}, outputs={"a": Port("batch time"), "b": Port("batch time")})
    found = list(code_changes({"code/__torch__.py": CODE.format(answer=answer)}, "__torch__.Net", signature, {"batch": 3, "time": 37}))
    text = CODE.format(answer=answer)
    return {(one.kind, one.words): text[: one.start] + one.text + text[one.end :] for one in found}


def test_code_is_changed_where_it_says():
    found = changes("(_2, _4)")
    assert "y: Tensor,\n    x: Tensor" in found["inputs swapped", "each in the place of the other"]
    assert "return ( _4,_2)" in found["outputs permuted", "each in the place of the other"]
    assert "_0 = 37\n" in found["axis frozen", "time to 37"]
    assert "_2 = torch.add(x, y)\n" in found["node dropped", "softmax gives its input"]
    assert "torch.softmax(x, -1)" in found["node dropped", "add gives its input"]
    assert "torch.clamp(_2, None, 0.5)" in found["float constant changed", "0. to 0.5"]
    assert "torch.softmax(torch.add(x, y), 0)" in found["integer constant moved", "-1 to 0"]
    assert not any(words == "3 to 4" for _, words in found)
    assert not {("node dropped", "relu gives its input"), ("node dropped", "gelu gives its input")} & found.keys()


@pytest.mark.parametrize("answer", ["_2", "torch.stack([_2, _4])", "(_2, _4, _0)", "(_2, _4)[0]"])
def test_outputs_that_are_not_a_plain_tuple_are_not_permuted(answer):
    assert not any(kind == "outputs permuted" for kind, _ in changes(answer))


def test_code_with_other_inputs_than_the_ports_keeps_them():
    assert not any(kind in ("inputs swapped", "axis frozen") for kind, _ in changes("(_2, _4)", inputs=("x", "y")))


def test_tensors_in_lists_and_of_other_dtypes_are_read_from_the_pickle(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts: list[torch.Tensor] = [torch.ones(2, 3).t(), torch.ones(4, dtype=torch.int64)]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.parts[0]

    import warnings
    import zipfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Net()).save(str(tmp_path / "m.ts"))
    with zipfile.ZipFile(tmp_path / "m.ts") as archive:
        content = archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))
    first, second = stored_tensors(content)
    assert (first.name, first.dtype, first.shape, first.strides) == ("parts.0", "float32", (3, 2), (1, 3))
    assert is_dense(first.shape, first.strides)
    assert second.dtype == ""
    with pytest.raises(ValueError, match="not that of a module"):
        list(stored_tensors(b"no pickle"))


def test_sentences_say_what_is_noticed_and_what_is_not():
    assert Noticed("Conv weight", "w", 3e-4, 1e-5).sentence() == "Conv weight (w): one element by 3e-04 of scale, the tensor by 1e-05"
    nothing = Noticed("Conv bias", "b", None, None).sentence()
    assert nothing == "Conv bias (b): none of three elements, changed by the tensor's scale, no scaling up to a factor of 2"
    dead = Power((Mutant("weight scaled", "w", "times 1.1", "equivalent", effect=0.0),))
    assert list(_weaknesses(dead)) == ["weak: no power shown: none of 1 mutants changes an output beyond its tolerance"]
