"""The built-in replacements: one line each."""

from __future__ import annotations

from torchport.prepare.attention import FusedSoftmaxReplacement
from torchport.prepare.convolutions import TWINS, TwinReplacement
from torchport.prepare.dropout import DropoutReplacement
from torchport.prepare.filterbanks import FilterbankReplacement
from torchport.prepare.folding import BatchNormFolding
from torchport.prepare.linears import ParallelLinearReplacement
from torchport.prepare.local_attention import LocalAttentionReplacement
from torchport.prepare.masked_layers import MaskedConvolutionReplacement, SqueezeExciteReplacement
from torchport.prepare.multihead_attention import MultiheadAttentionReplacement
from torchport.prepare.norms import FusedLayerNormReplacement, FusedRMSNormReplacement
from torchport.prepare.parametrizations import HookNormReplacement, ParametrizationReplacement
from torchport.prepare.plain_layers import BilinearReplacement, RMSNormReplacement
from torchport.prepare.projected_lstm import ProjectedLSTMReplacement
from torchport.prepare.replacement import replacements

__all__: list[str] = []

for replacement in (
    HookNormReplacement(),
    ParametrizationReplacement(),
    FusedLayerNormReplacement(),
    FusedRMSNormReplacement(),
    FusedSoftmaxReplacement(),
    MultiheadAttentionReplacement(),
    ParallelLinearReplacement(),
    MaskedConvolutionReplacement(),
    SqueezeExciteReplacement(),
    LocalAttentionReplacement(),
    FilterbankReplacement(),
    ProjectedLSTMReplacement(),
    RMSNormReplacement(),
    BilinearReplacement(),
    DropoutReplacement(),
    BatchNormFolding(),
    *map(TwinReplacement, TWINS),
):
    replacements.add(replacement.name, replacement)
