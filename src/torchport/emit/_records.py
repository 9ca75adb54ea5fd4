"""What a format writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torchport.emit._content import ContentDigests, combined
from torchport.errors import UnusablePathError
from torchport.ports import Signature

if TYPE_CHECKING:
    from torchport.emit._origins import Origin

__all__ = ["Artifact"]


@dataclass(frozen=True)
class Artifact:
    """Files on disk that stand for one model.

    Attributes:
        format: The format's name.
        paths: The files; the first is the one to open.
        signature: The graph's ports, in graph order.
        strategy: The strategy that captured it.
        digests: sha256 of each file, by file name.
        opset: The ONNX opset in the file; ``None`` for other formats.
        unused_inputs: Declared inputs that the graph does not use.
        metadata: What the file carries about itself.
        origins: Where each node comes from, where a debug map was asked for; no part of the files.
    """

    format: str
    paths: tuple[Path, ...]
    signature: Signature
    strategy: str
    digests: Mapping[str, str] = field(default_factory=dict)
    opset: int | None = None
    unused_inputs: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict, repr=False)

    def content_digests(self) -> ContentDigests:
        """The digests of the weights, of the graph and of the files, apart; they are taken when they are asked for.

        Raises:
            UnusablePathError: The files are not there any more, or are not what the export wrote.
        """
        from torchport.emit._base import content_digests

        try:
            found = content_digests(self.path)
        except FileNotFoundError as error:
            raise UnusablePathError("the artifact is not there any more", stage="load", where=str(self.path)) from error
        if found.artifact != combined(list(self.digests.values())):
            raise UnusablePathError("the artifact was changed since it was exported", stage="load", where=str(self.path))
        return found

    @property
    def path(self) -> Path:
        """The file to open."""
        return self.paths[0]
