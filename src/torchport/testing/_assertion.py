"""`assert_exportable`: one line in a test that says a model can be exported, and proves it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from torchport.emit import format_for, formats
from torchport.errors import OptionError, TorchportError
from torchport.pipeline import export
from torchport.result import ExportResult
from torchport.testing._contracts import hold
from torchport.testing._failures import FormatFailure, not_exportable, shrunk

__all__ = ["assert_exportable", "suffixes_of"]

_OWN = {
    "output": "the artifacts go to a folder of their own, and are removed",
    "verify": "asserting without the proof says nothing",
    "overwrite": "the artifacts go to a folder of their own, and are removed",
    "keep_rejected": "a rejected artifact is kept while its sizes are shrunk, and removed",
}


def assert_exportable(
    model: torch.nn.Module,
    formats: str | Sequence[str] = (".onnx", ".ts"),
    *,
    input_example: Any = None,
    input_types: Mapping[str, Any] | None = None,
    output_types: Mapping[str, Any] | None = None,
    dynamic_axes: Mapping[str, Any] | None = None,
    contract: str | os.PathLike[str] | None = None,
    update_contract: bool = False,
    **arguments: Any,
) -> dict[str, ExportResult]:
    """Asserts that ``model`` can be exported: each format is written to a temporary folder and proved equal to the model.

    A failed proof is shrunk: the error names the smallest sizes at which the artifact disagrees. Nothing is left on disk, and the model is
    as it was found.

    Args:
        model: The model.
        formats: Extensions or names of formats; each is tried, also after one that failed.
        input_example: As for `torchport.export`.
        input_types: As for `torchport.export`.
        output_types: As for `torchport.export`.
        dynamic_axes: As for `torchport.export`.
        contract: The snapshot of the artifact's contract to hold it against, ``m.contract.json`` by custom. Of several formats each has its
            own, ``m.onnx.contract.json``; of several subnets too, ``encoder-m.contract.json``.
        update_contract: Write the snapshot instead. The fixture ``assert_exportable`` takes it from ``--update-contracts``.
        **arguments: Further arguments of `torchport.export`; those that would take the proof away are refused.

    Returns:
        The result of each format, by extension. Its files are gone.

    Raises:
        NotExportableError: An ``AssertionError``: a format could not be written, its proof failed, or it breaks its contract.
        OptionError: An argument is unusable.

    Example:
        >>> import torch
        >>> from torchport.testing import assert_exportable
        >>> results = assert_exportable(torch.nn.Linear(4, 2), ".onnx", input_types={"input": ("batch 4", "float32")})
        >>> list(results)
        ['.onnx']
    """
    __tracebackhide__ = True  # pytest ends its traceback at the caller's line
    for name, reason in _OWN.items():
        if name in arguments:
            raise OptionError(f"assert_exportable takes no {name}", where=name, found=arguments[name], hint=reason)
    if not isinstance(model, torch.nn.Module):
        raise OptionError("only a torch.nn.Module can be exported", where="model", found=type(model).__qualname__)
    arguments.update(input_example=input_example, input_types=input_types, output_types=output_types, dynamic_axes=dynamic_axes)
    name = type(model).__name__
    results: dict[str, ExportResult] = {}
    failures: list[FormatFailure] = []
    with tempfile.TemporaryDirectory(prefix="torchport-") as folder:
        suffixes = suffixes_of(formats)
        for suffix in suffixes:
            try:
                result = export(model, Path(folder) / f"{name.lower()}{suffix}", keep_rejected=True, **arguments)
                if contract is not None:
                    hold(result, Path(contract), suffix, alone=len(suffixes) == 1, update=update_contract)
            except TorchportError as error:
                failures.append(shrunk(suffix, model, error))
            else:
                results[suffix] = result
    if failures:
        raise not_exportable(name, failures, list(results)) from None
    return results


def suffixes_of(asked: str | Sequence[str]) -> list[str]:
    """The extensions that ``formats`` stands for; a format's name stands for its usual one.

    Raises:
        OptionError: None is asked for.
        UnknownNameError: No registered format has that extension or name.

    Example:
        >>> suffixes_of(["onnx", ".ts", "exported_program"])
        ['.onnx', '.ts', '.pt2']
    """
    wanted = [asked] if isinstance(asked, str) else list(asked)
    if not wanted:
        raise OptionError("there is no format to export to", where="formats", expected=", ".join(formats))
    found = [formats[one].suffixes[0] if one in formats else f".{one.removeprefix('.')}".lower() for one in wanted]
    for suffix in found:
        format_for(Path(f"model{suffix}"))
    return list(dict.fromkeys(found))
