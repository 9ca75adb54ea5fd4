"""What a file says of its own ports, against what was declared: names, order, dtypes, axes symbolic under their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from torchport.ports import Port, Signature
from torchport.verification._records import Finding
from torchport.verification.runtimes import PortInFile
from torchport.verification.skeleton import read_skeleton

__all__ = ["answers_to", "check_ports", "onnx_ports"]

_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64", onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16", onnx.TensorProto.INT8: "int8", onnx.TensorProto.INT16: "int16", onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64", onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.UINT16: "uint16", onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.UINT64: "uint64", onnx.TensorProto.BOOL: "bool", onnx.TensorProto.COMPLEX64: "complex64",
    onnx.TensorProto.COMPLEX128: "complex128",
}  # fmt: skip


def onnx_ports(path: Path) -> tuple[tuple[PortInFile, ...], tuple[PortInFile, ...]]:
    """Inputs and outputs as the file itself states them (ONNX Runtime shows what it inferred), initializers left out."""
    graph = read_skeleton(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = tuple(_port(value) for value in graph.input if value.name not in weights)
    return inputs, tuple(_port(value) for value in graph.output)


def _port(value: onnx.ValueInfoProto) -> PortInFile:
    tensor = value.type.tensor_type
    dims: tuple[int | str | None, ...] | None = None
    if tensor.HasField("shape"):
        dims = tuple(dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in tensor.shape.dim)
    return PortInFile(value.name, _DTYPES.get(tensor.elem_type), dims)


def check_ports(
    inputs: Sequence[PortInFile],
    outputs: Sequence[PortInFile],
    signature: Signature,
    *,
    unused: Sequence[str] = (),
    extra: Mapping[str, object] | None = None,
    traced: Mapping[str, int] | None = None,
    foreign: object = None,
) -> list[Finding]:
    """Compares the file's ports with the declared ones.

    Args:
        inputs: As the file states them.
        outputs: As the file states them.
        signature: The declared ports.
        unused: Declared inputs that the graph does not use and the format may drop.
        extra: Inputs that are weights.
        traced: The traced sizes, to say where a baked number comes from.
        foreign: Anything but ``None``: others wrote the file. It may call an axis as it likes, as long as it calls no other axis so, and
            leave open what is declared fixed.

    Returns:
        What disagrees; axes that the file says nothing of are no finding for formats without shapes.
    """
    findings: list[Finding] = []
    called: dict[str, str] = {}
    for direction, found, declared in (("input", inputs, signature.inputs), ("output", outputs, signature.outputs)):
        names = [port.name for port in found if port.name not in (extra or {})]
        wanted = [name for name in declared if name in names or name not in unused]
        if names != wanted:
            said = f"{direction}s {', '.join(wanted)}"
            findings.append(Finding("names", "", {}, said, ", ".join(names) or "none", cause=_renamed(direction, wanted, names)))
        for port in found:
            if port.name in declared:
                findings.extend(_check_port(port, declared[port.name], traced or {}, called if foreign is not None else None))
    return findings


def _renamed(direction: str, wanted: Sequence[str], names: Sequence[str]) -> str:
    """What became of declared names that the file does not have; empty where it has them all."""
    gone, others = [name for name in wanted if name not in names], [name for name in names if name not in wanted]
    if not gone:
        return ""
    if len(gone) != len(others):
        unused = "; exporters drop what the model does not use: disabled_deployment_input_names names it" if direction == "input" else ""
        return f"the file has no {direction} {', '.join(gone)}{unused}"
    pairs = ", ".join(f"{name} is {other} there" for name, other in zip(gone, others, strict=True))
    return f"the file has other names of {direction}s: {pairs}; declare {direction}_types under the file's names, or export the model again"


def answers_to(inputs: Sequence[PortInFile], outputs: Sequence[PortInFile], signature: Signature, *, unused: Sequence[str] = ()) -> bool:
    """Whether the file has every declared name, so that it can be asked at all."""
    given, answered = {port.name for port in inputs}, {port.name for port in outputs}
    return given >= set(signature.inputs) - set(unused) and answered >= set(signature.outputs)


def _check_port(found: PortInFile, declared: Port, traced: Mapping[str, int], called: dict[str, str] | None) -> list[Finding]:
    """Compares one port; ``called`` keeps what a foreign file calls which axis."""
    findings = []
    if found.dtype is not None and declared.dtype is not None and found.dtype != declared.dtype:
        findings.append(Finding("dtype", found.name, {}, f"{declared.dtype} as declared", f"{found.dtype} in the file"))
    if found.dims is None or declared.axes is None:
        return findings
    if len(found.dims) != len(declared.axes):
        return [*findings, Finding("axis", found.name, {}, f"{len(declared.axes)} axes", f"{len(found.dims)} axes in the file")]
    for index, (dim, axis) in enumerate(zip(found.dims, declared.axes, strict=True)):
        got = f"{'no size' if dim is None else dim} in the file"
        if called is not None and not isinstance(dim, int):
            if axis.dynamic and dim is not None and called.setdefault(dim, axis.name) != axis.name:
                findings.append(Finding("axis", found.name, {}, f"axis {index} `{axis.name}`", f"{got}, as is `{called[dim]}`"))
        elif axis.dynamic and dim != axis.name:
            how = "was baked in" if traced.get(axis.name) == dim else "is fixed in the file"
            baked = f"`{axis.name}` {how} at {dim}" if isinstance(dim, int) else ""
            findings.append(Finding("axis", found.name, {}, f"axis {index} `{axis.name}`", got, cause=baked))
        elif not axis.dynamic and axis.size is not None and dim != axis.size:
            findings.append(Finding("axis", found.name, {}, f"axis {index} of size {axis.size}", got))
    return findings
