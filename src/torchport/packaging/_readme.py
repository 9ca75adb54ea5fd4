"""The README of a bundle: ports, how to run it, its limits, how it was proved, how to check it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torchport._counted import counted
from torchport.packaging._records import Part

__all__ = ["readme_text"]

_RUN = {
    "onnx": """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({file!r}, providers=["CPUExecutionProvider"])
inputs = dict(np.load({inputs!r}))
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, inputs)))""",
    "torchscript": """import numpy as np
import torch

module = torch.jit.load({file!r})
inputs = np.load({inputs!r})
with torch.no_grad():
    outputs = module(*(torch.from_numpy(inputs[name]) for name in {names!r}))""",
    "exported_program": """import numpy as np
import torch

module = torch.export.load({file!r}).module()
inputs = np.load({inputs!r})
with torch.no_grad():
    outputs = module(*(torch.from_numpy(inputs[name]) for name in {names!r}))""",
}


def readme_text(title: str, parts: Sequence[Part], artifacts: Sequence[Mapping[str, Any]], *, signed: bool) -> str:
    """The README as Markdown.

    Args:
        title: The bundle's name.
        parts: What is packaged.
        artifacts: The manifest's entries, in the same order.
        signed: Whether the manifest is signed.
    """
    lines = [f"# {_plain(title)}", ""]
    for part, entry in zip(parts, artifacts, strict=True):
        lines.extend(_artifact(part, entry))
    lines.extend(_checking(artifacts, signed=signed))
    return "\n".join(lines) + "\n"


def _artifact(part: Part, entry: Mapping[str, Any]) -> Iterator[str]:
    file = entry["files"][0]
    opset = entry["opsets"].get("ai.onnx")
    kind = entry["format"] + (f", opset {opset}" if opset is not None else "")
    yield from (f"## {_plain(file)}", "")
    yield from (f"{kind}, captured by {entry['strategy']}" + (f", of `{part.model}`." if part.model else "."), "")
    yield from ("| | name | dtype | axes | meaning |", "|---|---|---|---|---|")
    for side in ("inputs", "outputs"):
        for port in entry[side]:
            axes = "any rank" if port["axes"] is None else " ".join(str(axis) or "?" for axis in port["axes"]) or "a scalar"
            yield f"| {side[:-1]} | {_code(port['name'])} | {port['dtype']} | {_plain(axes)} | {_plain(port['meaning'] or '')} |"
    yield ""
    if entry["symbols"]:
        yield from ("| axis | sizes |", "|---|---|")
        yield from (f"| {_code(name)} | {_range(limits)} |" for name, limits in entry["symbols"].items())
        yield ""
    if entry["format"] in _RUN:
        case = entry["goldens"]["cases"][0]
        names = [port["name"] for port in entry["inputs"]]
        yield from (
            "### How to run it",
            "",
            "```python",
            _RUN[entry["format"]].format(file=file, inputs=case["inputs"], names=names),
            "```",
            "",
        )
    yield from ("### Limits", "")
    if entry["symbols"]:
        yield "- Nothing is promised at sizes outside the table above."
    else:
        yield "- Every axis has the one size that stands in the table."
    for symbol, (low, high) in (part.proof.ranges if part.proof is not None else {}).items():
        yield f"- {_code(symbol)}: the model itself answers {low} " + ("or more" if high is None else f"to {high}") + " only."
    notes = entry["notes"]
    yield from (f"- {_plain(note)}" for note in notes)
    yield from ("", "### How it was proved", "", *_proved(part, entry), "")


def _proved(part: Part, entry: Mapping[str, Any]) -> Iterator[str]:
    proof = part.proof
    if proof is not None:
        yield (
            f"It ran in {proof.runtime} against the untouched model at {counted(len(proof.cases), 'set')} of sizes and values. "
            f"Worst difference: {proof.worst_error:.1e} of the output's scale. "
            "The tolerance of each output comes from the model's own rounding noise."
        )
        if proof.power is not None:
            yield f"What the proof would have noticed: {_plain(proof.power.summary())}."
        yield from ("", "| case | sizes | worst error | tolerance |", "|---|---|---|---|")
        for case in proof.cases:
            yield f"| {_plain(case.label) or 'covering'} | {_sizes(case.sizes)} | {case.error:.1e} | {case.tolerance:.1e} |"
    elif part.goldens_from == "model":
        yield "NOT PROVED: it was exported with `verify=False`. Only the golden cases below were compared with the model."
    else:
        yield "Not known: it was packaged from the file alone, without its model."
    names = ", ".join(_code(case["name"]) for case in entry["goldens"]["cases"])
    source = "by the untouched model" if part.goldens_from == "model" else "by the artifact itself when it was packaged"
    yield from ("", f"The golden outputs ({names}) were given {source}.")


def _checking(artifacts: Sequence[Mapping[str, Any]], *, signed: bool) -> Iterator[str]:
    torch = any(entry["format"] != "onnx" for entry in artifacts)
    key = " --key bundle.key" if signed else ""
    yield from ("## How to check it", "", "```", f"python -m torchport.check .{key}", "```", "")
    yield (
        "It compares every file with the manifest, says what became of one that was changed, and runs the golden inputs again. It needs "
        + (
            "torch, because of the format."
            if torch
            else "numpy and ONNX Runtime, and no torch: `pip install --no-deps torchport` beside them."
        )
    )
    if not signed:
        yield "The manifest is not signed: the check finds accidents and careless changes, not a forger who rewrites the manifest as well."


def _sizes(sizes: Mapping[str, int]) -> str:
    return _plain(", ".join(f"{name} {size}" for name, size in sizes.items())) or "fixed"


def _range(limits: Mapping[str, Any]) -> str:
    step = limits["multiple_of"]
    least = -(-limits["min"] // step) * step
    text = f"{least} or more" if limits["max"] is None else f"{least} to {limits['max'] // step * step}"
    return text if step == 1 else f"{text}, a multiple of {step}"


def _plain(text: str) -> str:
    """Text that says what it says in Markdown, in one line."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).replace('|', chr(92) + '|').split())}`"
