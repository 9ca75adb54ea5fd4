"""The stand-ins refuse what Triton's native backends refuse, and say why; what they answer is compared value by value."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from torchport.errors import OptionError, ServeError
from torchport.serving import GrpcClient

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")

ONNX = """
name: "{name}"
{backend}
max_batch_size: {most}
input [ {{ name: "x" data_type: {dtype} dims: [ {dims} ] }} {more} ]
output [ {{ name: "{out}" data_type: TYPE_FP32 dims: [ {outs} ] }} ]
"""
USUAL = {
    "backend": 'backend: "onnxruntime"',
    "most": 0,
    "dtype": "TYPE_FP32",
    "dims": "-1, 3, -1",
    "more": "",
    "out": "y",
    "outs": "-1, 3, -1",
}


def write_onnx(folder, axes=("batch", 3, "time"), dtype=TensorProto.FLOAT):
    """``y = x + x``, with two inputs' worth of names."""
    folder.mkdir(parents=True)
    x, y = helper.make_tensor_value_info("x", dtype, axes), helper.make_tensor_value_info("y", dtype, axes)
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx")


CASES = {
    "right": ({}, None),
    "platform": ({"backend": 'platform: "onnxruntime_onnx"'}, None),
    "batched": ({"most": 8, "dims": "3, -1", "outs": "3, -1"}, None),
    "input_varies_where_the_file_does_not": ({"dims": "-1, -1, -1"}, "explicit tensor shape [-1,-1,-1]"),
    "input_fixed_where_any": ({"dims": "2, 3, 5"}, None),
    "output_not_exact": ({"outs": "-1, 3, 7"}, "the model expects 3 dimensions (shape [-1,3,-1])"),
    "output_wider": ({"outs": "-1, -1, -1"}, "the model expects 3 dimensions"),
    "rank": ({"dims": "-1, 3"}, "specifies 2 dimensions"),
    "rank_batched": ({"most": 8}, "an initial batch dimension because max_batch_size > 0"),
    "size": ({"dims": "-1, 4, -1"}, "explicit tensor shape [-1,4,-1]"),
    "dtype": ({"dtype": "TYPE_FP16"}, "configuration expects datatype TYPE_FP16 for input 'x', model provides TYPE_FP32"),
    "extra_input": ({"more": ', { name: "z" data_type: TYPE_FP32 dims: [ 1 ] }'}, "configuration expects 2 inputs, model provides 1"),
    "unknown_output": ({"out": "z"}, "unexpected inference output 'z', allowed outputs are: y"),
}


def test_an_onnx_model_is_held_against_its_configuration(tmp_path, serve):
    for name, (changes, _) in CASES.items():
        write_onnx(tmp_path / name / "1")
        (tmp_path / name / "config.pbtxt").write_text(ONNX.format(name=name, **USUAL | changes))
    write_onnx(tmp_path / "fixed" / "1", axes=(2, 3, "time"))
    (tmp_path / "fixed" / "config.pbtxt").write_text(ONNX.format(name="fixed", **USUAL | {"most": 4, "dims": "3, -1", "outs": "3, -1"}))
    server = serve(tmp_path, "--disable-auto-complete-config")
    reasons = {one.name: one.reason for one in server.client.models()}
    for name, (_, said) in CASES.items():
        if said is None:
            assert reasons[name] == ""
            array = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
            np.testing.assert_array_equal(server.client.infer(name, {"x": array})["y"], 2 * array)
        else:
            assert said in reasons[name], name
    assert "the first dimension must be -1" in reasons["fixed"]
    with pytest.raises(ServeError, match="refused") as caught:
        server.client.infer("right", {"x": np.zeros((2, 4, 5), np.float32)})
    assert "unexpected shape" in str(caught.value.found)
    with pytest.raises(ServeError) as caught:
        server.client.infer("right", {})
    assert "missing required input" in str(caught.value.found) or "expected 1 inputs" in str(caught.value.found)
    with pytest.raises(ServeError) as caught:
        server.client.infer("batched", {"x": np.zeros((9, 3, 5), np.float32)})
    assert "must be <= 8" in str(caught.value.found)


class Two(torch.nn.Module):
    def forward(self, left, right):
        return left - 2 * right, (left + right).to(torch.float64)


PYTORCH = """
name: "{name}"
{backend}
max_batch_size: 0
input [ {{ name: "{a}" data_type: TYPE_FP32 dims: [ -1, 3 ] }}, {{ name: "{b}" data_type: TYPE_FP32 dims: [ -1, 3 ] }} {more} ]
output [ {{ name: "{c}" data_type: TYPE_FP32 dims: [ -1, 3 ] }}, {{ name: "{d}" data_type: {dtype} dims: [ -1, 3 ] }} {outs} ]
"""
SCRIPT = {"backend": 'backend: "pytorch"', "a": "left", "b": "right", "c": "low", "d": "high", "dtype": "TYPE_FP64", "more": "", "outs": ""}
LOADED = {
    "arguments_turned": ({"a": "right", "b": "left"}, "left"),
    "index_turned": ({"a": "IN__1", "b": "IN__0", "c": "OUT__0", "d": "OUT__1"}, "IN__0"),
    "order": ({"a": "p", "b": "q", "backend": 'platform: "pytorch_libtorch"'}, "p"),
}
REFUSED = {
    "extra": ({"more": ', { name: "z" data_type: TYPE_FP32 dims: [ 1 ] }'}, "expects 3 inputs, model provides 2"),
    "gap": ({"a": "IN__0", "b": "IN__2"}, "do not count from 0 to 1"),
}
AT_ANSWER = {
    "dtype": ({"dtype": "TYPE_FP32"}, "configuration expects datatype TYPE_FP32 for output 'high', model provides TYPE_FP64"),
    "too_many": ({"outs": ', { name: "z" data_type: TYPE_FP32 dims: [ 1 ] }'}, "refers to an output index which doesn't exist"),
}


