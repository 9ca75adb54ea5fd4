"""How two arrays differ; the code stands above all rooms, because a bundle is checked where there is no torch."""

from __future__ import annotations

from torchport._comparison import Difference, compare, is_exact, scale_of

__all__ = ["Difference", "compare", "is_exact", "scale_of"]
