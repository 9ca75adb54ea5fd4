"""`package`: an export's result, or artifacts that are there already, made ready for where they will run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchport.errors import OptionError, PackageError
from torchport.packaging import Order, Packaged, Part, part_of_file, targets
from torchport.result import Exported, ExportResult

if TYPE_CHECKING:
    from torchport.check import Signer

__all__ = ["package"]

PathLike = str | os.PathLike[str]


def package(
    what: ExportResult | PathLike | Sequence[PathLike],
    directory: PathLike,
    *,
    target: str = "bundle",
    overwrite: bool = False,
    metadata: Mapping[str, str] | None = None,
    signer: Signer | None = None,
    options: Mapping[str, Any] | None = None,
) -> Packaged:
    """Packages artifacts for where they will run.

    Args:
        what: The result of an export: its proof and the untouched model's answers go along. Or an artifact, or several: what they state
            about themselves goes along, with golden answers of their own.
        directory: Where the package shall be; it is there as a whole or not at all.
        target: The kind of package; ``bundle`` proves itself again by ``python -m torchport.check``.
        overwrite: Replace an older package of the same kind. Nothing else is ever replaced.
        metadata: Texts to write down beside everything else (``{"license": "Apache-2.0"}``).
        signer: Who vouches for it (`torchport.check.HmacSigner`), for targets that can be signed.
        options: What the target takes beside that (``{"max_batch_size": 8}`` for ``triton``).

    Returns:
        What was written.

    Raises:
        PackageError: It cannot be packaged so; nothing was written.
        ArtifactExistsError: Something is there already.
        UnusablePathError: The place cannot be written, or an artifact is gone or was changed since its export.

    Example:
        >>> result = torchport.export(model, "tagger.onnx")  # doctest: +SKIP
        >>> torchport.package(result, "tagger.bundle")  # doctest: +SKIP
    """
    chosen = targets[target]
    if not isinstance(directory, (str, os.PathLike)):
        raise OptionError("directory is a path", where="directory", found=type(directory).__qualname__, expected="a str or a pathlib.Path")
    texts = metadata if metadata is not None else {}
    if not isinstance(texts, Mapping) or not all(isinstance(key, str) and isinstance(value, str) for key, value in texts.items()):
        raise OptionError("metadata are texts", where="metadata", found=texts, expected="{text: text}")
    place = Path(os.fspath(directory))
    if place.name in ("", ".."):  # "." and "out/..": a name to write beside is needed
        place = place.resolve()
    return chosen.package(
        _parts(what), Order(place, overwrite, dict(texts), signer, {name: str(value) for name, value in (options or {}).items()})
    )


def _parts(what: ExportResult | PathLike | Sequence[PathLike]) -> list[Part]:
    if isinstance(what, ExportResult):
        return [_exported(part) for part in what.parts]
    paths = [what] if isinstance(what, (str, os.PathLike)) else list(what) if isinstance(what, Sequence) else []
    if not paths or not all(isinstance(path, (str, os.PathLike)) for path in paths):
        raise OptionError("an export's result or artifacts can be packaged", where="what", found=what, expected="an ExportResult or paths")
    if len(paths) == 1:
        return [part_of_file(Path(paths[0]))]
    return [part_of_file(Path(path), Path(path).stem) for path in paths]


def _exported(part: Exported) -> Part:
    if not part.goldens:
        raise PackageError("the result holds no answers of the model", where=part.artifact.path.name, hint="export the model again")
    notes = part.notes if part.proof is not None else (*part.notes, "not proved: exported with verify=False")
    return Part(part.name, part.model, part.artifact, part.proof, tuple(part.goldens), "model", notes)
