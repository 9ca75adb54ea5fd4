"""Check: a bundle is proved again where it arrived, with numpy and ONNX Runtime alone."""

from __future__ import annotations

from torchport.check._bundle import check
from torchport.check._manifest import MANIFEST, MANIFEST_VERSION, SIGNATURE, manifest_schema, parse_manifest, read_manifest
from torchport.check._report import EXIT_CODES, FindingKind, Problem, Replayed, Report
from torchport.check._signing import HmacSigner, Signer, signers

__all__ = [
    # prove a bundle again
    "check",
    "Report",
    "Problem",
    "FindingKind",
    "Replayed",
    "EXIT_CODES",
    # what a bundle says about itself
    "read_manifest",
    "parse_manifest",
    "manifest_schema",
    "MANIFEST",
    "MANIFEST_VERSION",
    "SIGNATURE",
    # who says so
    "Signer",
    "HmacSigner",
    "signers",
]
