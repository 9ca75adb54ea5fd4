"""What an export costs: torchport with its proof, against torch's bare exporters, side by side.

    .venv/bin/python benchmarks/export.py [--rounds 3] [--models bert,conformer] [--markdown]

Each run is a process of its own: it builds the model, exports a one-layer model first so that imports do not count, and then measures one
export: CPU seconds of the process and its children, and the peak of its resident memory above what the model itself took, in multiples
of the weights. The variants take turns (A B C D, A B C D, …) and medians are shown: machines are noisy, ratios of one run are not.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

VARIANTS = ("torchport", "torchport.ts", "onnx dynamo=True", "onnx dynamo=False", "jit.trace")
MODELS = ("alexnet", "fastpitch", "bert", "conformer")


def build(name: str) -> tuple[Any, tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """The model, its example, and its input and output types (empty where the model declares them itself)."""
    import torch

    torch.manual_seed(0)
    if name == "alexnet":
        from torchport.models.alexnet import AlexNet

        model: Any = AlexNet.from_pretrained("alexnet-random")
    elif name == "fastpitch":
        from torchport.models.fastpitch import FastPitch

        model = FastPitch.from_pretrained("fastpitch-random")
    elif name == "bert":
        from networks import Bert

        ids, mask = torch.randint(0, 30522, (3, 37)), torch.ones(3, 37, dtype=torch.bool)
        from torchport import NeuralType
        from torchport.types import EncodedRepresentation, MaskType, TokenIndex

        types = {"ids": NeuralType(("B", "T"), TokenIndex(num_classes=30522)), "mask": NeuralType(("B", "T"), MaskType())}
        return Bert().eval(), (ids, mask), types, {"hidden": NeuralType(("B", "T", "D"), EncodedRepresentation())}
    else:
        from networks import Conformer

        features, length = torch.randn(3, 80, 37), torch.tensor([37, 29, 11])
        from torchport import NeuralType
        from torchport.types import AcousticEncodedRepresentation, LengthsType, SpectrogramType

        inputs = {"features": NeuralType(("B", "D", "T"), SpectrogramType()), "length": NeuralType(("B",), LengthsType())}
        outputs = {
            "encoded": NeuralType(("B", "T", "D"), AcousticEncodedRepresentation()),
            "encoded_length": NeuralType(("B",), LengthsType()),
        }
        return Conformer().eval(), (features, length), inputs, outputs
    from torchport._options import ExportOptions
    from torchport._subject import declare

    model.eval()
    subject = declare(model, ExportOptions(output=Path("m.onnx")))
    return model, subject, {}, {}  # type: ignore[return-value]


def run(variant: str, model: Any, example: Any, types: dict[str, Any], outputs: dict[str, Any], folder: Path, stem: str) -> Path:
    """One export; the path that it wrote."""
    import torch

    import torchport

    if variant.startswith("torchport"):
        path = folder / (f"{stem}.ts" if variant.endswith(".ts") else f"{stem}.onnx")
        if types:
            torchport.export(model, path, input_example=example, input_types=types, output_types=outputs)
        else:
            model.export(path)
        return path
    if types:
        signature = torchport.Signature.of(inputs=types, outputs=outputs)
        tensors, bare = example, model
    else:
        signature, tensors = example.signature, tuple(example.example.values())
        bare = _flat(example)
    names, results = list(signature.inputs), list(signature.outputs)
    if variant == "jit.trace":
        path = folder / f"{stem}.pt"
        torch.jit.save(torch.jit.trace(bare, tensors, check_trace=False), path)
        return path
    path = folder / f"{stem}.onnx"
    dynamo = variant.endswith("True")
    shapes: dict[str, Any] = {"dynamic_shapes": _shapes(bare, signature, tensors)} if dynamo else {"dynamic_axes": signature.dynamic_axes()}
    torch.onnx.export(bare, tensors, str(path), dynamo=dynamo, input_names=names, output_names=results, verbose=False, **shapes)
    return path


def _shapes(bare: Any, signature: Any, tensors: Any) -> Any:
    import torch

    axes = signature.dynamic_axes("inputs")
    shapes = tuple(dict.fromkeys(axes.get(name, {}), torch.export.Dim.DYNAMIC) for name in signature.inputs)
    return (shapes,) if getattr(bare, "takes_any", False) else shapes


def _flat(subject: Any) -> Any:
    """The model as the exporters need it: positional tensors in, a tuple out."""
    import torch

    class Flat(torch.nn.Module):
        takes_any = True

        def __init__(self) -> None:
            super().__init__()
            self.model = subject.module

        def forward(self, *tensors: Any) -> Any:
            return tuple(subject.call(dict(zip(subject.signature.inputs, tensors, strict=True))).values())

    return Flat().eval()


def memory(field: str) -> int:
    """A figure of this process in bytes: ``VmHWM`` is the peak, ``VmRSS`` what is resident now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def cpu() -> float:
    """CPU seconds of this process and of its finished children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def child(name: str, variant: str) -> dict[str, float]:
    """One measured export, in this process."""
    import torch

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(temporary)
        types = {"x": "batch 4"}
        run(variant, torch.nn.Linear(4, 3).eval(), (torch.randn(3, 4),), types, {"y": "batch 3"}, folder, "warm")
        model, example, types, outputs = build(name)
        weights = sum(one.numel() * one.element_size() for one in [*model.parameters(), *model.buffers()])
        resident, start = memory("VmRSS"), cpu()
        Path("/proc/self/clear_refs").write_text("5")
        path = run(variant, model, example, types, outputs, folder, "m")
        seconds, peak = cpu() - start, memory("VmHWM")
        nested = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 if variant == "torchport.ts" else 0
        size = sum(one.stat().st_size for one in folder.iterdir() if one.name.startswith(path.stem) or variant == "onnx dynamo=False")
    return {
        "cpu": seconds,
        "peak": (peak - resident) / weights,
        "child": nested / weights,
        "size": size / 2**20,
        "weights": weights / 2**20,
    }


def measure(name: str, variant: str) -> dict[str, Any]:
    """One measured export, in a fresh process."""
    command = [sys.executable, __file__, "--child", name, variant]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["?"])[-1][:150]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def main() -> None:
    """Runs every variant of every model in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(*arguments.child)))
        return
    print(
        "| model (weights) | variant | CPU s, median (min to max) | to dynamo=False | peak memory above the model, in weights | file MiB |"
    )
    print("|---|---|---|---|---|---|")
    for name in arguments.models.split(","):
        variants = arguments.variants.split(",")
        runs: dict[str, list[dict[str, Any]]] = {variant: [] for variant in variants}
        for _ in range(arguments.rounds):
            for variant in variants:
                runs[variant].append(measure(name, variant))
        good = {variant: [one for one in results if "error" not in one] for variant, results in runs.items()}
        base = statistics.median(one["cpu"] for one in good.get("onnx dynamo=False") or [{"cpu": float("nan")}])
        for variant in variants:
            if not good[variant]:
                print(f"| {name} | {variant} | fails: {runs[variant][0]['error']} | | | |", flush=True)
                continue
            seconds = [one["cpu"] for one in good[variant]]
            middle = statistics.median(seconds)
            peak = statistics.median(one["peak"] for one in good[variant])
            nested = statistics.median(one["child"] for one in good[variant])
            first = good[variant][0]
            peaks = f"{peak:.2f}" + (f" (proof process: {nested:.2f} in all)" if nested else "")
            print(
                f"| {name} ({first['weights']:.0f} MiB) | {variant} | {middle:.1f} ({min(seconds):.1f} to {max(seconds):.1f}) "
                f"| {middle / base:.2f} | {peaks} | {first['size']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
