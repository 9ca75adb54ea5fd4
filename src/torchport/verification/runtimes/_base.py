"""A runtime opens an artifact; the session answers arrays with arrays. Whatever goes wrong there is one kind of error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from torchport._registry import Registry
from torchport.errors import RuntimeFailure
from torchport.ports import Signature
from torchport.verification._records import Array

__all__ = ["PortInFile", "Runtime", "Session", "runtimes", "shortened"]


@dataclass(frozen=True)
class PortInFile:
    """An input or output as the file itself describes it.

    Attributes:
        name: Its name.
        dtype: Its dtype, by torch's name; ``None`` when the file does not say.
        dims: Each axis: a number, a symbol, or ``None`` when the file does not say; ``None`` for all of it: nothing is said of the shape.
    """

    name: str
    dtype: str | None = None
    dims: tuple[int | str | None, ...] | None = None


class Session(ABC):
    """An opened artifact.

    Attributes:
        inputs: The inputs, in order.
        outputs: The outputs, in order.
    """

    inputs: tuple[PortInFile, ...]
    outputs: tuple[PortInFile, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return tuple(port.name for port in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return tuple(port.name for port in self.outputs)

    @abstractmethod
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Answers one set of inputs.

        Raises:
            RuntimeFailure: The runtime refused them, crashed or did not answer in time.
        """

    def successor(self, paths: Sequence[Path], *, timeout: float = 600.0) -> Session | None:
        """Opens another artifact with the same ports in this one's place; this session is closed then.

        A runtime whose start is dear keeps its process so.

        Args:
            paths: The other artifact's files; the first is the one to open.
            timeout: Seconds for loading and for each answer.

        Returns:
            The new session; ``None`` where nothing is gained: the caller opens the artifact as any other.

        Raises:
            RuntimeFailure: The runtime refuses the artifact.
        """
        return None

    def close(self) -> None:  # noqa: B027 - nothing to release is a fine default
        """Releases what the session holds; may be called twice."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Runtime(ABC):
    """What runs one kind of artifact.

    Attributes:
        name: The registered name.
        suffixes: The file extensions that it opens, lower case.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def open(self, paths: Sequence[Path], signature: Signature | None = None, *, timeout: float = 600.0) -> Session:
        """Opens an artifact.

        Args:
            paths: Its files; the first is the one to open.
            signature: The ports, in graph order, for files that carry no names of their own; ``None``: what the file's metadata says.
            timeout: Seconds that loading, and each run, may take, where the runtime lives in a process of its own.

        Raises:
            RuntimeFailure: The runtime refuses the artifact.
        """

    def open_briefly(self, paths: Sequence[Path], signature: Signature | None = None, *, timeout: float = 600.0) -> Session:
        """Opens an artifact whose files nobody changes while it is open, as `open` does: they need not be copied into memory.

        A runtime that can do with less then says so here; others open it as ever.
        """
        return self.open(paths, signature, timeout=timeout)


runtimes: Registry[Runtime] = Registry("runtime", group="torchport.runtimes")
"""Every runtime, by name."""


def shortened(error: BaseException | str, limit: int = 400) -> str:
    """An error's text in one line, cut to ``limit`` characters in the middle."""
    text = str(error) if isinstance(error, str) else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    return f"{text[: 2 * limit // 3]} … {text[-limit // 3 :]}"


def check_feeds(names: Sequence[str], inputs: Mapping[str, Array], runtime: str) -> None:
    """Checks that the inputs given are the inputs that the artifact takes.

    Raises:
        RuntimeFailure: One is missing or unknown.
    """
    if missing := [name for name in names if name not in inputs]:
        raise RuntimeFailure(
            f"{runtime} needs inputs that were not given", where=", ".join(missing), found=", ".join(inputs), expected=", ".join(names)
        )
    if unknown := [name for name in inputs if name not in names]:
        raise RuntimeFailure(
            f"{runtime} was given inputs that the artifact does not have", where=", ".join(unknown), expected=", ".join(names)
        )
