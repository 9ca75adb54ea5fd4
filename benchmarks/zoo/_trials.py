"""One trial: a fault or its twin through one strategy of torchport, with the judge's verdict on what was handed over."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torchport
from torchport.errors import CaptureError, FrozenDecisionError, OpsetError
from zoo._bare import BARE, bare, dynamo_verify, one_example
from zoo._judge import Ranges, judge
from zoo._registry import Fault

__all__ = ["BAD", "STRATEGIES", "Trial", "claims", "try_fault", "try_twin"]

STRATEGIES = {"onnx": ("trace", "torch_export", "auto"), "ts": ("trace", "script", "auto")}

BAD = frozenset({"MISSED", "FALSE ALARM", "CRASH", "HARMLESS"})
"""Verdicts that must not be. ``CRASH`` is an error that is no refusal; ``HARMLESS`` is a fault of the zoo itself: it does no harm."""


@dataclass(frozen=True)
class Trial:
    """What came of one trial.

    Attributes:
        fault: Its name.
        which: The fault or its twin.
        seed: What weights and examples were drawn with.
        format: ``onnx`` or ``ts``.
        strategy: The strategy that was asked for.
        verdict: ``detected``: refused, with a reason; ``right``: handed over and right; ``MISSED``: handed over and wrong;
            ``proved``: a twin that was handed over and is right; ``unsupported``: the exporter cannot capture it; ``FALSE ALARM``: a twin
            that was refused although what the strategy writes is right, or although some strategy must prove it.
        reason: Why.
        seconds: Wall time.
    """

    fault: str
    which: Literal["faulty", "twin"]
    seed: int
    format: str
    strategy: str
    verdict: str
    reason: str = ""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def export(fault: Fault, which: Literal["faulty", "twin"], seed: int, strategy: str, path: Path) -> torchport.ExportResult:
    """torchport's export of one of the two."""
    return torchport.export(
        fault.model(which, seed),
        path,
        input_example=fault.example(seed),
        input_types=fault.inputs,
        output_types=fault.outputs,
        strategy=strategy,
        overwrite=True,
        keep_rejected=True,
        **fault.arguments,
    )


def verify(fault: Fault, seed: int, path: Path) -> None:
    """torchport's proof of anybody's artifact against the twin."""
    module = fault.model("twin", seed)
    torchport.verify(
        path, module, input_example=fault.example(seed), input_types=fault.inputs, output_types=fault.outputs, **fault.arguments
    )


def ranges_of(result: torchport.ExportResult) -> Ranges:
    """The sizes that the result promises."""
    symbols = result.signature.symbols
    return {
        port: {axis: (symbols[symbol].min, symbols[symbol].max) for axis, symbol in axes.items()}
        for port, axes in result.signature.dynamic_axes("inputs").items()
    }


def says_rows_depend(result: torchport.ExportResult) -> bool:
    """Whether the result says that a row's answer depends on its neighbours or on their padding."""
    proof = result.to_dict()["artifacts"][0]["proof"] or {}
    found = proof.get("rows") or {}
    return any(verdict not in (True, None, "independent") for verdict in (found.values() if isinstance(found, dict) else [found]))


def try_fault(fault: Fault, seed: int, format: str, strategy: str) -> Trial:
    """The fault through one strategy."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"m.{format}"
        try:
            verdict, reason = (_artifact if fault.kind == "artifact" else _model)(fault, seed, strategy, path)
        except torchport.TorchportError as error:
            trapped = fault.kind == "trap" and strategy == "auto"
            verdict, reason = "FALSE ALARM" if trapped else "detected", f"{type(error).__name__}: {error.message}"
        except Exception as error:
            verdict, reason = "CRASH", f"{type(error).__name__}: {error}"[:300]
    return Trial(fault.name, "faulty", seed, format, strategy, verdict, reason, time.perf_counter() - start)


def _model(fault: Fault, seed: int, strategy: str, path: Path) -> tuple[str, str]:
    result = export(fault, "faulty", seed, strategy, path)
    if fault.kind == "unservable":
        return "MISSED", "the model has no one answer, and was handed over"
    wrong = judge(fault, path, "faulty", seed, ranges_of(result))
    if wrong:
        return "MISSED", wrong
    if fault.kind == "rows":
        return ("detected", "reported as row-dependent") if says_rows_depend(result) else ("MISSED", "not reported as row-dependent")
    return "right", result.strategy


def _artifact(fault: Fault, seed: int, strategy: str, path: Path) -> tuple[str, str]:
    """Anybody's export of the near twin, edited where the fault is an edit, held against the model."""
    try:
        bare(fault, "faulty", seed, path.suffix[1:], strategy, path)
    except Exception as error:
        return "unsupported", f"{type(error).__name__}: {error}"[:300]
    if fault.tamper is not None:
        fault.tamper(path)
    try:
        verify(fault, seed, path)
    except torchport.ProofError as error:
        if _only_axes(error):  # would the untouched file be refused for them, too?
            untouched = _untouched(fault, seed, strategy, path.with_name(f"untouched{path.suffix}"))
            if untouched[0] == "unsupported":
                return untouched
        raise
    wrong = judge(fault, path, "twin", seed)
    return ("MISSED", wrong) if wrong or fault.tamper is not None else ("HARMLESS", "the artifact is right")


