"""A small model with twin weights, two inputs and two outputs that can be taken for each other, and ways to tamper with its bundle."""

from __future__ import annotations

import json

import onnx
import torch

import torchport
from torchport import NeuralType
from torchport.check import MANIFEST
from torchport.check._files import describe_file
from torchport.types import LengthsType

AUDIO = ("batch 3 time", "float32")


class Twins(torch.nn.Module):
    input_types = {"left": AUDIO, "right": AUDIO, "lens": NeuralType(("B",), LengthsType())}
    output_types = {"low": ("batch 5", "float32"), "high": ("batch 5", "float32")}

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.one, self.two = torch.nn.Linear(3, 5), torch.nn.Linear(3, 5)

    def forward(self, left, right, lens):
        mask = (torch.arange(left.shape[2]) < lens[:, None])[:, None]
        low, high = ((x * mask).sum(2) / lens[:, None] for x in (left, right))
        return self.one(low) - self.two(high), torch.tanh(self.two(low) + self.one(high))


class Coder(torch.nn.Module, torchport.Exportable):
    """Two subnets."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Part(), Part()

    def list_export_subnets(self):
        return ["encoder", "decoder"]


class Part(torch.nn.Module):
    input_types = {"x": ("batch 4", "float32")}
    output_types = {"y": ("batch 4", "float32")}

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x)


# -- tampering: each takes the bundle's folder --------------------------------------------------------------------------------


def edit(folder, change, name="twins.onnx"):
    model = onnx.load(folder / name)
    change(model)
    onnx.save(model, folder / name)


def weight(model, name):
    return next(one for one in model.graph.initializer if one.name == name)


def flip_weight(folder):
    content = bytearray((folder / "twins.onnx").read_bytes())
    values = onnx.numpy_helper.to_array(weight(onnx.load(folder / "twins.onnx"), "one.weight")).tobytes()
    content[content.index(values) + 7] ^= 0x40
    (folder / "twins.onnx").write_bytes(content)


def flip_name(folder):
    content = (folder / "twins.onnx").read_bytes()
    (folder / "twins.onnx").write_bytes(content.replace(b"torchport.torch", b"torchporT.torch", 1))


def cut(folder):
    content = (folder / "twins.onnx").read_bytes()
    (folder / "twins.onnx").write_bytes(content[: len(content) // 2])


def exchange_weights(folder):
    def change(model):
        one, two = weight(model, "one.weight"), weight(model, "two.weight")
        one.raw_data, two.raw_data = two.raw_data, one.raw_data

    edit(folder, change)


def rename_weight(folder):
    def change(model):
        weight(model, "one.weight").name = "other"
        for node in model.graph.node:
            node.input[:] = ["other" if name == "one.weight" else name for name in node.input]

    edit(folder, change)


def reorder_inputs(folder):
    def change(model):
        ports = list(model.graph.input)
        del model.graph.input[:]
        model.graph.input.extend([ports[1], ports[0], *ports[2:]])

    edit(folder, change)


def reorder_outputs(folder):
    def change(model):
        ports = list(model.graph.output)
        del model.graph.output[:]
        model.graph.output.extend(reversed(ports))

    edit(folder, change)


def drop_output(folder):
    edit(folder, lambda model: model.graph.output.pop())


def fix_axis(folder):
    def change(model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2

    edit(folder, change)


def downgrade(folder):
    def change(model):
        model.opset_import[0].version -= 1

    edit(folder, change)


def add_domain(folder):
    edit(folder, lambda model: model.opset_import.add(domain="com.example", version=1))


def change_operator(folder):
    def change(model):
        next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Sigmoid"

    edit(folder, change)


def unknown_operator(folder):
    def change(model):
        next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "NoSuchThing"

    edit(folder, change)


def append(folder):
    with (folder / "README.md").open("a") as file:
        file.write("\nmore\n")


def rehash(folder, *, whole=False):
    """A forger's work: the manifest is made to fit the files again; with ``whole``, everything that it says of the artifact, too."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"] = [describe_file(folder / entry["path"], entry["path"]) for entry in manifest["files"]]
    if whole:
        from torchport.check._onnx import read_onnx

        artifact = manifest["artifacts"][0]
        found = read_onnx(folder / artifact["files"][0])
        artifact.update(weights=found.weights, nodes=found.nodes, opsets=found.opsets)
    path.write_text(json.dumps(manifest))
