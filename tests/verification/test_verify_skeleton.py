"""Reading ONNX files without their weights; the child's loop, run in this process."""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from torchport.errors import RuntimeFailure
from torchport.ports import Signature
from torchport.verification import child
from torchport.verification.axes import check_ports, onnx_ports
from torchport.verification.runtimes import PortInFile, open_artifact
from torchport.verification.runtimes._torch_files import TorchFileSession
from torchport.verification.skeleton import read_skeleton, refer_to_contents


def saved(tmp_path, nodes, initializers):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_large_contents_stay_on_disk_and_everything_else_is_there(tmp_path):
    large, small = np.random.rand(200, 300).astype(np.float32), np.arange(3)
    spelled = helper.make_tensor("spelled", TensorProto.FLOAT, [3000], [0.5] * 3000)
    path = saved(
        tmp_path,
        [helper.make_node("MatMul", ["x", "large"], ["y"], name="product")],
        [numpy_helper.from_array(large, "large"), numpy_helper.from_array(small, "small"), spelled],
    )
    model = read_skeleton(path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    assert list(tensors["large"].dims) == [200, 300]
    assert not tensors["large"].raw_data
    assert not tensors["spelled"].float_data
    assert numpy_helper.to_array(tensors["small"]).tolist() == [0, 1, 2]
    assert model.ByteSize() < 1000
    full = onnx.load(path)
    assert model.graph.node == full.graph.node
    assert model.opset_import == full.opset_import


def product(tmp_path, change=lambda tensor: None, name="large"):
    """A file with one large weight, one small one, and one that is spelled out; the large one changed."""
    large = numpy_helper.from_array(np.random.default_rng(0).random((40, 70), np.float32), name)
    change(large)
    spelled = helper.make_tensor("spelled", TensorProto.FLOAT, [70], [0.5] * 70)
    nodes = [helper.make_node("MatMul", ["x", name], ["a"]), helper.make_node("Add", ["a", "small"], ["b"])]
    small = numpy_helper.from_array(np.ones(1, np.float32), "small")
    return saved(tmp_path, [*nodes, helper.make_node("Add", ["b", "spelled"], ["y"])], [large, small, spelled])


def test_a_model_that_refers_to_its_weights_is_the_file_in_everything_else(tmp_path):
    path = product(tmp_path)
    whole, referring = onnx.load(path), onnx.ModelProto.FromString(refer_to_contents(path))
    large, kept = whole.graph.initializer[0], referring.graph.initializer[0]
    place = {entry.key: entry.value for entry in kept.external_data}
    assert place["location"] == "m.onnx"
    assert path.read_bytes()[int(place["offset"]) :][: int(place["length"])] == large.raw_data
    assert (kept.name, kept.dims, kept.data_type) == (large.name, large.dims, large.data_type)
    for model in (whole, referring):
        del model.graph.initializer[0]
    assert whole == referring


def test_a_session_opened_briefly_answers_as_one_of_the_file(tmp_path):
    path = product(tmp_path)
    x = np.random.default_rng(1).random((3, 40), np.float32)
    with open_artifact(path) as one, open_artifact(path, briefly=True) as other:
        assert (one.inputs, one.outputs) == (other.inputs, other.outputs)
        assert np.array_equal(one.run({"x": x})["y"], other.run({"x": x})["y"])


def test_a_file_that_is_opened_briefly_is_found_from_any_folder_and_through_a_link(tmp_path, monkeypatch):
    (tmp_path / "näher").mkdir()
    path = product(tmp_path).rename(tmp_path / "näher" / "ein modell.onnx")
    (tmp_path / "link.onnx").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for one in ("näher/ein modell.onnx", "link.onnx"):
        with open_artifact(one, briefly=True) as session:
            assert session.run({"x": np.ones((2, 40), np.float32)})["y"].shape == (2, 70)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.ClearField("raw_data"),
        lambda tensor: setattr(tensor, "raw_data", tensor.raw_data[:-4]),
        lambda tensor: setattr(tensor, "raw_data", tensor.raw_data + bytes(4)),
        lambda tensor: tensor.dims.extend([2]),
        lambda tensor: setattr(tensor, "data_type", TensorProto.DOUBLE),
        lambda tensor: setattr(tensor, "data_type", 77),
    ],
    ids=["none", "short", "long", "dims", "dtype", "no dtype"],
)
def test_a_weight_that_does_not_fit_its_declaration_is_refused_either_way(tmp_path, change):
    path = product(tmp_path, change)
    for briefly in (False, True):
        with pytest.raises(RuntimeFailure):
            open_artifact(path, briefly=briefly)