def try_twin(fault: Fault, seed: int, format: str, strategy: str) -> Trial:
    """The twin through one strategy."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"m.{format}"
        try:
            if fault.kind == "artifact" and strategy != "auto":
                return Trial(
                    fault.name, "twin", seed, format, strategy, *_untouched(fault, seed, strategy, path), time.perf_counter() - start
                )
            result = export(fault, "twin", seed, strategy, path)
        except torchport.TorchportError as error:
            verdict, reason = _refused_twin(fault, seed, format, strategy, path, error)
        except Exception as error:
            verdict, reason = "CRASH", f"{type(error).__name__}: {error}"[:300]
        else:
            reason = judge(fault, path, "twin", seed, ranges_of(result))
            verdict = "MISSED" if reason else "proved"
            if fault.kind == "rows" and says_rows_depend(result):
                verdict, reason = "FALSE ALARM", "reported as row-dependent"
    return Trial(fault.name, "twin", seed, format, strategy, verdict, reason, time.perf_counter() - start)


def _only_axes(error: torchport.TorchportError) -> bool:
    """Whether a file was refused for how it declares its axes, and for nothing that it answers."""
    proof: Any = getattr(error, "proof", None)
    return proof is not None and {one.kind for one in proof.findings} == {"axis"}


def _untouched(fault: Fault, seed: int, strategy: str, path: Path) -> tuple[str, str]:
    """Anybody's export of the model itself must be proved: else what is detected on the edited one says nothing."""
    try:
        bare(fault, "twin", seed, path.suffix[1:], strategy, path)
    except Exception as error:
        return "unsupported", f"{type(error).__name__}: {error}"[:300]
    wrong = judge(fault, path, "twin", seed)
    try:
        verify(fault, seed, path)
    except torchport.TorchportError as error:
        if not wrong and _only_axes(error):
            return "unsupported", f"the exporter's own axes: {error}"
        return ("detected", wrong) if wrong else ("FALSE ALARM", f"{type(error).__name__}: {error}")
    return ("MISSED", wrong) if wrong else ("proved", "")


def _refused_twin(fault: Fault, seed: int, format: str, strategy: str, path: Path, error: torchport.TorchportError) -> tuple[str, str]:
    reason = f"{type(error).__name__}: {error}"
    if strategy == "auto":
        return "FALSE ALARM", reason
    if isinstance(error, (CaptureError, OpsetError)) and not isinstance(error, FrozenDecisionError):
        return "unsupported", reason
    rejected = path.with_name(f"{path.name}.rejected")
    try:
        if rejected.exists():
            rejected.rename(path)
        else:  # refused before anything was written: what would the exporter have made of it?
            bare(fault, "twin", seed, format, strategy, path)
    except Exception as failure:
        return "unsupported", f"{reason}; {BARE[format][strategy]} raises {type(failure).__name__}"
    wrong = judge(fault, path, "twin", seed)
    return ("detected", wrong) if wrong else ("FALSE ALARM", reason)


def claims(fault: Fault, seed: int = 0) -> Iterator[tuple[str, str]]:
    """What others say about the fault, and whether their artifacts are right: pairs of a column and its text."""
    with tempfile.TemporaryDirectory() as folder:
        if fault.kind == "artifact":
            path = Path(folder) / "m.onnx"
            if "onnx" in fault.formats:
                bare(fault, "faulty", seed, "onnx", "trace", path)
                if fault.tamper is not None:
                    fault.tamper(path)
                yield "one example at 1e-2", one_example(fault, "twin", seed, path)
                yield "bare dynamo=False", judge(fault, path, "twin", seed) or "right"
            return
        unservable = "the model has no one answer" if fault.kind == "unservable" else ""
        for format in fault.formats:
            for strategy, called in BARE[format].items():
                path = Path(folder) / f"{strategy}.{format}"
                try:
                    if called == "dynamo=True":
                        yield "dynamo verify=True", dynamo_verify(fault, "faulty", seed, path)
                    else:
                        bare(fault, "faulty", seed, format, strategy, path)
                except Exception as error:
                    yield f"bare {called}", f"raises {type(error).__name__}"
                    continue
                if not path.exists():
                    continue
                yield f"bare {called}", unservable or judge(fault, path, "faulty", seed) or "right"
                if called == "dynamo=False":
                    yield "one example at 1e-2", one_example(fault, "faulty", seed, path)
