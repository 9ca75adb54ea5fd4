"""Layers of torch that ONNX has no operator of: at every opset, and torch's own elsewhere."""

from __future__ import annotations

import zipfile

import pytest
import torch
from torch import nn

import torchport


class Normed(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.RMSNorm(8, **settings)
        if self.norm.weight is not None:
            nn.init.normal_(self.norm.weight)

    def forward(self, x):
        return self.norm(x)


class Paired(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Bilinear(8, 8, 3, **settings)

    def forward(self, x):
        return self.layer(x, x.flip(1))


@pytest.mark.parametrize("opset", [13, 17, None])
@pytest.mark.parametrize(
    "model", [Normed(), Normed(eps=1e-3), Normed(elementwise_affine=False), Paired(), Paired(bias=False)], ids=lambda one: str(one)[:6]
)
def test_they_are_traced_at_every_opset(tmp_path, model, opset):
    example = (torch.randn(2, 11, 8),)
    types = {"x": "batch time 8"}
    result = torchport.export(
        model, tmp_path / "m.onnx", input_example=example, input_types=types, onnx_opset_version=opset, strategy="trace"
    )
    assert result.proof.ok


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_norm_keeps_its_dtype(tmp_path, dtype):
    example = (torch.randn(2, 11, 8, dtype=dtype),)
    result = torchport.export(
        Normed().to(dtype), tmp_path / "m.onnx", input_example=example, input_types={"x": "batch time 8"}, strategy="trace"
    )
    assert result.proof.ok


@pytest.mark.parametrize(("model", "operator"), [(Normed(), b"rms_norm"), (Paired(), b"bilinear")])
@pytest.mark.parametrize("script", [False, True])
def test_torchscript_has_torchs_own(tmp_path, model, operator, script):
    example = (torch.randn(2, 11, 8),)
    result = torchport.export(model, tmp_path / "m.ts", input_example=example, input_types={"x": "batch time 8"}, try_script=script)
    assert result.strategy == ("script" if script else "trace")
    with zipfile.ZipFile(result.path) as archive:
        assert operator in b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".py"))
