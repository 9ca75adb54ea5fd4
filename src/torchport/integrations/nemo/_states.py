"""What the states and caches of NeMo's modules hold, which is what those of the rebuilt ones hold."""

from __future__ import annotations

from torchport.models.speech._states import CacheLength, RecurrentState

__all__ = ["CacheLength", "RecurrentState"]
