"""A reproduction of a failed proof that fits into a mail: the first wrong node, the tensors that it reads, a script that shows it."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from torchport.errors import ArtifactExistsError, UnusablePathError
from torchport.verification._records import Array, Case, sizes_text
from torchport.verification.cause import Search, failing_cases
from torchport.verification.causes.eager import Step, watch
from torchport.verification.causes.onnx_values import NodeSeen, Seen, load, open_model, run, see, values_of
from torchport.verification.comparison import compare
from torchport.verification.reference import Reference

if TYPE_CHECKING:
    from torchport.emit import Artifact
    from torchport.verification.record import Proof

__all__ = ["LIMIT", "Reproduction", "check_place", "reproduce", "write_reproduction"]

LIMIT = 10**6
"""A reproduction of more bytes is refused."""

_SCRIPT = '''"""{about}"""

from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).parent
tensors = dict(np.load(here / "tensors.npz"))
inputs = {{name.removeprefix("input "): tensors[name] for name in tensors if name.startswith("input ")}}
session = onnxruntime.InferenceSession(str(here / "model.onnx"), providers=["CPUExecutionProvider"])
names = [value.name for value in session.get_outputs()]
try:
    got = dict(zip(names, session.run(names, inputs)))
except Exception as error:
    got = {{}}
    print("got an error:", error)
for name in names:
    expected = tensors[f"expected {{name}}"]
    print("output", name)
    print("expected", expected.dtype, expected.shape, expected.ravel()[:8])
    if name in got:
        print("got     ", got[name].dtype, got[name].shape, got[name].ravel()[:8])
        if got[name].shape == expected.shape:
            print("largest difference", np.max(np.abs(got[name].astype(np.float64) - expected.astype(np.float64)), initial=0.0))
'''


@dataclass(frozen=True)
class Reproduction:
    """What a reproduction is made of.

    Attributes:
        files: By name: ``model.onnx``, ``tensors.npz``, ``repro.py``; empty where none could be made.
        text: What it shows, or why there is none.
    """

    files: Mapping[str, bytes]
    text: str


def reproduce(artifact: Artifact, reference: Reference, proof: Proof, feeds: Mapping[str, Array]) -> Reproduction:
    """Makes a reproduction of a failed proof: of the first wrong node, or of the whole file where that node shows nothing by itself.

    Args:
        artifact: The artifact; its files are still there.
        reference: What it was proved against.
        proof: The failed proof.
        feeds: Constant inputs.
    """
    if artifact.path.suffix.lower() != ".onnx":
        return _none(f"only ONNX files are reproduced, and this is {artifact.format}")
    failing = failing_cases(proof.cases, reference.cases)
    if not failing:
        return _none("no case fails by itself: the disagreement is in the file's own description")
    model = load(artifact.path)
    if model is None:
        return _none("the file is too large to be opened again")
    case, _ = failing[0]
    part = _first_wrong(model, artifact, reference, case, feeds)
    at = f"at {sizes_text(case.sizes)}"
    if part is not None:
        about = f"The first wrong node of {artifact.path.name} {at}: {part.about}."
        made = _files(part.model, part.inputs, part.expected, about)
        if made.files:
            return made
    taken = {value.name for value in model.graph.input}
    inputs = {name: array for name, array in {**feeds, **case.inputs}.items() if name in taken}
    return _files(model, inputs, case.outputs, f"All of {artifact.path.name} {at}.")


def check_place(directory: Path) -> None:
    """Refuses a directory that a reproduction cannot be written to.

    Raises:
        ArtifactExistsError: It exists.
        UnusablePathError: Its parent is no directory.
    """
    if os.path.lexists(directory):
        raise ArtifactExistsError("the reproduction's directory exists", where=str(directory), hint="give the name of a new one")
    if not directory.parent.is_dir():
        raise UnusablePathError("the reproduction's parent directory does not exist", where=str(directory.parent), hint="create it first")


def write_reproduction(reproduction: Reproduction, directory: Path) -> str:
    """Writes a reproduction, whole or not at all.

    Returns:
        What was written, or why nothing was.
    """
    if not reproduction.files:
        return reproduction.text
    check_place(directory)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", suffix=".partial", dir=directory.parent) as staged:
        made = Path(staged) / directory.name
        made.mkdir()
        for name, content in reproduction.files.items():
            (made / name).write_bytes(content)
        made.rename(directory)
    return f"a reproduction is in {directory}: {reproduction.text}"


def _none(reason: str) -> Reproduction:
    return Reproduction({}, f"no reproduction: {reason}")


def _files(model: onnx.ModelProto, inputs: Mapping[str, Array], expected: Mapping[str, Array], about: str) -> Reproduction:
    packed = io.BytesIO()
    named = {
        **{f"input {name}": array for name, array in inputs.items()},
        **{f"expected {name}": array for name, array in expected.items()},
    }
    np.savez_compressed(packed, **named)  # type: ignore[arg-type]  # names are names of arrays, none is an option
    files = {
        "model.onnx": model.SerializeToString(deterministic=True),
        "tensors.npz": packed.getvalue(),
        "repro.py": _SCRIPT.format(about=about).encode(),
    }
    total = sum(map(len, files.values()))
    if total >= LIMIT:
        return _none(f"it would take {total} bytes, {LIMIT} are allowed; a smaller model or smaller sizes that fail would do")
    return Reproduction(files, about)


@dataclass(frozen=True)
class _Part:
    model: onnx.ModelProto
    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]
    about: str


def _first_wrong(model: onnx.ModelProto, artifact: Artifact, reference: Reference, case: Case, feeds: Mapping[str, Array]) -> _Part | None:
    """The first wrong node with what it reads; ``None`` where it is not found, or cannot be held against one operation of the model."""
    search = Search(artifact, reference, [case], list(case.outputs), feeds, None)
    if search.watched is None or reference.call is None:
        return None
    seen = see(model, search.failing[0].inputs)
    steps, nodes = search.where(seen)
    pairs = [(node, step) for node in nodes for step in steps if _belong_together(model, node, step, reference, feeds, search.near)]
    for node, step in pairs:
        place = search.watched.steps.index(step)
        expected = watch(reference.call, case.inputs, keep=place).kept
        if expected is None:
            continue
        cut = _cut(model, seen, node)
        if cut is None:
            continue
        part, wanted = cut
        values = values_of(model, wanted, seen.nodes.index(node), search.failing[0].inputs)
        if _differs(part, values, node.outputs[0], expected):
            module = f"module {step.module}, " if step.module else ""
            about = f"node {node.operator} {node.name!r}, {module}{step.file.rpartition('/')[2]} line {step.line}"
            return _Part(part, values, {node.outputs[0]: expected}, about)
    return None


def _belong_together(
    model: onnx.ModelProto, node: NodeSeen, step: Step, reference: Reference, feeds: Mapping[str, Array], near: float
) -> bool:
    """Whether a node and an operation of the model give the same where the artifact is right: at the traced example."""
    assert reference.call is not None
    example = reference.cases[0]
    watched = watch(reference.call, example.inputs)
    right = see(model, {**feeds, **example.inputs}).prints.get(node.outputs[0])
    same = [one for one in watched.steps if (one.name, one.file, one.line) == (step.name, step.file, step.line)]
    return right is not None and any(watched.values[one.outputs[0]].equals(right, near) for one in same)


def _cut(model: onnx.ModelProto, seen: Seen, node: NodeSeen) -> tuple[onnx.ModelProto, list[str]] | None:
    """The node and what computes its shapes, as a model of its own; and the values that it is to be fed with."""
    makers = {name: place for place, one in enumerate(seen.nodes) for name in one.outputs}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    places, fed, held = {seen.nodes.index(node)}, dict[str, None](), dict[str, onnx.TensorProto]()
    waiting = [name for name in node.inputs if name]
    while waiting:
        name = waiting.pop()
        if name in constants:
            held[name] = constants[name]
        elif name in makers and (name in seen.sizes or seen.nodes[makers[name]].operator == "Constant"):
            places.add(makers[name])
            waiting.extend(one for one in seen.nodes[makers[name]].inputs if one)
        else:
            fed[name] = None
    nodes = [model.graph.node[place] for place in sorted(places)]
    if any(attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for one in nodes for attribute in one.attribute):
        return None
    part = onnx.ModelProto(ir_version=model.ir_version, producer_name="torchport")
    part.opset_import.extend(model.opset_import)
    part.graph.name = "reproduction"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(held.values())
    part.graph.output.append(onnx.ValueInfoProto(name=node.outputs[0]))
    return part, list(fed)


def _differs(part: onnx.ModelProto, values: Mapping[str, Array], output: str, expected: Array) -> bool:
    """Declares the inputs of the cut model; whether it shows the fault all by itself."""
    del part.graph.input[:]
    for name, array in values.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        part.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, [None] * array.ndim))
    try:
        (got,) = run(open_model(part), [output], values)
    except Exception:  # noqa: BLE001 - that it fails is what it shows
        return True
    return compare(expected, got, 1e-4).kind is not None
