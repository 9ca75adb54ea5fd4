"""What an artifact says of its own use: vocabulary, feature settings, states; one schema for every format. Needs no torch."""

from __future__ import annotations

from torchport.metadata._document import KEY, VERSION, as_document, format_metadata, metadata_schema, parse_metadata, stated_metadata
from torchport.metadata._speech import feature_settings

__all__ = [
    # what a model states, and what a file holds
    "as_document",
    "format_metadata",
    "parse_metadata",
    "stated_metadata",
    # the published schema
    "metadata_schema",
    "KEY",
    "VERSION",
    # speech
    "feature_settings",
]
