"""The ports that a file states about itself, in the metadata that an export writes."""

from __future__ import annotations

import json
from collections.abc import Mapping

from torchport.errors import PortError
from torchport.ports import Signature

__all__ = ["stored_signature"]


def stored_signature(metadata: Mapping[str, str]) -> Signature | None:
    """The ports that a file states about itself, where torchport wrote it and nobody broke it."""
    try:
        return Signature.from_dict(json.loads(metadata["torchport.signature"]))
    except (KeyError, ValueError, AttributeError, TypeError, PortError):
        return None
