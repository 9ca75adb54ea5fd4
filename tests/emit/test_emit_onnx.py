"""ONNX files: ports as declared, canonical, lean, in the opset that was asked for."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from prepared_by_hand import branches, options, prepare, recurrent, tied, tiny, tiny_feed

from torchport.capture import Captured, strategies
from torchport.emit import formats, read_metadata
from torchport.emit.onnx import Onnx
from torchport.errors import EmitError, OpsetError


def export(prepared, directory, strategy="trace", format=None, metadata=None, **further):
    asked = options("m.onnx", **further)
    captured = strategies[strategy].capture(prepared, "onnx", asked)
    assert isinstance(captured, Captured), captured
    return (format or formats["onnx"]).write(captured, directory, "m", asked, metadata or {})


def session(artifact):
    return onnxruntime.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"])


def axes(values):
    return {value.name: [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim] for value in values}


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
def test_names_axes_and_order_are_as_declared(strategy, tmp_path):
    graph = onnx.load(export(tiny(), tmp_path, strategy).path).graph
    assert list(axes(graph.input).items()) == [("x", ["batch", "time", 4]), ("scale", ["batch"])]
    assert list(axes(graph.output).items()) == [("y", ["batch", "time", 6]), ("total", ["batch", 6])]


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
def test_the_file_passes_the_checker_and_carries_nothing_of_its_origin(strategy, tmp_path):
    model = onnx.load(export(tiny(), tmp_path, strategy).path)
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version, model.doc_string, model.graph.name) == ("torchport", "", "", "main_graph")
    assert not model.graph.value_info
    assert not model.functions
    for node in model.graph.node:
        assert not node.metadata_props
        assert not node.doc_string


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
def test_nodes_are_named_after_their_module(strategy, tmp_path):
    names = [node.name for node in onnx.load(export(tiny(), tmp_path, strategy).path).graph.node]
    assert "/proj/MatMul" in names or "/proj/Gemm" in names
    assert len(set(names)) == len(names)


def test_a_weight_may_be_called_as_a_port_is(tmp_path):
    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x, self.y = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.full((3,), 2.0))

        def forward(self, x):
            return x * self.x + self.y

    run = session(export(prepare(Same(), {"x": torch.rand(2, 3)}, {"x": "batch 3"}, {"y": "batch 3"}), tmp_path))
    np.testing.assert_array_equal(run.run(["y"], {"x": np.zeros((1, 3), np.float32)})[0], [[2, 2, 2]])


class Odd(torch.nn.Module):
    """Hands an input through, gives one tensor twice and a constant, ignores an input."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(3.0))

    def forward(self, x, ignored):
        y = x * 2
        return x, y, y, self.table


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
def test_odd_outputs_and_unused_inputs_stay_as_declared(strategy, tmp_path):
    prepared = prepare(
        Odd(),
        {"x": torch.rand(2, 3), "ignored": torch.ones(2, dtype=torch.int32)},
        {"x": "batch 3", "ignored": "batch"},
        {"same": "batch 3", "first": "batch 3", "second": "batch 3", "table": "3"},
    )
    artifact = export(prepared, tmp_path, strategy)
    assert artifact.unused_inputs == ("ignored",)
    run = session(artifact)
    assert [(one.name, one.type) for one in run.get_inputs()] == [("x", "tensor(float)"), ("ignored", "tensor(int32)")]
    x = np.random.default_rng(0).random((4, 3), dtype=np.float32)
    same, first, second, table = run.run(["same", "first", "second", "table"], {"x": x, "ignored": np.zeros(4, np.int32)})
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(first, 2 * x)
    np.testing.assert_array_equal(second, first)
    np.testing.assert_array_equal(table, [0, 1, 2])


@pytest.mark.parametrize("opset", range(13, 26))
def test_tracing_writes_every_opset_as_asked(opset, tmp_path):
    artifact = export(tiny(), tmp_path, onnx_opset_version=opset)
    assert artifact.opset == opset
    assert [(one.domain, one.version) for one in onnx.load(artifact.path).opset_import] == [("", opset)]
    feed = {name: value.numpy() for name, value in tiny_feed(3, 4).items()}
    y, _ = session(artifact).run(None, feed)
    assert y.shape == (3, 4, 6)


