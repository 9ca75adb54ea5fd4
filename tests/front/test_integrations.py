"""Modules of other libraries: Lightning, torch.onnx.ExportableModule, jaxtyping's annotations, ScriptModules."""

import numpy as np
import onnx
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import torchport
from torchport import Exportable, NeuralType
from torchport.types import LogitsType, SpectrogramType


@pytest.fixture(scope="module")
def lightning():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning
    return lightning


@pytest.mark.parametrize("name", ["m.onnx", "m.ts", "m.pt2"])
def test_a_lightning_module_is_exported(lightning, tmp_path, name):
    class Lit(lightning.LightningModule, Exportable):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 3)
            self.example_input_array = torch.randn(2, 4)

        @property
        def input_types(self):
            return {"x": "batch 4"}

        @property
        def output_types(self):
            return {"y": "batch 3"}

        def forward(self, x):
            return self.net(x)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    model = Lit()
    assert model.export(tmp_path / name).proof.ok
    with pytest.raises(RuntimeError, match="not attached"):
        model.trainer  # noqa: B018 - the property itself is what is tested


class OnnxModule(torch.onnx.ExportableModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 3)

    def forward(self, features, scale):
        return self.net(features) * scale

    def example_arguments(self):
        return (torch.randn(2, 4), torch.tensor(2.0)), None

    def input_names(self):
        return ("features", "scale")

    def output_names(self):
        return ("logits",)

    def dynamic_shapes(self):
        return ({0: "rows"}, None)


def test_an_exportable_module_of_torch_is_exported(tmp_path):
    result = torchport.export(OnnxModule(), tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert [one.name for one in graph.input] == ["features", "scale"]
    assert [one.name for one in graph.output] == ["logits"]
    assert list(result.signature.symbols) == ["rows"]


def test_a_model_with_ports_can_be_passed_to_torch(tmp_path):
    class Model(nn.Module, Exportable):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 3)

        @property
        def input_types(self):
            return {"x": NeuralType(("B", "T", "D"), SpectrogramType())}

        def input_example(self):
            return torch.randn(3, 7, 4)

        @property
        def output_types(self):
            return {"y": NeuralType(("B", "T", "D"), LogitsType())}

        def forward(self, x):
            return self.net(x)

    wrapped = Model().as_onnx_module()
    assert isinstance(wrapped, torch.onnx.ExportableModule)
    assert wrapped.input_names() == ["x"]
    (args, kwargs) = wrapped.example_arguments()
    assert wrapped(*args)[0].shape == (3, 7, 3)
    assert kwargs is None


def test_annotations_are_ports(tmp_path):
    class Model(nn.Module, Exportable):
        def __init__(self):
            super().__init__()
            self.net = nn.Embedding(10, 4)

        def forward(self, ids: Int[Tensor, "batch time"], scale: Float[Tensor, "batch"]) -> Float[Tensor, "batch time 4"]:
            return self.net(ids) * scale[:, None, None]

        def input_example(self):
            return torch.randint(0, 10, (3, 7)), torch.ones(3)

    result = Model().export(tmp_path / "m.onnx")
    assert set(result.signature.symbols) == {"batch", "time"}
    with torchport.load(tmp_path / "m.onnx") as run:
        out = run({"ids": np.zeros((2, 5), "int64"), "scale": np.ones(2, "float32")})
    assert next(iter(out.values())).shape == (2, 5, 4)
