"""What can be packaged of a file alone: what it states about itself, with goldens that it gives itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from torchport.emit import Artifact, format_for, read_metadata, stored_signature
from torchport.emit._files import digests_of
from torchport.errors import PackageError, PortError, RuntimeFailure, UnusablePathError
from torchport.packaging._goldens import is_ragged
from torchport.packaging._records import Golden, Part
from torchport.ports import Axis, AxisKind, Signature, make_inputs
from torchport.ports.extremes import Extreme
from torchport.verification import Session, open_artifact
from torchport.verification._records import Array
from torchport.verification.arrays import to_arrays
from torchport.verification.tolerance import MULTIPLE, noise_between, tolerance_of

__all__ = ["nudged", "part_of_file", "tolerances_near"]

_HINT = "package it when it is exported: result.package(…), or torchport export … --bundle DIR"
_USUAL = 17


def part_of_file(path: Path, name: str = "self") -> Part:
    """A file as a part of a package: its ports are those that it states, its golden outputs its own answers.

    Such goldens show later that the file is unchanged and runs alike elsewhere; that it equals its model, only its export could say.

    Args:
        path: An artifact that torchport wrote.
        name: What the part is called.

    Raises:
        UnusablePathError: There is no such file.
        PackageError: It does not state its ports, takes its weights as inputs, or no inputs can be made for it.
    """
    path = Path(path)
    if not path.is_file():
        raise UnusablePathError("there is no such artifact", stage="package", where=str(path))
    format = format_for(path)
    metadata = read_metadata(path)
    signature = stored_signature(metadata)
    if signature is None or not signature.is_resolved:
        raise PackageError(
            "the file does not state its ports: torchport did not write it, or somebody took them out",
            where=path.name,
            hint="export the model with torchport; for a file of somebody else, there is nothing that says what it should answer",
        )
    paths = tuple(_files(path))
    with open_artifact(paths, signature) as session:
        unknown = [one for one in session.input_names if one not in signature.inputs]
        if unknown:
            raise PackageError(
                "the file takes its weights as inputs: a package holds everything that it needs",
                where=path.name,
                found=", ".join(unknown[:3]),
                hint="export it with export_params=True",
            )
        goldens = _goldens(path, signature, session)
    artifact = Artifact(
        format=format.name,
        paths=paths,
        signature=signature,
        strategy=metadata.get("torchport.strategy", "unknown"),
        digests=digests_of(paths),
        metadata=metadata,
    )
    note = "the golden outputs are the artifact's own: they cannot show that it equals its model"
    return Part(name, metadata.get("torchport.model"), artifact, None, goldens, "artifact", (note,))


def _files(path: Path) -> list[Path]:
    from torchport.emit.onnx import Onnx

    format = format_for(path)
    content = format.read_content(path) if isinstance(format, Onnx) else None
    return [path] if content is None else list(content.files)


def _goldens(path: Path, signature: Signature, session: Session) -> tuple[Golden, ...]:
    sizes = {symbol: _usual_size(axis) for symbol, axis in signature.symbols.items()}
    wanted: tuple[tuple[str, Extreme | None], ...] = (("usual", None), ("zeros", "zeros"))
    made: list[Golden] = []
    for name, extreme in wanted:
        try:
            inputs = to_arrays(make_inputs(signature, sizes, seed=1, extreme=extreme))
            outputs = session.run(inputs)
            near = session.run({port: nudged(array) for port, array in inputs.items()})
        except (PortError, RuntimeFailure) as error:
            if extreme is not None:
                continue  # a model may refuse extreme values; the usual ones it must take
            raise PackageError(
                f"no inputs can be made for the file from what it states: {error.message}",
                where=path.name if error.where is None else f"{path.name}: {error.where}",
                found=error.found,
                hint=_HINT,
            ) from error
        if not made:
            name = "ragged" if is_ragged(signature, inputs) else name
        made.append(Golden(name, sizes, inputs, outputs, tolerances_near(outputs, near)))
    return tuple(made)


def _usual_size(axis: Axis) -> int:
    step = axis.multiple_of
    least = -(-max(axis.min, 3 if axis.kind is AxisKind.Batch else _USUAL) // step) * step
    return least if axis.max is None else min(least, axis.max // step * step)


def nudged(array: Array) -> Array:
    """The inputs, each number moved to one of its neighbours."""
    if array.dtype.kind != "f":
        return array
    signs = np.random.default_rng(0).choice((-1.0, 1.0), array.shape)
    moved: Array = np.nextafter(array, (signs * np.inf).astype(array.dtype))
    return moved


def tolerances_near(outputs: Mapping[str, Array], near: Mapping[str, Array]) -> dict[str, float]:
    """What another machine's rounding may do: so much as a step to the next number at every input does, times the proof's multiple."""
    same = {name: array for name, array in outputs.items() if near[name].shape == array.shape}
    noise = noise_between(same, near)
    found = {name: noise.get(name, 0.0) for name in outputs}
    return {
        name: tolerance_of(str(array.dtype), found[name] if np.isfinite(found[name] * MULTIPLE) else 0.0) for name, array in outputs.items()
    }