def test_a_file_that_is_cut_short_is_refused_either_way(tmp_path):
    path = product(tmp_path)
    whole = path.read_bytes()
    for end in (7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        for briefly in (False, True):
            with pytest.raises(RuntimeFailure):
                open_artifact(path, briefly=briefly)


def test_what_only_a_parser_can_judge_is_left_to_it(tmp_path):
    path = product(tmp_path)
    whole = path.read_bytes()
    twice = onnx.ModelProto(graph=onnx.GraphProto(doc_string="more")).SerializeToString()
    path.write_bytes(whole + twice)
    assert refer_to_contents(path) is None
    path.write_bytes(whole)
    os.truncate(path, 2**31)  # a hole: it takes no room
    assert refer_to_contents(path) is None
    with pytest.raises(RuntimeFailure):
        open_artifact(path, briefly=True)
    beside = onnx.ModelProto.FromString(whole)
    onnx.save(beside, path, save_as_external_data=True, location="beside.bin", size_threshold=0)
    assert refer_to_contents(path) is None


@pytest.mark.parametrize("content", [b"", b"\x0f\x0f not a model", b"\xff" * 40])
def test_what_is_no_model_is_a_value_error(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ValueError, match="empty|not an ONNX model|cut short"):
        read_skeleton(tmp_path / "m.onnx")


def test_a_file_that_is_cut_short_is_a_value_error(tmp_path):
    path = saved(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], [])
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="cut short"):
        read_skeleton(path)


def test_axes_that_a_file_does_not_name_are_told_from_shapes_that_it_does_not_state(tmp_path):
    inputs, outputs = onnx_ports(saved(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], []))
    assert inputs == (PortInFile("x", "float32", ("batch", None)),)
    assert outputs == (PortInFile("y", "float32", None),)
    signature = Signature.of(inputs={"x": ("batch time", "float32")}, outputs={"y": ("batch", "float32")})
    findings = check_ports(inputs, outputs, signature)
    assert [finding.got for finding in findings] == ["no size in the file"]


def test_another_rank_in_the_file_is_a_finding():
    signature = Signature.of(inputs={"x": ("batch time", "float32")}, outputs={})
    findings = check_ports([PortInFile("x", "float32", ("batch",))], [], signature)
    assert [(finding.kind, finding.expected) for finding in findings] == [("axis", "2 axes")]


class Odd(torch.nn.Module):
    def forward(self, x: torch.Tensor, n: torch.Tensor):
        if bool(n.sum() < 0):
            raise ValueError("n is below zero")
        return {"sum": x.sum(0)}, [n, x], (x[:0], int(n[0]))


@pytest.mark.parametrize("kind", ["torchscript", "exported_program"])
def test_the_child_answers_until_its_input_ends(tmp_path, monkeypatch, kind):
    """The same loop as in the child, here in a thread, so that its lines count."""
    before = torch.get_num_threads()
    path = tmp_path / ("m.ts" if kind == "torchscript" else "m.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "torchscript":
            torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(path))
        else:
            torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), path)
        (source, requests), (answers, answers_end) = os.pipe(), os.pipe()
        thread = threading.Thread(target=child.main, args=(kind, str(path), str(before), str(source), str(answers_end)))
        thread.start()
        with os.fdopen(requests, "wb") as out, os.fdopen(answers, "rb") as back:
            about, _ = child._read(back)
            child._write(out, {"order": ["x"]}, {"x": torch.ones(1, 2)})
            header, arrays = child._read(back)
            child._write(out, {"order": ["x"]}, {"x": torch.ones(1, 3)})
            refused, _ = child._read(back)
            child._write(out, {"order": ["x"], "watch": [1, 9]}, {"x": torch.ones(1, 2)})
            watched, values = child._read(back)
            child._write(out, {"order": ["x"], "watch": [0, 9]}, {"x": torch.ones(1, 3)})
            stopped, _ = child._read(back)
            child._write(out, {"order": [], "load": str(path)}, {})
            again, _ = child._read(back)
        thread.join(30)
    assert not thread.is_alive()
    assert len(about["arguments"]) == 1
    assert header["arrays"] == [["0", "float32", [1, 2]]]
    assert arrays["0"].shape == (1, 2)
    assert again == about
    assert [name for name, _, _ in watched["steps"]][-1] == "aten::addmm"
    assert watched["count"] == sum(len(made) for _, _, made in watched["steps"])
    assert watched["outputs"] == [watched["count"] - 1]
    assert set(values) == {str(number) for number in range(1, watched["count"])}
    assert watched["failed"] is None
    assert stopped["failed"] == (["aten::addmm", [0]] if kind == "torchscript" else None)  # a program looks at its inputs first
    assert "RuntimeError" in refused["error"] or "AssertionError" in refused["error"]


def test_the_child_says_why_it_could_not_load(tmp_path):
    (tmp_path / "m.ts").write_bytes(b"no such thing")
    (source, requests), (answers, answers_end) = os.pipe(), os.pipe()
    arguments = ("torchscript", str(tmp_path / "m.ts"), str(torch.get_num_threads()), str(source), str(answers_end))
    with warnings.catch_warnings(), pytest.raises(SystemExit):
        child.main(*arguments)
    torch.set_grad_enabled(True)
    os.close(requests)
    with os.fdopen(answers, "rb") as back:
        header, _ = child._read(back)
    assert "error" in header


def test_outputs_of_any_nesting_are_flattened_in_order():
    answer = child._answer(Odd(), [torch.ones(2, 3), torch.tensor([4])])
    assert [tuple(tensor.shape) for tensor in answer.values()] == [(3,), (1,), (2, 3), (0, 3), ()]
    with pytest.raises(ValueError, match="below zero"):
        child._answer(Odd(), [torch.ones(2, 3), torch.tensor([-4])])


def test_a_session_without_ports_takes_the_files_own_argument_names(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "m.ts"))
    with TorchFileSession("torchscript", tmp_path / "m.ts", None, 60.0) as session:
        assert session.input_names == ("input",)
        assert session.output_names == ()
