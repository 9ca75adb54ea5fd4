"""The runtimes: names and dtypes of a session, and a child process whose crash, hang or noise is one kind of error."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from torchport.errors import OptionError, RuntimeFailure
from torchport.ports import Signature
from torchport.verification import child, open_artifact, prove, runtime_for, runtimes
from torchport.verification.runtimes._process import ChildProcess

X = {"x": ("batch 4 time", "float32")}
Y = {"y": ("batch time", "float32")}
SIZES = {"batch": 3, "time": 37}


class Sum(torch.nn.Module):
    def forward(self, x):
        return x.sum(1)


def scripted(function, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(function).save(str(path))
    return path


class Double(torch.nn.Module):
    def forward(self, x):
        return x * 2


class Loop(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while bool(x.sum() == x.sum()):
            x = x * 1.0
        return x


class Raising(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] > 1:
            raise ValueError("one at a time, please")
        return x


def test_the_suffix_picks_the_runtime_in_any_case():
    assert runtime_for(Path("m.onnx")).name == runtime_for(Path("m.ONNX")).name == "onnxruntime"
    assert runtime_for(Path("m.ts")).name == runtime_for(Path("m.pt")).name == "torchscript"
    assert runtime_for(Path("m.pt2")).name == "exported_program"
    assert {"onnxruntime", "torchscript", "exported_program"} <= set(runtimes)


def test_an_unknown_suffix_lists_the_known_ones():
    with pytest.raises(OptionError, match=r"no runtime opens this file") as caught:
        runtime_for(Path("m.tflite"))
    assert ".onnx, .pt, .pt2, .ts" in str(caught.value)


def test_a_missing_file_is_a_runtime_failure(tmp_path):
    with pytest.raises(RuntimeFailure, match="there is no such file"):
        open_artifact(tmp_path / "m.onnx")


def model_of(node, *, opset=18, dtype=TensorProto.FLOAT, domain=""):
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", dtype, ["batch", 2])], [helper.make_tensor_value_info("y", dtype, ["batch", 2])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)])
    model.ir_version = 10
    return model


def test_an_onnx_session_tells_its_ports_and_answers_silently(tmp_path, capfd):
    onnx.save(model_of(helper.make_node("Relu", ["x"], ["y"])), tmp_path / "m.onnx")
    with open_artifact(tmp_path / "m.onnx") as session:
        assert session.input_names == ("x",)
        assert session.output_names == ("y",)
        assert session.inputs[0].dims == ("batch", 2)
        assert session.inputs[0].dtype == "float32"
        answer = session.run({"x": np.array([[-1, 2]], np.float32)})
    assert answer["y"].tolist() == [[0.0, 2.0]]
    assert capfd.readouterr() == ("", "")


def test_a_closed_session_says_so(tmp_path):
    onnx.save(model_of(helper.make_node("Relu", ["x"], ["y"])), tmp_path / "m.onnx")
    session = open_artifact(tmp_path / "m.onnx")
    session.close()
    session.close()
    with pytest.raises(RuntimeFailure, match="closed"):
        session.run({"x": np.zeros((1, 2), np.float32)})


def test_missing_and_unknown_inputs_are_named(tmp_path):
    onnx.save(model_of(helper.make_node("Relu", ["x"], ["y"])), tmp_path / "m.onnx")
    with open_artifact(tmp_path / "m.onnx") as session:
        with pytest.raises(RuntimeFailure, match="needs inputs"):
            session.run({})
        with pytest.raises(RuntimeFailure, match="does not have"):
            session.run({"x": np.zeros((1, 2), np.float32), "z": np.zeros(1, np.float32)})


def test_a_run_that_onnx_runtime_refuses_gives_its_message_without_source_positions(tmp_path, capfd):
    onnx.save(model_of(helper.make_node("Relu", ["x"], ["y"])), tmp_path / "m.onnx")
    with open_artifact(tmp_path / "m.onnx") as session, pytest.raises(RuntimeFailure, match="failed while running") as caught:
        session.run({"x": np.zeros((1, 3), np.float32)})
    assert "Got: 3 Expected: 2" in str(caught.value)
    assert "/onnxruntime_src/" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of(helper.make_node("Relu", ["x"], ["y"]), opset=99), "does not know the file's opset"),
        (model_of(helper.make_node("Nonesuch", ["x"], ["y"], domain="my.ops"), domain="my.ops", opset=1), "does not have"),
        (model_of(helper.make_node("Relu", ["x"], ["y"]), dtype=TensorProto.BFLOAT16), r"no CPU kernel for \w+ at bfloat16"),
        (model_of(helper.make_node("Relu", ["x"], ["y"]), dtype=TensorProto.INT16), r"no CPU kernel for \w+ at these types"),
        (model_of(helper.make_node("Relu", ["nothing"], ["y"])), "refuses the file"),
    ],
)
def test_a_file_that_onnx_runtime_does_not_take_is_refused_with_a_clear_reason(tmp_path, capfd, model, message):
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(RuntimeFailure, match=message):
        open_artifact(tmp_path / "m.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_newer_ir_version_is_refused_with_that_reason(tmp_path):
    model = model_of(helper.make_node("Relu", ["x"], ["y"]))
    model.ir_version = 99
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(RuntimeFailure, match="IR version"):
        open_artifact(tmp_path / "m.onnx")


def test_a_torchscript_file_is_proved_in_a_child_process(bench):
    model = bench(Sum(), X, Y, SIZES)
    reference = model.reference()
    proof = prove(model.script(reference=reference), reference, model.export_options)
    assert proof.ok, proof.table()
    assert proof.runtime == "torchscript"


def test_a_baked_torchscript_file_is_found_with_its_cause(bench):
    class Baked(torch.nn.Module):
        def forward(self, x):
            return x.sum(1).reshape(3, 37)

    model = bench(Sum(), X, Y, SIZES)
    reference = model.reference()
    proof = prove(model.script(Baked(), reference=reference, suffix=".pt"), reference, model.export_options)
    assert not proof.ok
    assert any("was baked in at" in finding.cause for finding in proof.findings)


def test_an_exported_program_is_proved_in_a_child_process(bench):
    model = bench(Sum(), X, Y, SIZES)
    reference = model.reference()
    artifact = model.script(reference=reference)
    path = model.directory / "m.pt2"
    program = torch.export.export(model.module, tuple(model.example.values()), dynamic_shapes=reference.signature.dims())
    torch.export.save(program, path)
    import dataclasses

    proof = prove(dataclasses.replace(artifact, format="exported_program", paths=(path,)), reference, model.export_options)
    assert proof.ok, proof.table()
    assert proof.runtime == "exported_program"


def test_an_error_inside_the_artifact_is_its_own_words_and_the_child_lives_on(tmp_path):
    path = scripted(Raising(), tmp_path / "m.ts")
    signature = Signature.of(inputs={"x": ("batch 2", "float32")}, outputs={"y": ("batch 2", "float32")})
    with open_artifact(path, signature) as session:
        with pytest.raises(RuntimeFailure, match="failed while running") as caught:
            session.run({"x": np.zeros((2, 2), np.float32)})
        assert "one at a time, please" in str(caught.value)
        assert session.run({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[1.0, 1.0]]


def test_a_hang_is_ended_at_the_timeout_and_the_child_is_gone(tmp_path):
    path = scripted(Loop(), tmp_path / "m.ts")
    process = ChildProcess("torchscript", path, threads=1, timeout=60)
    process._timeout = 0.5
    start = time.monotonic()
    with pytest.raises(RuntimeFailure, match=r"did not answer within 0\.5 s while running"):
        process.run({"x": np.ones((2, 2), np.float32)}, ["x"])
    assert time.monotonic() - start < 5
    with pytest.raises(ProcessLookupError):
        os.kill(process._process.pid, 0)
    with pytest.raises(RuntimeFailure, match="has ended already"):
        process.run({"x": np.ones((2, 2), np.float32)}, ["x"])


def test_a_file_that_is_no_torchscript_is_refused(tmp_path):
    (tmp_path / "m.ts").write_bytes(b"nothing of the kind")
    with pytest.raises(RuntimeFailure, match="failed while loading"):
        open_artifact(tmp_path / "m.ts")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("import os; os._exit(7)", "exit code 7"),
        ("import sys; sys.stderr.write('a last word'); sys.exit(2)", "a last word"),
        ("import os, sys; os.close(int(sys.argv[5]))\nwhile True: pass", "closed its pipe"),
    ],
)
def test_a_crash_is_a_runtime_failure_with_its_reason(tmp_path, monkeypatch, script, reason):
    fake = tmp_path / "fake.py"
    fake.write_text(script)
    monkeypatch.setattr(child, "__file__", str(fake))
    with pytest.raises(RuntimeFailure, match="died while loading") as caught:
        ChildProcess("torchscript", tmp_path / "m.ts", threads=1, timeout=30)
    assert reason in str(caught.value)


def test_a_child_that_hangs_while_loading_is_ended(tmp_path, monkeypatch):
    fake = tmp_path / "fake.py"
    fake.write_text("while True: pass")
    monkeypatch.setattr(child, "__file__", str(fake))
    with pytest.raises(RuntimeFailure, match="while loading"):
        ChildProcess("torchscript", tmp_path / "m.ts", threads=1, timeout=0.3)


def test_what_an_import_prints_is_not_taken_for_an_answer(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import os; print('noise ' * 100); os.write(1, b'more noise')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = scripted(Raising(), tmp_path / "m.ts")
    with open_artifact(path) as session:
        assert session.input_names == ("x",)
        assert session.run({"x": np.ones((1, 2), np.float32)})["output_0"].tolist() == [[1.0, 1.0]]


def test_every_dtype_and_an_empty_array_pass_the_pipes(tmp_path):
    class Plain(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
            return a, [b, c, d]

    path = scripted(Plain(), tmp_path / "m.ts")
    inputs = {
        "a": np.array([[1.5]], ml_dtypes.bfloat16),
        "b": np.array([1 + 2j], np.complex64),
        "c": np.zeros((0, 3), np.int64),
        "d": np.array(True),
    }
    with open_artifact(path) as session:
        answer = session.run(inputs)
    for array, got in zip(inputs.values(), answer.values(), strict=True):
        assert got.dtype == array.dtype
        assert got.shape == array.shape
        assert np.array_equal(got.astype(np.complex128), array.astype(np.complex128))


def test_a_file_with_another_number_of_inputs_or_outputs_than_its_ports_is_refused(tmp_path):
    path = scripted(Raising(), tmp_path / "m.ts")
    two = Signature.of(inputs={"x": ("batch 2", "float32"), "z": ("batch", "float32")}, outputs={"y": ("batch 2", "float32")})
    with pytest.raises(RuntimeFailure, match="another number of inputs"):
        open_artifact(path, two)
    one = Signature.of(inputs={"x": ("batch 2", "float32")}, outputs={"y": ("batch 2", "float32"), "z": ("batch", "float32")})
    with open_artifact(path, one) as session, pytest.raises(RuntimeFailure, match="another number of outputs"):
        session.run({"x": np.ones((1, 2), np.float32)})


def test_a_torchscript_file_carries_its_own_ports(tmp_path):
    import json

    signature = Signature.of(inputs={"audio": ("batch 2", "float32")}, outputs={"answer": ("batch 2", "float32")})
    metadata = json.dumps({"torchport.signature": json.dumps(signature.to_dict())})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Raising()), str(tmp_path / "m.ts"), _extra_files={"torchport.json": metadata})
    with open_artifact(tmp_path / "m.ts") as session:
        assert session.input_names == ("audio",)
        assert session.output_names == ("answer",)


def test_a_successor_keeps_the_process_and_takes_another_artifact(tmp_path):
    first, second, broken = (tmp_path / name for name in ("first.ts", "second.ts", "broken.ts"))
    scripted(Sum(), first)
    scripted(Double(), second)
    broken.write_bytes(b"no archive")
    ones = {"x": np.ones((1, 2), np.float32)}
    session = open_artifact(first)
    with pytest.raises(RuntimeFailure, match="failed while loading"):
        session.successor([broken])
    follower = session.successor([second])
    with follower:
        assert follower._child is session._child
        assert follower.run(ones)["output_0"].ravel().tolist() == [2.0, 2.0]
    assert follower.successor([first]) is None


def test_a_runtime_without_a_process_has_no_successor(tmp_path):
    model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 18]> g (float[n] x) => (float[n] y) { y = Neg(x) }')
    onnx.save(model, tmp_path / "m.onnx")
    with open_artifact(tmp_path / "m.onnx") as session:
        assert session.successor([tmp_path / "m.onnx"]) is None
