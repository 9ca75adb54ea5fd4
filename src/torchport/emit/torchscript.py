"""TorchScript: what ``torch.jit.load`` opens, without debug records, source paths, clock or random ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch

from torchport._options import ExportOptions
from torchport.capture import Captured, Form
from torchport.emit._archive import EXTRA, holds_weights_alone, read_extra, rewrite
from torchport.emit._base import Format, Written
from torchport.emit._content import Content
from torchport.emit._files import require_space
from torchport.emit._origins import origins_of_script
from torchport.emit._torch_content import script_content
from torchport.emit._torchscript_names import rename_classes
from torchport.errors import UnusablePathError

__all__ = ["TorchScript"]


class TorchScript(Format):
    """A ``.ts`` or ``.pt`` file."""

    name: ClassVar[str] = "torchscript"
    suffixes: ClassVar[tuple[str, ...]] = (".ts", ".pt")
    form: ClassVar[Form] = "script"
    strategies: ClassVar[tuple[str, ...]] = ("trace", "script")
    runtime: ClassVar[str] = "torchscript"

    def _write(self, captured: Captured, path: Path, options: ExportOptions, metadata: Mapping[str, str]) -> Written:
        raw = path.with_name(f"{path.name}.raw")
        held = (*captured.payload.parameters(), *captured.payload.buffers())
        require_space(path.parent, 2 * sum(tensor.nbytes for tensor in held))  # torch's own file, then ours
        torch.jit.save(captured.payload, str(raw), _extra_files={EXTRA: json.dumps(dict(metadata), sort_keys=True)})
        rewrite(raw, path, is_small=_is_small, edit=_clean)
        raw.unlink()
        return Written((path,), origins=origins_of_script(captured.payload) if options.debug_map is not None else {})

    def read_metadata(self, path: Path) -> dict[str, str]:
        """The record ``extra/torchport.json``."""
        if holds_weights_alone(path):
            raise UnusablePathError(
                "the file holds weights and no program: torch.save wrote it, not torch.jit.save",
                stage="load",
                where=str(path),
                expected="an artifact",
                hint=f"build the model with them and export that: torchport export file.py:Class --weights {path.name} -o {path.stem}.onnx",
            )
        return read_extra(path)

    def read_content(self, path: Path) -> Content:
        """The tensors, and the program with everything else; nothing is unpickled into objects or run."""
        return script_content(path)


def _is_small(name: str) -> bool:
    return not name.startswith(("data/", "constants/"))


def _clean(records: dict[str, bytes]) -> dict[str, bytes]:
    kept = {name: content for name, content in records.items() if not name.endswith(".debug_pkl") and not name.startswith("traced_inputs")}
    return rename_classes(kept)
