"""The base of every format, and the look-up by file extension."""

from __future__ import annotations

import abc
import difflib
import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, final

from torchport._options import ExportOptions
from torchport._registry import Registry
from torchport.capture import Captured, Form
from torchport.capture._quiet import listening
from torchport.capture._reasons import reason_of
from torchport.emit._content import Content, ContentDigests, sha256_of
from torchport.emit._files import digests_of, no_space_left
from torchport.emit._origins import Origin
from torchport.emit._records import Artifact
from torchport.errors import EmitError, TorchportError, UnknownNameError, UnusablePathError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

__all__ = ["Format", "Written", "content_digests", "format_for", "formats", "read_metadata"]


@dataclass(frozen=True)
class Written:
    """What a format's own part gives back.

    Attributes:
        paths: The files; the first is the one to open.
        opset: The ONNX opset in the file; ``None`` for other formats.
        unused_inputs: Declared inputs that the graph does not use.
        origins: Where each node comes from, where a debug map was asked for.
    """

    paths: tuple[Path, ...]
    opset: int | None = None
    unused_inputs: tuple[str, ...] = field(default=())
    origins: Mapping[str, Origin] = field(default_factory=dict)


class Format(abc.ABC):
    """One file format.

    An author gives the class attributes, ``_write`` and ``read_metadata``. The base keeps third parties quiet, takes the digests, and turns
    what goes wrong into an `EmitError`.

    Attributes:
        name: The registered name.
        suffixes: Its file extensions in lower case, the usual one first.
        form: What it is written from.
        strategies: Capture strategies that give this form, the cheapest first.
        runtime: The runtime that proves it.
        can_lift_weights: Whether weights may be left out as inputs (``export_params=False``).
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    form: ClassVar[Form]
    strategies: ClassVar[tuple[str, ...]]
    runtime: ClassVar[str]
    can_lift_weights: ClassVar[bool] = False

    @final
    def write(self, captured: Captured, directory: Path, stem: str, options: ExportOptions, metadata: Mapping[str, str]) -> Artifact:
        """Writes ``captured`` into ``directory``.

        Args:
            captured: The captured program.
            directory: An existing directory, nobody else's.
            stem: The file's name without its extension.
            options: The options of the export.
            metadata: What the file shall say about itself.

        Raises:
            EmitError: The program cannot be written in this format.
        """
        if captured.form != self.form:
            raise EmitError(f"{self.name} is written from another form", where="form", found=captured.form, expected=self.form)
        suffix = options.output.suffix if options.output.suffix.lower() in self.suffixes else self.suffixes[0]
        try:
            with listening(verbose=options.verbose):
                written = self._write(captured, directory / f"{stem}{suffix}", options, metadata)
        except TorchportError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                raise no_space_left(directory) from error
            raise
        except Exception as error:
            raise EmitError(f"the {self.name} file could not be written: {reason_of(error)}", where=stem) from error
        return Artifact(
            format=self.name,
            paths=written.paths,
            signature=captured.signature,
            strategy=captured.strategy,
            digests=digests_of(written.paths),
            opset=written.opset,
            unused_inputs=written.unused_inputs,
            metadata=dict(metadata),
            origins=dict(written.origins),
        )

    @abc.abstractmethod
    def _write(self, captured: Captured, path: Path, options: ExportOptions, metadata: Mapping[str, str]) -> Written:
        """The format's own part."""

    @abc.abstractmethod
    def read_metadata(self, path: Path) -> dict[str, str]:
        """What the file at ``path`` says about itself, without reading its weights."""

    def read_content(self, path: Path) -> Content | None:
        """The weights and the graph of the file at ``path``, for their digests; ``None``: the format does not tell them apart."""
        return None


formats: Registry[Format] = Registry("format", group="torchport.formats")
"""Every format, by name."""


def format_for(path: Path) -> Format:
    """The format that a path's extension stands for, in any case.

    Raises:
        UnknownNameError: No registered format has it; the message lists those that are known.
    """
    suffix = Path(path).suffix.lower()
    for format in formats.values():
        if suffix in format.suffixes:
            return format
    near = difflib.get_close_matches(suffix, [one for format in formats.values() for one in format.suffixes], n=1, cutoff=0.75)
    known = ", ".join(f"{one} ({format.name})" for format in formats.values() for one in format.suffixes)
    raise UnknownNameError(
        f"no format has the extension {suffix!r}" if suffix else "the output has no extension",
        where=str(path),
        expected=known,
        hint=f"did you mean {near[0]!r}?" if near else None,
    )


def read_metadata(path: Path) -> dict[str, str]:
    """What an artifact says about itself, without reading its weights.

    Raises:
        UnknownNameError: No registered format has the extension.
        UnusablePathError: The file is not of the format that its extension stands for.
    """
    path = Path(path)
    format = format_for(path)
    try:
        return format.read_metadata(path)
    except (TorchportError, FileNotFoundError):
        raise
    except Exception as error:
        raise UnusablePathError(f"this is not a {format.name} file: {reason_of(error)}", stage="load", where=str(path)) from error


def content_digests(path: Path) -> ContentDigests:
    """The digests of an artifact's weights, of its graph, and of its files. Weights are streamed, never held.

    Raises:
        UnknownNameError: No registered format has the extension.
        UnusablePathError: The file is not of the format that its extension stands for, or weights beside it are missing.
    """
    path = Path(path)
    format = format_for(path)
    try:
        content = format.read_content(path)
    except (TorchportError, FileNotFoundError):
        raise
    except Exception as error:
        raise UnusablePathError(
            f"the content of the {format.name} file cannot be told apart: {reason_of(error)}", stage="load", where=str(path)
        ) from error
    if content is None:
        return ContentDigests(None, None, sha256_of((path,)))
    return ContentDigests(content.weights(), content.graph, sha256_of(content.files))
