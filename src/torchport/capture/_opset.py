"""The ONNX opsets that are tested, and the one that is written when nobody asks."""

from __future__ import annotations

from torchport.errors import OpsetError

__all__ = ["DEFAULT_OPSET", "MAX_OPSET", "MIN_OPSET", "TRACE_MAX_OPSET", "asked_opset"]

MIN_OPSET = 13
"""The oldest opset that is written."""

MAX_OPSET = 25
"""The newest opset that onnxscript's version converter and the ``torch.export`` route of PyTorch 2.13 both know."""

TRACE_MAX_OPSET = 20
"""The newest opset that the trace-based exporter of PyTorch 2.13 writes; newer ones are up-converted."""

DEFAULT_OPSET = 18
"""Written when nothing is asked: the newest one that both exporters write natively and every runtime of the last three years reads."""


def asked_opset(version: int | None) -> int:
    """The opset to write.

    Args:
        version: What was asked for; ``None`` takes the best tested one.

    Raises:
        OpsetError: ``version`` is not an opset that can be written.
    """
    if version is None:
        return DEFAULT_OPSET
    if isinstance(version, bool) or not isinstance(version, int) or not MIN_OPSET <= version <= MAX_OPSET:
        raise OpsetError(
            "this opset cannot be written",
            where="onnx_opset_version",
            found=repr(version),
            expected=f"{MIN_OPSET} to {MAX_OPSET}, or None for {DEFAULT_OPSET}",
        )
    return version
