"""Packaging: one deploy target a file; each makes a folder of proved artifacts that is there as a whole or not at all."""

from __future__ import annotations

from torchport.packaging._base import Target, targets
from torchport.packaging._goldens import choose_goldens
from torchport.packaging._place import new_directory
from torchport.packaging._records import Golden, Order, Packaged, Part
from torchport.packaging._riva_archive import RivaArchive, read_riva
from torchport.packaging._stated import part_of_file
from torchport.packaging.bundle import BundleTarget
from torchport.packaging.onnxruntime import OnnxRuntimeTarget
from torchport.packaging.riva import RivaTarget
from torchport.packaging.triton import TritonTarget, finish_packaging

__all__ = [
    # what a target takes and gives
    "Part",
    "Golden",
    "Order",
    "Packaged",
    # writing one
    "Target",
    "targets",
    "new_directory",
    # where parts come from
    "choose_goldens",
    "part_of_file",
    # after one that was killed
    "finish_packaging",
    # reading back
    "RivaArchive",
    "read_riva",
    # those that are there
    "BundleTarget",
    "OnnxRuntimeTarget",
    "RivaTarget",
    "TritonTarget",
]

for _target in (BundleTarget(), TritonTarget(), OnnxRuntimeTarget(), RivaTarget()):
    targets.add(_target.name, _target)
del _target
