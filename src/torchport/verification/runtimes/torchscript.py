"""``torch.jit.load`` in a fresh process: the runtime that proves TorchScript files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torchport.ports import Signature
from torchport.verification.runtimes._base import Runtime, Session
from torchport.verification.runtimes._torch_files import TorchFileSession

__all__ = ["TorchScript"]


class TorchScript(Runtime):
    """Opens ``.ts`` and ``.pt`` files in a child process that may crash or hang without harm."""

    name: ClassVar[str] = "torchscript"
    suffixes: ClassVar[tuple[str, ...]] = (".ts", ".pt")

    def open(self, paths: Sequence[Path], signature: Signature | None = None, *, timeout: float = 600.0) -> Session:
        """Starts the child and loads the file there."""
        return TorchFileSession(self.name, Path(paths[0]), signature, timeout)
