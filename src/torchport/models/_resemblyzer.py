"""Finds the trained weights that the package ``resemblyzer`` 0.1.4 carries, without importing it or what it depends on."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor

from torchport.errors import ArchiveError, MissingDependencyError

__all__ = ["RESEMBLYZER_SHA256", "resemblyzer_weights"]

RESEMBLYZER_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
"""Digest of ``resemblyzer/pretrained.pt`` in the wheel ``Resemblyzer-0.1.4-py3-none-any.whl`` (Apache-2.0)."""

_INSTALL = "pip install --no-deps resemblyzer==0.1.4"


def _weights_file() -> Path:
    try:
        package = distribution("resemblyzer")
    except PackageNotFoundError as error:
        raise MissingDependencyError(
            "the trained weights of the speaker encoder are in the package 'resemblyzer'",
            where="resemblyzer",
            found="not installed",
            expected="resemblyzer 0.1.4",
            hint=_INSTALL,
        ) from error
    path = Path(str(package.locate_file("resemblyzer/pretrained.pt")))
    if not path.is_file():
        raise MissingDependencyError(
            "the package 'resemblyzer' is installed without its weights",
            where=str(path),
            found=f"resemblyzer {package.version} without pretrained.pt",
            expected="resemblyzer 0.1.4",
            hint=f"pip uninstall resemblyzer && {_INSTALL}",
        )
    return path


def resemblyzer_weights() -> dict[str, Tensor]:
    """The trained weights by name: ``lstm.*`` and ``linear.*``.

    Raises:
        MissingDependencyError: The package, or its file, is not there.
        ArchiveError: The file is another one than that of 0.1.4; it was not opened.
    """
    path = _weights_file()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != RESEMBLYZER_SHA256:
        raise ArchiveError(
            "the file with the speaker encoder's weights is not the one that resemblyzer 0.1.4 carries",
            where=str(path),
            found=f"sha256 {digest}",
            expected=f"sha256 {RESEMBLYZER_SHA256}",
            hint=f"pip uninstall resemblyzer && {_INSTALL}",
        )
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    return {name: tensor for name, tensor in state.items() if name.startswith(("lstm.", "linear."))}
