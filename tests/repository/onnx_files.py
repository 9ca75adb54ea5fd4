"""Small ONNX and TorchScript files that compute, for repositories to serve."""

import functools
import io
import warnings
import zipfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

F32, F16, I64, BF16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.BFLOAT16


def port(name, axes, dtype=F32):
    return helper.make_tensor_value_info(name, dtype, axes)


def build(inputs, outputs, nodes, weights=()):
    graph = helper.make_graph(
        [helper.make_node(op, takes, gives, **attributes) for op, takes, gives, attributes in nodes],
        "m",
        inputs,
        outputs,
        [onnx.numpy_helper.from_array(value, name) for name, value in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def same(axes, dtype=F32, takes="x", gives="y"):
    """``y`` is ``x``."""
    return build([port(takes, axes, dtype)], [port(gives, axes, dtype)], [("Identity", [takes], [gives], {})])


@functools.cache
def files():
    """Every file by name, as bytes."""
    made = {
        "sound": same(["batch", 4, "time"]),
        "fixed": same([1, 3, 8]),
        "rows": same(["batch"]),
        "scalar": same([]),
        "half": same(["batch", 4], F16),
        "ids": same(["batch", "time"], I64),
        "flat": same(["batch", 12]),
        "vector": same(["time"]),
        "renamed": same(["batch", 4, "time"], gives="z"),
        "wider": same(["batch", 5, "time"]),
        "deeper": same(["batch", 4]),
        "two": build(
            [port("a", ["batch", 4]), port("b", ["batch", 4])],
            [port("sum", ["batch", 4]), port("difference", ["batch", 4])],
            [("Add", ["a", "b"], ["sum"], {}), ("Sub", ["a", "b"], ["difference"], {})],
        ),
        "classes": build(
            [port("x", ["batch", 4])],
            [port("scores", ["batch", 3])],
            [("MatMul", ["x", "w"], ["scores"], {})],
            [("w", np.ones((4, 3), np.float32))],
        ),
        "defaulted": build(
            [port("x", [2, 4]), port("bias", [4])],
            [port("y", [2, 4])],
            [("Add", ["x", "bias"], ["y"], {})],
            [("bias", np.ones(4, np.float32))],
        ),
        "state": build(
            [port("x", ["batch", 4]), port("s", ["batch", 4])],
            [port("y", ["batch", 4]), port("s_next", ["batch", 4])],
            [("Add", ["x", "s"], ["y"], {}), ("Add", ["x", "s"], ["s_next"], {})],
        ),
        "started": build(
            [port("x", ["batch", 4]), port("start", ["batch", 1])],
            [port("y", ["batch", 4])],
            [("Add", ["x", "start"], ["y"], {})],
        ),
        "tail": build(
            [port("x", ["batch", 4])],
            [port("y", ["batch", 2])],
            [("Slice", ["x", "from", "to", "axis"], ["y"], {})],
            [("from", np.array([2])), ("to", np.array([4])), ("axis", np.array([1]))],
        ),
    }
    return {name: model.SerializeToString() for name, model in made.items()}


@functools.cache
def with_weights_beside():
    """A file whose weight lies in ``w.bin`` beside it: 48 bytes."""
    model = onnx.load_from_string(files()["classes"])
    [weight] = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "48")):
        weight.external_data.add(key=key, value=value)
    return model.SerializeToString()


class Both(torch.nn.Module):
    def forward(self, first, second):
        return first + second, first - second


class Keeping(torch.nn.Module):
    def forward(self, x, s):
        return x + s, x + s


@functools.cache
def scripts():
    """TorchScript files by name, as bytes."""
    made = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name, module in (("both", Both()), ("keeping", Keeping())):
            stream = io.BytesIO()
            torch.jit.save(torch.jit.script(module), stream)
            made[name] = stream.getvalue()
    return made


def archives():
    """Archives of the names that torch.export and AOTInductor give theirs, as bytes; nothing that could run is in them."""
    made = {}
    for name, inside in (("exported", "models/model.json"), ("compiled", "data/aotinductor/model/wrapper.so")):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as file:
            file.writestr("archive/archive_format", "pt2")
            file.writestr(f"archive/{inside}", "{}")
        made[name] = stream.getvalue()
    return made
