"""What the export of NeMo's 16-layer Conformer costs: torchport with its proof, and without, beside NeMo's own bare export.

    .venv-nemo/bin/python benchmarks/nemo_cost.py [--rounds 3]

As benchmarks/export.py: each run is a process of its own that exports a one-layer encoder first, then measures CPU seconds and the peak of
its resident memory above what the model took, in multiples of the weights. The variants take turns; medians are shown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

VARIANTS = ("torchport", "torchport verify=False", "nemo")
LAYERS, WIDTH = 16, 256


def run(variant: str, model: Any, path: Path) -> None:
    """One export."""
    if variant == "nemo":
        model.export(str(path))
        return
    import torchport

    torchport.export(model, path, verify=not variant.endswith("False"))


def child(variant: str) -> dict[str, float]:
    """One measured export, in this process."""
    import nemo_models as zoo
    from export import cpu, memory

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    settings = {"d_model": WIDTH, "conv_kernel_size": 31, "subsampling_conv_channels": WIDTH, "ff_expansion_factor": 4}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run(variant, zoo.conformer_encoder(n_layers=1).eval(), Path(folder) / "warm.onnx")
        model = zoo.conformer_encoder(n_layers=LAYERS, **settings).eval()
        weights = sum(one.numel() * one.element_size() for one in [*model.parameters(), *model.buffers()])
        resident, start = memory("VmRSS"), cpu()
        Path("/proc/self/clear_refs").write_text("5")
        run(variant, model, Path(folder) / "m.onnx")
        return {"cpu": cpu() - start, "peak": (memory("VmHWM") - resident) / weights, "weights": weights / 2**20}


def main() -> None:
    """Takes turns and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child)))
        return
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(arguments.rounds):
        for variant in VARIANTS:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--child", variant], capture_output=True, text=True, env=environment, check=False
            )
            if done.returncode:
                sys.exit(f"{variant}: {done.stderr[-2000:]}")
            runs[variant].append(json.loads(done.stdout.strip().splitlines()[-1]))
            sys.stderr.write(f"{variant}: {runs[variant][-1]}\n")
    print("| 16-layer Conformer | CPU s, median (min to max) | peak memory above the model, in weights |")
    print("|---|---|---|")
    for variant, found in runs.items():
        seconds, peaks = [one["cpu"] for one in found], [one["peak"] for one in found]
        print(
            f"| {variant} ({found[0]['weights']:.0f} MiB) | {statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) "
            f"| {statistics.median(peaks):.2f} |"
        )


if __name__ == "__main__":
    main()
