"""Models with a config and a checkpoint file: ``ModelPT``, the archive, pretrained models. Listing what there is imports no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torchport.models._zoo import Family, families
from torchport.models.pretrained import PretrainedModelInfo

if TYPE_CHECKING:
    from torchport.models.archive import Archive, Limits, open_archive, read_archive_config
    from torchport.models.model_pt import ModelPT

__all__ = [
    # models
    "ModelPT",
    "PretrainedModelInfo",
    # what there is
    "Family",
    "families",
    # the archive
    "Archive",
    "Limits",
    "open_archive",
    "read_archive_config",
]

_LAZY = {
    "Archive": "archive",
    "Limits": "archive",
    "ModelPT": "model_pt",
    "open_archive": "archive",
    "read_archive_config": "archive",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"torchport.models.{_LAZY[name]}"), name)
