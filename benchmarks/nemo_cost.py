"""What the export of NeMo's 16-layer Conformer costs: torchport with its proof, and without, beside NeMo's own bare export.

    .venv-nemo/bin/python benchmarks/nemo_cost.py [--rounds 3]

As benchmarks/export.py: each run is a process of its own that exports a one-layer encoder first, then measures CPU seconds and the peak of
its resident memory above what the model took, in multiples of the weights; and the same without pages of mapped files, which the system
takes back when it needs them: the proof maps the file that was written. The second table is of whole processes that begin with an archive:
``torchport export``, which rebuilds the model without NeMo, and a script that restores and exports it with NeMo. The variants take turns;
medians are shown.
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
WHOLE = {
    "torchport export m.nemo": ["-m", "torchport", "export", "{archive}", "-o", "{output}"],
    "nemo": [
        "-c",
        "from nemo.collections.asr.models import ASRModel\n"
        "ASRModel.restore_from('{archive}', map_location='cpu').eval().export('{output}')",
    ],
}
"""Whole processes, from an archive."""
SETTINGS = {"d_model": 256, "conv_kernel_size": 31, "subsampling_conv_channels": 256, "ff_expansion_factor": 4}
LAYERS = 16


def run(variant: str, model: Any, path: Path) -> None:
    """One export."""
    if variant == "nemo":
        model.export(str(path))
        return
    import torchport

    torchport.export(model, path, verify=not variant.endswith("False"))


LOOKING = """
import pathlib, select, sys
status, most = pathlib.Path(sys.argv[1]), 0
while not select.select([sys.stdin], [], [], 0.005)[0]:
    most = max(most, *(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("RssAnon:")))
print(most * 1024)
"""
"""The most private memory of another process until its standard input ends: a thread in there would wait for its lock."""


class Peak:
    """The most private memory of this process from now on."""

    def __init__(self) -> None:
        command = [sys.executable, "-S", "-c", LOOKING, f"/proc/{os.getpid()}/status"]
        self._looks = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def most(self) -> int:
        """Ends the looking; bytes."""
        return int(self._looks.communicate()[0])


def whole(variant: str, folder: str) -> dict[str, float]:
    """One process from the archive on: its CPU seconds and the peak of its resident memory in MB."""
    places = {"archive": f"{folder}/m.nemo", "output": f"{folder}/{variant.split()[0]}.onnx"}
    for path in Path(folder).glob("*.onnx"):
        path.unlink()
    command = [sys.executable, "-W", "ignore", *(one.format(**places) for one in WHOLE[variant])]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, used = os.wait4(process.pid, 0)
    if status or not Path(places["output"]).exists():
        sys.exit(f"{variant}: failed")
    return {"cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1024}


def archive(folder: str) -> None:
    """Writes the archive of a CTC model with such an encoder."""
    import nemo_models as zoo

    zoo._ctc(zoo.conformer_settings(n_layers=LAYERS, **SETTINGS), SETTINGS["d_model"]).save_to(f"{folder}/m.nemo")


def child(variant: str) -> dict[str, float]:
    """One measured export, in this process."""
    import nemo_models as zoo
    from export import cpu, memory

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run(variant, zoo.conformer_encoder(n_layers=1).eval(), Path(folder) / "warm.onnx")
        model = zoo.conformer_encoder(n_layers=LAYERS, **SETTINGS).eval()
        weights = sum(one.numel() * one.element_size() for one in [*model.parameters(), *model.buffers()])
        resident, start = memory("VmRSS"), cpu()
        private, watch = memory("RssAnon"), Peak()
        Path("/proc/self/clear_refs").write_text("5")
        run(variant, model, Path(folder) / "m.onnx")
        used = cpu() - start
        peaks = {"peak": (memory("VmHWM") - resident) / weights, "private": (watch.most() - private) / weights}
        return {"cpu": used, **peaks, "weights": weights / 2**20}


def main() -> None:
    """Takes turns and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "archive":
        archive(os.environ["ARCHIVE_FOLDER"])
        return
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
    print("| 16-layer Conformer | CPU s, median (min to max) | peak memory above the model, in weights | without mapped files |")
    print("|---|---|---|---|")
    for variant, found in runs.items():
        seconds, peaks = [one["cpu"] for one in found], [one["peak"] for one in found]
        print(
            f"| {variant} ({found[0]['weights']:.0f} MiB) | {statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) "
            f"| {statistics.median(peaks):.2f} | {statistics.median(one['private'] for one in found):.2f} |"
        )
    with tempfile.TemporaryDirectory() as folder:
        made = [sys.executable, "-W", "ignore", __file__, "--child", "archive"]
        subprocess.run(made, check=True, capture_output=True, env={**environment, "ARCHIVE_FOLDER": folder})
        processes: dict[str, list[dict[str, float]]] = {variant: [] for variant in WHOLE}
        for _ in range(arguments.rounds):
            for variant, done_so_far in processes.items():
                done_so_far.append(whole(variant, folder))
                sys.stderr.write(f"{variant}: {done_so_far[-1]}\n")
    print("\n| whole process, from the archive | CPU s, median (min to max) | peak memory, MB |\n|---|---|---|")
    for variant, found in processes.items():
        seconds = [one["cpu"] for one in found]
        spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
        print(f"| `{variant}` | {spread} | {statistics.median(one['peak'] for one in found):.0f} |")


if __name__ == "__main__":
    main()
