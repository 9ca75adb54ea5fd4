"""The successor of TorchScript: a ``.pt2`` archive that ``torch.export.load`` opens, clean of paths and of the example's data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch.export import ExportedProgram

from torchport._options import ExportOptions
from torchport.capture import Captured, Form
from torchport.emit._archive import EXTRA, read_extra, rewrite
from torchport.emit._base import Format, Written
from torchport.emit._content import Content
from torchport.emit._files import require_space
from torchport.emit._origins import origins_of_program
from torchport.emit._torch_content import exported_content

__all__ = ["ExportedProgramFormat"]

_SOURCE_KEYS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""Node metadata that names files, lines or classes of the author's machine; nothing of it is needed to run."""


class ExportedProgramFormat(Format):
    """A ``.pt2`` file."""

    name: ClassVar[str] = "exported_program"
    suffixes: ClassVar[tuple[str, ...]] = (".pt2",)
    form: ClassVar[Form] = "exported"
    strategies: ClassVar[tuple[str, ...]] = ("torch_export",)
    runtime: ClassVar[str] = "exported_program"

    def _write(self, captured: Captured, path: Path, options: ExportOptions, metadata: Mapping[str, str]) -> Written:
        program: ExportedProgram = captured.payload
        origins = origins_of_program(program) if options.debug_map is not None else {}
        _strip(program)
        raw = path.with_name("raw.pt2")
        held = (*program.state_dict.values(), *program.constants.values())
        require_space(path.parent, 2 * sum(one.nbytes for one in held if isinstance(one, torch.Tensor)))  # torch's own file, then ours
        example, program.example_inputs = program.example_inputs, None
        try:
            torch.export.save(program, raw, extra_files={EXTRA: json.dumps(dict(metadata), sort_keys=True)})
        finally:
            program.example_inputs = example
        rewrite(raw, path, is_small=_is_small, edit=_clean)
        raw.unlink()
        return Written((path,), origins=origins)

    def read_metadata(self, path: Path) -> dict[str, str]:
        """The record ``extra/torchport.json``."""
        return read_extra(path)

    def read_content(self, path: Path) -> Content:
        """The tensors, and the program with everything else; nothing is unpickled into objects or run."""
        return exported_content(path)


def _strip(program: ExportedProgram) -> None:
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            for key in _SOURCE_KEYS:
                node.meta.pop(key, None)


def _is_small(name: str) -> bool:
    return name.endswith((".json", "archive_format", "archive_version", "version", "byteorder")) and not name.startswith(
        "data/weights/weight"
    )


def _clean(records: dict[str, bytes]) -> dict[str, bytes]:
    return records
