"""Power: the artifact is mutated, and the proof must fail."""

from __future__ import annotations

from torchport.verification.power._base import workshops
from torchport.verification.power._records import KindCount, Mutant, Noticed, Power
from torchport.verification.power.exported_program import ExportedProgramWorkshop
from torchport.verification.power.onnx import OnnxWorkshop
from torchport.verification.power.run import prove_with_power
from torchport.verification.power.torchscript import TorchScriptWorkshop
from torchport.verification.power.witnesses import Witnesses, take_witnesses

__all__ = ["KindCount", "Mutant", "Noticed", "Power", "Witnesses", "prove_with_power", "take_witnesses"]

for _name, _workshop in (("onnx", OnnxWorkshop), ("torchscript", TorchScriptWorkshop), ("exported_program", ExportedProgramWorkshop)):
    workshops.add(_name, _workshop)
