"""Emit: one format a file; each writes a captured program, clean and the same every time."""

from __future__ import annotations

from torchport._options import ExportOptions
from torchport.emit._base import Format, Written, content_digests, format_for, formats, read_metadata
from torchport.emit._content import Content, ContentDigests, TensorContent
from torchport.emit._files import Staging, commit_all, keep_rejected, staging
from torchport.emit._onnx_limits import keep_limits
from torchport.emit._origins import write_debug_map
from torchport.emit._records import Artifact
from torchport.emit._stated import stored_limits, stored_signature
from torchport.emit.exported_program import ExportedProgramFormat
from torchport.emit.onnx import Onnx
from torchport.emit.torchscript import TorchScript

__all__ = [
    # what a format takes and gives
    "ExportOptions",
    "Artifact",
    # writing one
    "Format",
    "Written",
    "keep_limits",
    # those that are there
    "format_for",
    "formats",
    "read_metadata",
    "stored_limits",
    "stored_signature",
    # what is in a file
    "content_digests",
    "Content",
    "ContentDigests",
    "TensorContent",
    # files beside the output
    "Staging",
    "write_debug_map",
    "commit_all",
    "keep_rejected",
    "staging",
]

for _format in (Onnx(), TorchScript(), ExportedProgramFormat()):
    formats.add(_format.name, _format)
del _format
