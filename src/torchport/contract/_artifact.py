"""The contract of an artifact, made by anybody: what its file shows, with the sizes and the meaning that it states about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchport.contract._records import AxisTerm, Contract, PortTerm, SizeRange
from torchport.emit import content_digests, format_for, read_metadata, stored_signature
from torchport.errors import UnusablePathError
from torchport.ports import Port, Signature
from torchport.verification import PortInFile, open_artifact
from torchport.verification.axes import onnx_ports
from torchport.verification.skeleton import read_skeleton

__all__ = ["contract_of"]


def contract_of(path: Path) -> Contract:
    """The contract of an artifact.

    Of an ONNX file the names, order, dtypes and axes are those of its graph; what it states in its metadata adds ranges and meaning.
    Of other formats they are those that torchport wrote into the file, else those that its runtime shows.

    Args:
        path: The artifact, of any registered format.

    Raises:
        UnknownNameError: No registered format has the extension.
        UnusablePathError: There is no such file, or it is not of the format that its extension stands for.
    """
    path = Path(path)
    format = format_for(path)
    if not path.is_file():
        raise UnusablePathError("there is no such artifact", stage="load", where=str(path))
    metadata = read_metadata(path)
    stored = stored_signature(metadata)
    known = stored or Signature()
    further: dict[str, Any] = {}
    if format.name == "onnx":
        shown, further = _onnx(path)
    elif stored is None:
        with open_artifact(path) as session:
            shown = session.inputs, session.outputs
    else:
        shown = None
    if shown is None:
        inputs, outputs = ([_stated(name, port) for name, port in ports.items()] for ports in (known.inputs, known.outputs))
    else:
        inputs, outputs = (_shown(ports, stated) for ports, stated in zip(shown, (known.inputs, known.outputs), strict=True))
    for ports in (inputs, outputs):
        for name, count in Counter(port.name for port in ports).items():
            if count > 1:
                raise UnusablePathError("two ports of the file have one name", stage="load", where=str(path), found=name)
    return Contract(
        format=format.name,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        symbols=_symbols((*inputs, *outputs), known),
        model=metadata.get("torchport.model"),
        strategy=metadata.get("torchport.strategy"),
        writer={name: metadata[key] for name, key in (("torchport", "torchport.version"), ("torch", "torchport.torch")) if key in metadata},
        digests={name: one for name, one in content_digests(path).to_dict().items() if one is not None},
        **further,
    )


def _onnx(path: Path) -> tuple[tuple[Sequence[PortInFile], Sequence[PortInFile]], dict[str, Any]]:
    try:
        model = read_skeleton(path)
    except ValueError as error:
        raise UnusablePathError(str(error), stage="load", where=str(path)) from error
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return onnx_ports(path), {"opsets": dict(sorted(opsets.items())), "ir_version": model.ir_version}


def _shown(ports: Sequence[PortInFile], stated: Mapping[str, Port]) -> list[PortTerm]:
    """Ports as the file shows them, with what it states of those names."""
    terms = []
    for port in ports:
        said = stated.get(port.name, Port())
        terms.append(
            PortTerm(
                port.name,
                port.dtype or said.dtype,
                None if port.dims is None else tuple(_axis(dim) for dim in port.dims),
                _meaning(said),
                said.optional,
            )
        )
    return terms


def _axis(dim: int | str | None) -> AxisTerm:
    if isinstance(dim, int):
        return AxisTerm(dim) if dim >= 0 else AxisTerm()  # some exporters write -1 for a size that varies
    return AxisTerm(None, dim)


def _stated(name: str, port: Port) -> PortTerm:
    axes = (
        None
        if port.axes is None
        else tuple(AxisTerm(None, axis.name or None) if axis.dynamic else AxisTerm(axis.size) for axis in port.axes)
    )
    return PortTerm(name, port.dtype, axes, _meaning(port), port.optional)


def _meaning(port: Port) -> str | None:
    entry = port.to_dict()
    if "element" not in entry:
        return None
    parameters = ", ".join(f"{name}={value!r}" for name, value in sorted(entry.get("parameters", {}).items()))
    return f"{entry['element']}({parameters})"


def _symbols(ports: Sequence[PortTerm], known: Signature) -> dict[str, SizeRange]:
    names = {axis.symbol for port in ports for axis in port.axes or () if axis.symbol is not None}
    ranges = {}
    for name in sorted(names):
        axis = known.symbols.get(name)
        ranges[name] = SizeRange() if axis is None else SizeRange(axis.min, axis.max, axis.multiple_of)
    return ranges
