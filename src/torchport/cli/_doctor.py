"""``torchport doctor``: what is installed, and what works when it is tried."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from torchport._version import __version__
from torchport.cli._common import output_of
from torchport.cli._output import table

__all__ = ["doctor"]

_NEEDED = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy", "PyYAML", "rich", "typer")
_OPTIONAL = {
    "jaxtyping": "ports as annotations on forward",
    "lightning": "LightningModules",
    "huggingface-hub": "models from Hugging Face",
    "safetensors": "weights from .safetensors",
    "resemblyzer": "the weights of speaker-encoder-en",
    "nvidia-pytriton": "torchport serve",
}


def doctor(context: typer.Context) -> None:
    """Show versions, and try a tiny export in every format."""
    shown = output_of(context)
    with shown.progress("Looking around") as on_stage:
        packages = {"python": platform.python_version(), "torchport": __version__, **{name: _version(name) for name in _NEEDED}}
        optional = {name: _version(name) for name in _OPTIONAL}
        checks = _try_formats(on_stage)
    works = all(check["ok"] for check in checks)
    rows = [(name, found or "missing", "") for name, found in packages.items()]
    rows += [(name, found or "not installed", f"optional: {_OPTIONAL[name]}") for name, found in optional.items()]
    outcomes = [
        (check["format"], check["suffix"], "works" if check["ok"] else "FAILS", f"{check['cpu_seconds']:.1f} s", check["detail"])
        for check in checks
    ]
    shown.result(
        {"ok": works, "platform": platform.platform(), "packages": packages, "optional": optional, "formats": checks},
        table("Installed", ("package", "version", "for"), rows),
        table("A tiny export, proved", ("format", "file", "outcome", "CPU time", "detail"), outcomes, right=("CPU time",)),
        "[bold green]all formats work[/]" if works else "[bold red]not all formats work[/]: --traceback with `torchport export` shows more",
    )
    if not works:
        raise typer.Exit(1)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _try_formats(on_stage: Callable[[str], None]) -> list[dict[str, Any]]:
    on_stage("import torch")
    try:
        from torchport.emit import formats
    except Exception as error:  # noqa: BLE001 - whatever is broken here is the doctor's finding
        return [{"format": "all", "suffix": "", "ok": False, "cpu_seconds": 0.0, "detail": f"{type(error).__name__}: {error}"}]
    checks = []
    with tempfile.TemporaryDirectory(prefix="torchport-doctor-") as folder:
        for format in formats.values():
            on_stage(f"export to {format.name}")
            checks.append(_try_format(format.name, format.suffixes[0], Path(folder)))
    return checks


def _try_format(name: str, suffix: str, folder: Path) -> dict[str, Any]:
    import torch

    from torchport.pipeline import export

    start = time.process_time()
    try:
        result = export(
            torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()),
            folder / f"tiny{suffix}",
            input_types={"input": ("batch 3", "float32")},
            output_types={"output": ("batch 2", "float32")},
        )
        ok, detail = True, result.descriptions[0].partition(": ")[2] + f" by {result.strategy}"
    except Exception as error:  # noqa: BLE001 - whatever is broken here is the doctor's finding
        ok, detail = False, str(error).partition("\n")[0]
    return {"format": name, "suffix": suffix, "ok": ok, "cpu_seconds": round(time.process_time() - start, 3), "detail": detail}
