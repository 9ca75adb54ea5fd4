"""The bundle: an artifact with its manifest, golden answers and a README, which proves itself again without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torchport._comparison import compare
from torchport.check import MANIFEST, SIGNATURE, check, read_manifest
from torchport.check._arrays import write_arrays
from torchport.check._files import describe_file
from torchport.check._signing import format_signature
from torchport.errors import BundleError, PackageError
from torchport.packaging._base import Target
from torchport.packaging._manifest import artifact_entry, format_manifest
from torchport.packaging._readme import readme_text
from torchport.packaging._records import Golden, Order, Part
from torchport.verification import open_artifact

__all__ = ["BundleTarget"]

_README = "README.md"


class BundleTarget(Target):
    """A folder for anybody: ``python -m torchport.check`` says whether it is what was packaged, and whether it answers alike."""

    name: ClassVar[str] = "bundle"
    can_be_signed: ClassVar[bool] = True

    def is_ours(self, directory: Path) -> bool:
        """A folder with a manifest that can be read."""
        try:
            read_manifest(directory)
        except BundleError:
            return False
        return True

    def _write(self, parts: Sequence[Part], stage: Path, order: Order) -> Sequence[str]:
        _check_names(parts)
        artifacts, kept = [], []
        for given in parts:
            files = self.copy_artifact(given, stage)
            part = _holding(given, files)
            kept.append(part)
            folder = Path("goldens") / part.name
            (stage / folder).mkdir(parents=True)
            cases = []
            for golden in part.goldens:
                paths = {side: (folder / f"{golden.name}.{side}.npz").as_posix() for side in ("inputs", "outputs")}
                write_arrays(stage / paths["inputs"], golden.inputs)
                write_arrays(stage / paths["outputs"], golden.outputs)
                cases.append({"name": golden.name, "sizes": dict(golden.sizes), **paths, "tolerances": dict(golden.tolerances)})
            artifacts.append(artifact_entry(part, files, cases))
        (stage / _README).write_text(readme_text(order.directory.name, kept, artifacts, signed=order.signer is not None), encoding="utf-8")
        names = sorted(path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file())
        listed = [describe_file(stage / name, name) for name in names]
        content = format_manifest(artifacts, listed, order.metadata, None if order.signer is None else order.signer.name)
        (stage / MANIFEST).write_bytes(content)
        if order.signer is not None:
            (stage / SIGNATURE).write_bytes(format_signature(order.signer, content))
        return [note for part in kept for note in part.notes]

    def _check(self, stage: Path, order: Order) -> None:
        report = check(stage, signer=order.signer)
        if not report.ok:
            raise PackageError(
                "the bundle does not hold where it was made: it is not handed over",
                where=order.directory.name,
                found=str(report.problems[0]),
            )


def _check_names(parts: Sequence[Part]) -> None:
    """Two artifacts, or an artifact and a file of the bundle's own, cannot have one name."""
    taken = {_README.lower(), MANIFEST, SIGNATURE, "goldens"}
    for part in parts:
        for name in (path.name for path in part.artifact.paths):
            if name.lower() in taken:
                raise PackageError("two files of the bundle would have one name", where=name, hint="give the artifacts names of their own")
            taken.add(name.lower())
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1 or Path(name).name != name or name in (".", ".."):
            raise PackageError("each artifact of a bundle needs a name of its own that can be a folder's", where=name)


def _holding(part: Part, files: Sequence[Path]) -> Part:
    """The part with those goldens that the artifact answers within the plain tolerances.

    A proof may have let more pass, after a second look at that very case: a tie, rounding at that very size. A check elsewhere has no
    model to look again with.

    Args:
        part: What is packaged.
        files: Its files in the bundle, the one to open first.

    Raises:
        PackageError: Its first case is not among them, or it takes inputs that no port declares.
    """
    kept: list[Golden] = []
    notes = list(part.notes)
    with open_artifact(files, part.artifact.signature) as session:
        weights = [name for name in session.input_names if name not in part.artifact.signature.inputs]
        if weights:
            raise PackageError(
                "the artifact takes its weights as inputs: a package holds everything that it needs",
                where=part.artifact.path.name,
                found=", ".join(weights[:3]),
                hint="export it with export_params=True",
            )
        for golden in part.goldens:
            answer = session.run({name: array for name, array in golden.inputs.items() if name in session.input_names})
            wrong = next((name for name, array in golden.outputs.items() if not _agrees(array, answer.get(name), golden, name)), None)
            if wrong is None:
                kept.append(golden)
            elif golden is part.goldens[0]:
                raise PackageError(
                    "the artifact does not answer its first golden case as it should",
                    where=f"{part.artifact.path.name}: {golden.name}: {wrong}",
                    hint="export it with verify=True: the proof says what differs",
                )
            else:
                notes.append(
                    f"the case {golden.name!r} is no golden one: the proof let output `{wrong}` pass there only after a second look"
                )
    return dataclasses.replace(part, goldens=tuple(kept), notes=tuple(notes))


def _agrees(expected: object, got: object, golden: Golden, name: str) -> bool:
    return got is not None and compare(expected, got, golden.tolerances[name]).kind is None  # type: ignore[arg-type]  # arrays, both