class Twice(torch.nn.Module):
    """Makes one tensor twice, once for itself and once to hand it out."""

    def forward(self, x):
        inner = x.squeeze(-1).exp()
        handed = x.squeeze(-1)
        return handed.exp() + 1, inner * 2, handed


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
def test_an_output_that_something_inside_equals_keeps_its_declared_axes(strategy, tmp_path):
    prepared = prepare(Twice(), {"x": torch.rand(2, 3, 1)}, {"x": "batch 3 1"}, {"one": "batch 3", "two": "batch 3", "handed": "batch 3"})
    graph = onnx.load(export(prepared, tmp_path, strategy).path).graph
    assert axes(graph.output) == {"one": ["batch", 3], "two": ["batch", 3], "handed": ["batch", 3]}
    assert {one.type.tensor_type.elem_type for one in graph.output} == {onnx.TensorProto.FLOAT}
    assert [node.op_type for node in graph.node].count("Squeeze") == 1


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_torch_export_is_converted_to_the_opset_asked(opset, tmp_path):
    artifact = export(tiny(), tmp_path, "torch_export", onnx_opset_version=opset)
    assert onnx.load(artifact.path).opset_import[0].version == opset
    feed = {name: value.numpy() for name, value in tiny_feed(3, 4).items()}
    assert session(artifact).run(None, feed)[0].shape == (3, 4, 6)


def test_an_opset_that_lacks_an_operator_is_refused(tmp_path):
    norm = prepare(torch.nn.LayerNorm(8), {"x": torch.rand(2, 8)}, {"x": "batch 8"}, {"y": "batch 8"})
    with pytest.raises(OpsetError, match="cannot be written in opset 13") as caught:
        export(norm, tmp_path, "torch_export", onnx_opset_version=13)
    assert "LayerNormalization" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_recurrent_layers_take_any_batch_and_time(kind, batch_first, bidirectional, tmp_path):
    prepared = recurrent(kind, batch_first, bidirectional)
    artifact = export(prepared, tmp_path)
    run = session(artifact)
    for sizes in ((1, 2), (2, 1), (5, 9), (3, 7)):
        ids = torch.randint(0, 11, sizes)
        with torch.no_grad():
            expected = prepared.native_forward(ids)
        np.testing.assert_allclose(run.run(None, {"ids": ids.numpy()})[0], expected.numpy(), atol=1e-6)
    graph = onnx.load(artifact.path).graph
    constants = {one.name for one in graph.initializer}
    assert [node.op_type for node in graph.node].count(kind) == 2
    assert not [node.name for node in graph.node if set(node.input) <= constants]


def test_folding_leaves_no_arithmetic_on_weights(tmp_path):
    folded = onnx.load(export(tied(), tmp_path).path).graph
    (tmp_path / "plain").mkdir()
    plain = onnx.load(export(tied(), tmp_path / "plain", do_constant_folding=False).path).graph
    count = [sum(node.op_type == "Transpose" for node in graph.node) for graph in (folded, plain)]
    assert count == [2, 3]


def test_a_large_tied_weight_is_in_the_file_once(tmp_path):
    artifact = export(tied(words=3000, width=128), tmp_path)
    assert artifact.path.stat().st_size < 3000 * 128 * 4 * 1.1
    ids = np.array([[1, 2999, 0]])
    assert session(artifact).run(None, {"ids": ids})[0].shape == (1, 3, 3000)


def test_a_large_weight_is_folded_while_it_is_written(tmp_path):
    linear = prepare(torch.nn.Linear(300, 200, bias=False), {"x": torch.rand(2, 3, 300)}, {"x": "batch time 300"}, {"y": "batch time 200"})
    artifact = export(linear, tmp_path)
    graph = onnx.load(artifact.path).graph
    assert [node.op_type for node in graph.node] == ["MatMul"]
    held = onnx.numpy_helper.to_array(graph.initializer[0])
    np.testing.assert_array_equal(held, linear.module.weight.detach().numpy().T)


def test_a_quarter_of_a_model_in_bfloat16_keeps_its_bits(tmp_path):
    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(40, 40, dtype=torch.bfloat16))

        def forward(self, x):
            return x @ self.weight.float()

    half = prepare(Half(), {"x": torch.rand(2, 40)}, {"x": "batch 40"}, {"y": "batch 40"})
    artifact = export(half, tmp_path, do_constant_folding=False)
    held = {one.name: one for one in onnx.load(artifact.path).graph.initializer}["weight"]
    assert held.data_type == onnx.TensorProto.BFLOAT16
    assert held.raw_data == half.module.weight.detach().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("strategy", ["trace", "torch_export"])
