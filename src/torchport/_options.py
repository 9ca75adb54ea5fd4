"""The frozen options of one export, spelled out once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ExportOptions"]


@dataclass(frozen=True)
class ExportOptions:
    """Every argument of ``export`` with its default; ``docs/exporting.md`` explains each."""

    output: Path
    input_example: Any = None
    output_example: Any = None
    verbose: bool = False
    export_params: bool = True
    do_constant_folding: bool = True
    keep_initializers_as_inputs: bool = False
    onnx_opset_version: int | None = None
    try_script: bool = False
    set_eval: bool = True
    check_trace: bool | Sequence[Any] = False
    use_dynamic_axes: bool = True
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None
    check_tolerance: float = 0.01
    verify: bool = True
    overwrite: bool = False
    strategy: str = "auto"
    """``auto``, or the one strategy to use: ``trace``, ``torch_export``, ``script``."""
    keep_rejected: bool = False
    """Leave an artifact that failed its proof beside ``output`` as ``*.rejected``."""
    allow_ties: bool = False
    """Accept another index where two scores tie."""
    prepare_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further keywords: they reach ``_prepare_for_export``."""
