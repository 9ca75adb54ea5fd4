"""Whole numbers that nobody gave a range: an example made from types holds as many of them as the model takes."""

import numpy as np
import pytest
import torch
from torch import nn

import torchport
from torchport import NeuralType, ProofError, TorchportError
from torchport.types import IntRange, LabelsType, TokenIndex

WHOLE = "int64"


class Looked(nn.Module):
    """Rows of a table, by number."""

    def __init__(self, rows):
        super().__init__()
        self.table = nn.Embedding(rows, 4)

    def forward(self, ids):
        return self.table(ids)


class Timed(nn.Module):
    """Sines of a time step, as diffusion models have them."""

    def forward(self, x, step):
        angle = step[:, None] * torch.arange(8).div(-8).exp()
        return x + torch.cat([angle.sin(), angle.cos()], dim=-1)


class Repeated(nn.Module):
    """Frames, each as often as its number says."""

    def forward(self, x, times):
        return torch.repeat_interleave(x, times, dim=0)


class Passed(nn.Module):
    """Messages along edges: numbers point into another axis."""

    def forward(self, x, edges):
        return x.index_add(0, edges[1], x[edges[0]].sin())


class Divided(nn.Module):
    """Division that tells negative numbers from positive ones."""

    def forward(self, number):
        return number // 3, number % 5


class Scaled(nn.Module):
    def forward(self, image):
        return image.float() / 255


class Refusing(nn.Module):
    """Takes 0 and 1; larger numbers give something else, and most of them nothing."""

    def forward(self, flag):
        if int(flag.max()) > 3:
            raise ValueError("a flag is 0 or 1")
        return (flag / (flag < 2)).sqrt()


def exported(model, folder, types, suffix="onnx", **further):
    return torchport.export(model.eval(), folder / f"m.{suffix}", input_types=types, **further)


@pytest.mark.parametrize("rows", [2, 7, 33, 1000, 40000])
@pytest.mark.parametrize("axes", ["batch", "batch time"])
def test_a_table_says_how_many_numbers_there_are(tmp_path, rows, axes):
    result = exported(Looked(rows), tmp_path, {"ids": (axes, WHOLE)})
    assert result.signature.inputs["ids"].element == IntRange(min=0, max=rows - 1)
    assert any(f"from 0 to {rows - 1}: the model refuses greater ones" in note for note in result.notes)
    assert not any(note.startswith("weak") for note in result.notes)


def test_the_proof_sees_numbers_near_the_end_of_a_table(tmp_path):
    """A file whose table is wrong from row 500 on is not proved: with 0 and 1 alone it would be."""
    model = Looked(1000)
    result = exported(model, tmp_path, {"ids": ("batch time", WHOLE)})
    other = Looked(1000)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.table.weight[500:] += 0.1
    with pytest.raises(ProofError):
        torchport.verify(result.paths[0], other.eval(), input_types={"ids": ("batch time", WHOLE)}).raise_if_failed()
    torchport.verify(result.paths[0], model, input_types={"ids": ("batch time", WHOLE)}).raise_if_failed()


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
@pytest.mark.parametrize(
    ("model", "types", "name", "element"),
    [
        (Timed(), {"x": "batch 16", "step": ("batch", WHOLE)}, "step", IntRange(min=-1000, max=999, reach=2**31 - 1)),
        (Divided(), {"number": ("batch", WHOLE)}, "number", IntRange(min=-1000, max=999, reach=2**31 - 1)),
        (Repeated(), {"x": "tokens 4", "times": ("tokens", WHOLE)}, "times", IntRange(min=0, max=4)),
        (Scaled(), {"image": ("batch height width", "uint8")}, "image", IntRange(min=0, max=255)),
    ],
)
def test_numbers_without_an_end_are_tried_as_they_come(tmp_path, suffix, model, types, name, element):
    result = exported(model, tmp_path, types, suffix)
    assert result.signature.inputs[name].element == element
    assert not any(note.startswith("weak") for note in result.notes)


def test_numbers_that_point_into_an_axis_have_no_end_of_their_own(tmp_path):
    result = exported(Passed(), tmp_path, {"x": "nodes 8", "edges": ("2 edges", WHOLE)})
    assert not isinstance(result.signature.inputs["edges"].element, IntRange)
    assert any("points into `nodes`" in note for note in result.notes)
    run = torchport.load(result.paths[0])
    x, edges = np.ones((90, 8), np.float32), np.array([[89, 0], [3, 88]])
    expected = Passed()(torch.from_numpy(x), torch.from_numpy(edges)).numpy()
    assert np.allclose(next(iter(run({"x": x, "edges": edges}).values())), expected)


def test_a_declared_type_keeps_its_meaning(tmp_path):
    result = exported(Looked(50), tmp_path, {"ids": NeuralType(("B", "T"), TokenIndex())})
    assert result.signature.inputs["ids"].element == TokenIndex(num_classes=50)
    result = exported(Scaled(), tmp_path, {"image": NeuralType(("B", "T"), LabelsType())}, "ts")
    assert result.signature.inputs["image"].element == LabelsType()


def test_a_caller_s_range_or_example_is_not_widened(tmp_path):
    types = {"ids": NeuralType(("B", "T"), IntRange(min=2, max=5))}
    assert exported(Looked(50), tmp_path, types).signature.inputs["ids"].element == IntRange(min=2, max=5)
    result = exported(Looked(50), tmp_path, {"ids": ("batch time", WHOLE)}, "ts", input_example=torch.tensor([[3, 9, 4], [7, 0, 2]]))
    assert not isinstance(result.signature.inputs["ids"].element, IntRange)


def test_lengths_and_masks_by_name_stay_what_the_sizes_make_of_them(tmp_path):
    class Counted(nn.Module):
        def forward(self, x, x_len, padding_mask):
            kept = (torch.arange(x.shape[1]) < x_len[:, None]) & (padding_mask == 0)
            return (x * kept).sum(1)

    types = {"x": "batch time", "x_len": ("batch", WHOLE), "padding_mask": ("batch time", WHOLE)}
    result = exported(Counted(), tmp_path, types)
    assert not any("whole numbers" in note for note in result.notes)


def test_numbers_that_cannot_be_widened_are_told(tmp_path):
    result = torchport.export(Refusing(), tmp_path / "m.ts", input_types={"flag": ("batch", WHOLE)}, try_script=True)
    assert any(note.startswith("weak: `flag` holds whole numbers without a range") for note in result.notes)


def test_a_loop_of_python_over_a_number_is_not_run_for_ever(tmp_path):
    class Looped(nn.Module):
        def forward(self, steps):
            count = 0
            for _ in range(int(steps.max())):
                count += 1
            return steps + count

    with pytest.raises(TorchportError):
        exported(Looped(), tmp_path, {"steps": ("batch", WHOLE)})