def test_a_torchscript_model_is_held_against_its_configuration(tmp_path, serve):
    script = torch.jit.trace(Two(), (torch.zeros(2, 3), torch.ones(2, 3)))
    for name, (changes, _) in (LOADED | REFUSED | AT_ANSWER).items():
        (tmp_path / name / "1").mkdir(parents=True)
        torch.jit.save(script, str(tmp_path / name / "1" / "model.pt"))
        (tmp_path / name / "config.pbtxt").write_text(PYTORCH.format(name=name, **SCRIPT | changes))
    server = serve(tmp_path)
    reasons = {one.name: one.reason for one in server.client.models()}
    left, right = (np.random.default_rng(seed).standard_normal((4, 3), np.float32) for seed in (0, 1))
    for name, (changes, first) in LOADED.items():
        assert reasons[name] == ""
        ports = SCRIPT | changes
        second = ports["b"] if ports["a"] == first else ports["a"]
        answer = server.client.infer(name, {first: left, second: right})
        np.testing.assert_array_equal(answer[ports["c"]], left - 2 * right)
        np.testing.assert_array_equal(answer[ports["d"]], (left + right).astype(np.float64))
    for name, (_, said) in REFUSED.items():
        assert said in reasons[name]
    for name, (_, said) in AT_ANSWER.items():
        assert reasons[name] == ""
        with pytest.raises(ServeError) as caught:
            server.client.infer(name, {"left": left, "right": right})
        assert said in str(caught.value.found)


def test_texts_and_bits_go_through(tmp_path, serve):
    folder = tmp_path / "texts" / "1"
    folder.mkdir(parents=True)
    ports = [helper.make_tensor_value_info(name, TensorProto.STRING, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx")
    text = ONNX.format(name="texts", **USUAL | {"dtype": "TYPE_STRING", "dims": "-1", "outs": "-1"}).replace("TYPE_FP32", "TYPE_STRING")
    (tmp_path / "texts" / "config.pbtxt").write_text(text)
    server = serve(tmp_path)
    with GrpcClient(f"grpc://{server.grpc_address}") as remote:
        for client in (server.client, remote):
            answer = client.infer("texts", {"x": np.array(["né", "", "two\nlines"])})
            assert [one.decode() for one in answer["y"]] == ["né", "", "two\nlines"]


def test_both_clients_see_the_same(tmp_path, serve):
    """What is there, how it is configured, what it answers, and why it refuses."""
    for name, changes in {"right": {}, "rows": {"most": 4, "dims": "3, -1", "outs": "3, -1"}, "wrong": {"dtype": "TYPE_FP16"}}.items():
        write_onnx(tmp_path / name / "1")
        (tmp_path / name / "config.pbtxt").write_text(ONNX.format(name=name, **USUAL | changes))
    server = serve(tmp_path)
    array = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
    with GrpcClient(f"grpc://{server.grpc_address}") as remote:
        assert sorted(remote.models(), key=str) == sorted(server.client.models(), key=str)
        for name in ("right", "rows"):
            here, there = server.client.config(name), remote.config(name)
            assert [int(size) for port in there["input"] for size in port["dims"]] == [
                size for port in here["input"] for size in port["dims"]
            ]
            assert int(there.get("max_batch_size", 0)) == here["max_batch_size"]
            for more in ({}, {"version": "1"}, {"outputs": ["y"]}, {"parameters": {"a": 1, "b": True, "c": "text", "d": 0.5}}):
                np.testing.assert_array_equal(remote.infer(name, {"x": array}, **more)["y"], 2 * array)
            np.testing.assert_array_equal(remote.ask(name, {"x": array})["y"], 2 * array)
        for said, model, inputs in (
            ("unexpected shape", "right", {"x": np.zeros((2, 4, 5), np.float32)}),
            ("must be <= 4", "rows", {"x": np.zeros((9, 3, 5), np.float32)}),
            ("unknown model", "nobody", {"x": array}),
        ):
            for client in (server.client, remote):
                with pytest.raises(ServeError, match="refused") as caught:
                    client.infer(model, inputs)
                assert said in str(caught.value.found)
        with pytest.raises(OptionError, match="no such dtype"):
            remote.infer("right", {"x": array.astype(np.complex64)})
        large = np.zeros((1, 3, 600_000), np.float32)  # 7 MB, where gRPC's own limit is 4
        np.testing.assert_array_equal(remote.infer("right", {"x": large})["y"], large)