def test_weights_left_out_are_inputs_under_their_own_names(strategy, tmp_path):
    prepared = tied()
    artifact = export(prepared, tmp_path, strategy, export_params=False)
    graph = onnx.load(artifact.path).graph
    weights = {name: tensor.detach().numpy() for name, tensor in (*prepared.module.named_parameters(), *prepared.module.named_buffers())}
    weights["head.weight"] = weights["embed.weight"]
    names = [value.name for value in graph.input]
    assert names[0] == "ids"
    assert {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"} < set(names) <= {"ids", *weights}
    assert not {one.name for one in graph.initializer} & set(weights)
    ids = torch.tensor([[1, 5, 0, 2]])
    with torch.no_grad():
        expected = prepared.native_forward(ids)
    found = session(artifact).run(None, {"ids": ids.numpy(), **{name: weights[name] for name in names[1:]}})[0]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_initializers_can_be_inputs_as_well(tmp_path):
    graph = onnx.load(export(tiny(), tmp_path, keep_initializers_as_inputs=True).path).graph
    assert {one.name for one in graph.initializer} < {one.name for one in graph.input}
    assert [one.name for one in graph.input][:2] == ["x", "scale"]


def test_above_the_limit_weights_go_to_one_file_beside(tmp_path):
    small = prepare(torch.nn.Linear(40, 40), {"x": torch.rand(2, 40)}, {"x": "batch 40"}, {"y": "batch 40"})
    artifact = export(small, tmp_path, format=Onnx(external_from=2000), metadata={"a": "b"})
    assert [path.name for path in artifact.paths] == ["m.onnx", "m.onnx.data"]
    assert sorted(artifact.digests) == ["m.onnx", "m.onnx.data"]
    assert artifact.path.stat().st_size < 2000
    assert read_metadata(artifact.path) == {"a": "b"}
    x = torch.rand(5, 40)
    np.testing.assert_allclose(
        session(artifact).run(None, {"x": x.numpy()})[0], small.native_forward(x).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_writing_twice_gives_the_same_bytes_and_keeps_the_capture(tmp_path):
    captured = strategies["trace"].capture(tied(), "onnx", options())
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        digests.append(formats["onnx"].write(captured, tmp_path / name, "m", options(), {}).digests)
    assert digests[0] == digests[1]


def test_the_artifact_does_not_change_when_the_model_trains_on(tmp_path):
    prepared = tiny()
    captured = strategies["trace"].capture(prepared, "onnx", options())
    artifact = formats["onnx"].write(captured, tmp_path, "m", options(), {})
    before = artifact.path.read_bytes()
    with torch.no_grad():
        prepared.module.proj.weight.zero_()
    assert artifact.path.read_bytes() == before


def test_control_flow_keeps_its_inner_graphs(tmp_path):
    def loop(x: torch.Tensor) -> torch.Tensor:
        for step in range(x.shape[0]):
            x = x + step
            if bool(x.sum() > 100):
                x = x * 0.5
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loop = torch.jit.script(loop)

    class Loops(torch.nn.Module):
        def forward(self, x):
            return loop(x)

    prepared = prepare(Loops(), {"x": torch.rand(3, 2)}, {"x": "batch 2"}, {"y": "batch 2"})
    artifact = export(prepared, tmp_path)
    onnx.checker.check_model(onnx.load(artifact.path))
    for batch in (1, 4, 20):
        x = torch.rand(batch, 2)
        np.testing.assert_allclose(session(artifact).run(None, {"x": x.numpy()})[0], loop(x).numpy(), rtol=1e-5)


def test_another_number_of_outputs_is_refused(tmp_path):
    captured = strategies["trace"].capture(tiny(), "onnx", options())
    other = strategies["trace"].capture(branches("nothing"), "onnx", options())
    with pytest.raises(EmitError, match="another number of outputs"):
        formats["onnx"].write(
            Captured("trace", "onnx", captured.payload, other.signature.replace_ports(inputs=captured.signature.inputs)),
            tmp_path,
            "m",
            options(),
            {},
        )


def test_the_wrong_form_is_refused(tmp_path):
    captured = strategies["trace"].capture(tiny(), "script", options())
    with pytest.raises(EmitError, match="written from another form"):
        formats["onnx"].write(captured, tmp_path, "m", options(), {})


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a", b"\x3a\xff\xff\xff\xff\x0f"])
def test_metadata_of_something_else_is_refused(content, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(EmitError, match="this is not a onnx file"):
        read_metadata(path)


_PEAK = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from prepared_by_hand import options, prepare
from torchport.capture import strategies
from torchport.emit import formats

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

class Deep(torch.nn.Module):
    def __init__(self, layers, width):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(layers))
    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x

def run(layers, width, folder):
    folder.mkdir()
    prepared = prepare(Deep(layers, width).eval(), {"x": torch.rand(2, width)}, {"x": f"batch {width}"}, {"y": f"batch {width}"})
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    captured = strategies["trace"].capture(prepared, "onnx", options())
    formats["onnx"].write(captured, folder, "m", options(), {})
    return status("VmHWM") - before

torch.set_num_threads(1)
run(2, 8, Path(sys.argv[2]) / "warm")
print(run(24, 1024, Path(sys.argv[2]) / "large") / (24 * 1024 * 1025 * 4))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_capture_and_emit_need_less_memory_than_the_weights_again(tmp_path):
    here = Path(__file__).parents[1] / "capture"
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PEAK, str(here), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < 1.3
