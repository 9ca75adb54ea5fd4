"""The session of a file that torch itself loads: a child process, with names from the ports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from torchport.errors import RuntimeFailure, TorchportError
from torchport.ports import Signature
from torchport.verification._records import Array
from torchport.verification.runtimes._base import PortInFile, Session, check_feeds
from torchport.verification.runtimes._guards import guard_words
from torchport.verification.runtimes._process import ChildProcess

__all__ = ["TorchFileSession"]


class TorchFileSession(Session):
    """An artifact in a child process.

    Args:
        kind: What the child loads it as.
        path: The artifact.
        signature: The ports, in graph order; ``None``: read from the file's metadata, else from the file's own argument names.
        timeout: Seconds for loading and for each answer.
        child: A process that has loaded the artifact already.
    """

    def __init__(self, kind: str, path: Path, signature: Signature | None, timeout: float, child: ChildProcess | None = None) -> None:
        self._kind = kind
        self._path = path
        self._signature = signature
        self._child = child or ChildProcess(kind, path, threads=torch.get_num_threads(), timeout=timeout)
        signature = signature or _signature_in(self._child.about.get("metadata", ""))
        self._ports = signature
        if signature is None:
            self.inputs = tuple(PortInFile(name) for name in self._child.about["arguments"])
            self.outputs = ()
            return
        self.inputs = tuple(PortInFile(name, port.dtype) for name, port in signature.inputs.items())
        self.outputs = tuple(PortInFile(name, port.dtype) for name, port in signature.outputs.items())
        if len(self.inputs) != len(self._child.about["arguments"]):
            self.close()
            raise RuntimeFailure(
                "the file takes another number of inputs than its ports say",
                where=path.name,
                found=", ".join(self._child.about["arguments"]),
                expected=", ".join(self.input_names),
            )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Answers one set of inputs."""
        check_feeds(self.input_names, inputs, "the file")
        try:
            arrays = self._child.run(inputs, self.input_names)
        except RuntimeFailure as error:
            error.hint = error.hint or guard_words(str(error.found), self._ports)
            raise
        names = self.output_names or tuple(f"output_{index}" for index in range(len(arrays)))
        if len(arrays) != len(names):
            raise RuntimeFailure(
                "the file gives another number of outputs than its ports say",
                where=self._path.name,
                found=len(arrays),
                expected=f"{len(names)}: {', '.join(names)}",
            )
        return dict(zip(names, arrays, strict=True))

    def successor(self, paths: Sequence[Path], *, timeout: float = 600.0) -> Session | None:
        """The same process with another artifact; ``None`` where it has ended."""
        if self._child.ended:
            return None
        path = Path(paths[0])
        self._child.load(path, timeout=timeout)
        return TorchFileSession(self._kind, path, self._signature, timeout, self._child)

    def watch(self, inputs: Mapping[str, Array], start: int, stop: int) -> tuple[dict[str, Any], dict[int, Array]]:
        """What the operations inside read and gave, by number, and the contents of values ``start`` to ``stop``.

        Raises:
            RuntimeFailure: The process crashed, or did not answer in time.
        """
        header, arrays = self._child.watch(inputs, self.input_names, start, stop)
        return header, {int(entry[0]): array for entry, array in zip(header["arrays"], arrays, strict=True)}

    def close(self) -> None:
        """Kills the child process."""
        self._child.close()


def _signature_in(metadata: str) -> Signature | None:
    """The ports that a file carries about itself, if it does."""
    try:
        return Signature.from_dict(json.loads(json.loads(metadata)["torchport.signature"]))
    except (ValueError, KeyError, TypeError, TorchportError):
        return None
