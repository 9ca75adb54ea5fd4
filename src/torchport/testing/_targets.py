"""For authors of deploy targets: what every target promises, asserted over one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from torchport.errors import ArtifactExistsError, ExtensionError, TorchportError
from torchport.packaging import targets
from torchport.pipeline import export
from torchport.result import ExportResult

__all__ = ["assert_target"]

_TYPES: dict[str, Any] = {"input_types": {"x": ("batch 4", "float32")}, "output_types": {"y": ("batch 3", "float32")}}


def assert_target(name: str, *, suffix: str = ".onnx", options: Mapping[str, Any] | None = None, same_bytes: bool = True) -> None:
    """Asserts what every registered target promises, with a tiny model.

    A package is there, whole, with nothing beside it; it is one of the target's own, and a stranger's folder is not; a stranger's folder is
    never replaced, whatever is asked for; an older package is replaced on request; the same export gives the same bytes; an artifact that
    was changed since its export is refused, and leaves nothing; no path of this machine is in the package.

    Args:
        name: The registered name.
        suffix: The extension of an artifact that the target takes.
        options: The target's own options.
        same_bytes: ``False`` leaves that promise out.

    Raises:
        ExtensionError: An ``AssertionError``: a promise is not kept; the message says which.
        UnknownNameError: There is no such target.

    Example:
        >>> from torchport.testing import assert_target
        >>> assert_target("bundle")
    """
    __tracebackhide__ = True
    target = targets[name]
    with tempfile.TemporaryDirectory(prefix="torchport-") as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        root = Path(folder)
        (root / "exported").mkdir()
        result = export(torch.nn.Linear(4, 3).eval(), root / "exported" / f"tiny{suffix}", input_example=torch.randn(2, 4), **_TYPES)
        home = _packaged(name, result, root / "one", options)
        before = _content(home)
        if not before:
            _broken(name, "a package holds files", f"nothing in {home.name}")
        if not target.is_ours(home):
            _broken(name, "is_ours knows its own package", home.name)
        if leak := next((file for file, content in before.items() if folder.encode() in content), None):
            _broken(name, "no path of this machine is in the package", leak)
        other = _packaged(name, result, root / "other", options)
        if same_bytes and _content(other) != before:
            _broken(name, "the same export gives the same bytes", "other bytes in another folder")
        _never_replaced(name, result, root / "stranger", home.relative_to(root / "one" / "place"), options)
        try:
            result.package(root / "one" / "place", target=name, overwrite=True, options=options)
        except TorchportError as error:
            raise ExtensionError(f"{name}: an older package cannot be replaced on request", found=str(error)) from error
        if same_bytes and _content(home) != before:
            _broken(name, "overwriting gives the package anew", "other files")
        _never_changed(name, result, root / "changed", options)


def _packaged(name: str, result: ExportResult, folder: Path, options: Mapping[str, Any] | None) -> Path:
    """Packages into ``place`` below a new folder, and gives where the package is."""
    folder.mkdir()
    try:
        home = result.package(folder / "place", target=name, options=options).directory
    except TorchportError as error:
        raise ExtensionError(f"{name}: a tiny model cannot be packaged", found=str(error)) from error
    if beside := [path.name for path in folder.iterdir() if path.name != "place"]:
        _broken(name, "nothing is left beside the package", ", ".join(beside))
    return home


def _never_replaced(name: str, result: ExportResult, folder: Path, home: Path, options: Mapping[str, Any] | None) -> None:
    """A folder of somebody else's, where the package would be."""
    stranger = folder / "place" / home
    stranger.mkdir(parents=True)
    (stranger / "thesis.tex").write_text("years of work")
    if targets[name].is_ours(stranger):
        _broken(name, "is_ours knows a stranger's folder", "it takes it for its own")
    before = _content(folder)
    for overwrite in (False, True):
        try:
            result.package(folder / "place", target=name, overwrite=overwrite, options=options)
        except ArtifactExistsError:
            pass
        except TorchportError as error:
            raise ExtensionError(f"{name}: what is there already is refused as such", found=str(error)) from error
        else:
            _broken(name, "a stranger's folder is never replaced", f"no error with overwrite={overwrite}")
        if _content(folder) != before:
            _broken(name, "a stranger's folder is never replaced", "other files")


def _never_changed(name: str, result: ExportResult, folder: Path, options: Mapping[str, Any] | None) -> None:
    """An artifact that is not what was proved."""
    folder.mkdir()
    with result.path.open("ab") as file:
        file.write(b"\0")
    try:
        result.package(folder / "place", target=name, options=options)
    except TorchportError:
        if left := _content(folder):
            _broken(name, "a package that failed leaves nothing", ", ".join(left))
    else:
        _broken(name, "an artifact that was changed since its export is refused", "a package of it")


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _broken(name: str, promise: str, found: object) -> NoReturn:
    raise ExtensionError(f"{name} does not keep a promise", expected=promise, found=found)
