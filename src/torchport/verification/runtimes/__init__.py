"""The runtimes that run artifacts: one file each, found by suffix, open to third parties."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchport.errors import OptionError, RuntimeFailure
from torchport.ports import Signature
from torchport.verification.runtimes._base import PortInFile, Runtime, Session, runtimes
from torchport.verification.runtimes.exported_program import ExportedProgram
from torchport.verification.runtimes.onnxruntime import OnnxRuntime
from torchport.verification.runtimes.torchscript import TorchScript

__all__ = ["PortInFile", "Runtime", "Session", "open_artifact", "runtime_for", "runtimes"]

for _runtime in (OnnxRuntime(), TorchScript(), ExportedProgram()):
    runtimes.add(_runtime.name, _runtime)


def runtime_for(path: Path) -> Runtime:
    """The runtime that opens files of this name.

    Raises:
        OptionError: None does; the message lists the suffixes that are known.
    """
    for runtime in runtimes.values():
        if path.suffix.lower() in runtime.suffixes:
            return runtime
    known = sorted(suffix for runtime in runtimes.values() for suffix in runtime.suffixes)
    raise OptionError("no runtime opens this file", where=str(path.name), found=path.suffix or "no suffix", expected=", ".join(known))


def open_artifact(
    path: str | Path | Sequence[Path],
    signature: Signature | None = None,
    *,
    runtime: str | None = None,
    timeout: float = 600.0,
    briefly: bool = False,
) -> Session:
    """Opens an artifact in the runtime that its suffix asks for.

    Args:
        path: The artifact, or its files, the one to open first.
        signature: Its ports, where the caller knows them; else what the file carries.
        runtime: The runtime's name, instead of the suffix.
        timeout: Seconds for loading and for each answer, where the runtime has a process of its own.
        briefly: Nobody changes the files while it is open: the runtime may leave weights where they lie.

    Raises:
        OptionError: No runtime opens such a file.
        RuntimeFailure: There is no such file, or the runtime refuses it.
    """
    paths = [Path(path)] if isinstance(path, (str, Path)) else [Path(part) for part in path]
    chosen = runtimes[runtime] if runtime else runtime_for(paths[0])
    if missing := [part for part in paths if not part.is_file()]:
        raise RuntimeFailure("there is no such file", where=", ".join(part.name for part in missing))
    opening = chosen.open_briefly if briefly else chosen.open
    return opening(paths, signature, timeout=timeout)
