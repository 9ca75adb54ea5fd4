"""What a file states about its own ports, in the metadata that an export writes."""

from __future__ import annotations

import json
from collections.abc import Mapping

from torchport.errors import PortError
from torchport.ports import Signature

__all__ = ["stored_limits", "stored_signature"]


def stored_signature(metadata: Mapping[str, str]) -> Signature | None:
    """The ports that a file states about itself, where torchport wrote it and nobody broke it."""
    try:
        return Signature.from_dict(json.loads(metadata["torchport.signature"]))
    except (KeyError, ValueError, AttributeError, TypeError, PortError):
        return None


def stored_limits(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The limits of its sizes that a file states, in words; none where it states none, or somebody broke it."""
    try:
        stated = json.loads(metadata["torchport.limits"])
    except (KeyError, ValueError, TypeError):
        return ()
    return tuple(one for one in stated if isinstance(one, str)) if isinstance(stated, list) else ()
