"""What the proof finds: every planted fault of the zoo and its correct twin, through every strategy, with a judge of its own.

    .venv/bin/python benchmarks/proof.py [--quick] [--seeds 20] [--only NAME] [--which faults] [--jobs 2] [--json FILE]

A fault must be refused, or exported right: the judge asks the artifact at sizes and values that torchport was never told, against eager
PyTorch, and shares no code with the proof. A twin must be proved by ``auto``, whatever its weights and example. The last columns are what
others say about the same fault: ``torch.onnx.export(dynamo=True, verify=True)``, and a check of the traced example at 1e-2.

Exit code 1 where a fault was handed over wrong, or a twin was refused.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from zoo import FAULTS
from zoo._trials import BAD, STRATEGIES, Trial, claims, try_fault, try_twin

OTHERS = ("dynamo verify=True", "one example at 1e-2")
STYLES = {"detected": "green", "right": "cyan", "proved": "green", "unsupported": "dim", "MISSED": "bold red", "FALSE ALARM": "bold red"}


@dataclass
class Record:
    """All that is known of one fault."""

    name: str
    trials: list[Trial] = field(default_factory=list)
    claims: dict[str, str] = field(default_factory=dict)

    def verdict(self, format: str, strategy: str) -> str:
        """The verdict on the fault through one strategy; empty where it was not run."""
        return next((one.verdict for one in self.trials if (one.which, one.format, one.strategy) == ("faulty", format, strategy)), "")

    def twins(self) -> Counter[str]:
        """The verdicts on the twin, over strategies and seeds."""
        return Counter(one.verdict for one in self.trials if one.which == "twin")

    def bad(self) -> list[Trial]:
        """What must not be."""
        return [one for one in self.trials if one.verdict in BAD]


def quiet() -> None:
    """One thread a process, and nothing of what the exporters print."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a failing exporter prints its graph from C++
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def work(name: str, part: str, seeds: range, quick: bool) -> tuple[str, list[Trial], dict[str, str]]:
    """One part of one fault: ``faulty``, or the twin through one format."""
    fault = FAULTS[name]
    trials: list[Trial] = []
    if part == "faulty":
        for format in fault.formats if not quick else fault.formats[:1]:
            for strategy in STRATEGIES[format]:
                if not (fault.kind == "artifact" and strategy == "auto") and not (quick and strategy == "torch_export"):
                    trials.append(try_fault(fault, 0, format, strategy))
        return name, trials, {} if quick else dict(claims(fault))
    for seed in seeds:
        for strategy in STRATEGIES[part]:
            if strategy == "auto" or (seed % (10 if part == "onnx" else 20) == 0 and not quick):
                trials.append(try_twin(fault, seed, part, strategy))
    return name, trials, {}


def parts(names: list[str], seeds: int, quick: bool, which: str) -> list[tuple[str, str, range, bool]]:
    """What there is to do. TorchScript runs a process a proof, so its twins run over an eighth of the seeds; so do single strategies."""
    todo: list[tuple[str, str, range, bool]] = [(name, "faulty", range(1), quick) for name in names if which != "twins"]
    for name in names if which != "faults" else []:
        for format in FAULTS[name].formats if not quick else FAULTS[name].formats[:1]:
            mine = list(range(seeds if format == "onnx" else -(-seeds // 8)))
            todo.extend((name, format, range(start, min(start + 10, len(mine))), quick) for start in range(0, len(mine), 10))
    return todo


def run(names: list[str], seeds: int, quick: bool, which: str, jobs: int, console: Console, file: Path | None) -> dict[str, Record]:
    """Everything, over ``jobs`` processes; what is known so far is always in ``file``."""
    records = {name: Record(name) for name in names}
    todo = parts(names, seeds, quick, which)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=quiet) as pool:
        futures = {pool.submit(work, *one): one for one in todo}
        for count, future in enumerate(as_completed(futures), start=1):
            name, trials, told = future.result()
            records[name].trials.extend(trials)
            records[name].claims.update(told)
            for trial in trials:
                if trial.verdict in BAD:
                    which = f"{trial.which}, seed {trial.seed}, {trial.format} {trial.strategy}"
                    console.print(f"{trial.verdict}: {trial.fault} ({which}): {trial.reason[:400]}", markup=False)
            if file is not None:
                write(records, file)
            if console.is_terminal and count % 10 == 0:
                console.print(f"{count} of {len(todo)}", style="dim")
    return records


def write(records: dict[str, Record], file: Path) -> None:
    """Every trial, and what others say, as JSON."""
    trials = [trial.to_dict() for record in records.values() for trial in record.trials]
    others = {record.name: record.claims for record in records.values()}
    file.write_text(json.dumps({"totals": totals(records), "trials": trials, "others": others}, indent=1), encoding="utf-8")


def table(records: dict[str, Record]) -> Table:
    """One row a fault."""
    pairs = [(format, one) for format in STRATEGIES for one in STRATEGIES[format]]
    pairs = [pair for pair in pairs if any(record.verdict(*pair) for record in records.values())]
    shown = Table("fault", "kind", *map(" ".join, pairs), "twins proved", *OTHERS)
    for record in records.values():
        cells = [record.verdict(*pair) for pair in pairs]
        twins = record.twins()
        asked = sum(twins.values()) - twins["unsupported"] - twins["detected"]
        others = [record.claims.get(one, "") for one in OTHERS]
        coloured = [f"[{STYLES.get(cell, 'red')}]{cell}[/]" if cell else "" for cell in cells]
        shown.add_row(record.name, FAULTS[record.name].kind, *coloured, f"{twins['proved']} of {asked}", *others)
    return shown


def totals(records: dict[str, Record]) -> dict[str, Any]:
    """The figures that count."""
    faults = [record for record in records.values() if FAULTS[record.name].kind != "trap"]
    found = Counter(one.verdict for record in faults for one in record.trials if one.which == "faulty")
    twins = Counter(one.verdict for record in records.values() for one in record.trials if one.which == "twin")
    silent = {other: sum(record.claims.get(other) == "passes" for record in faults if _wrong(record, other)) for other in OTHERS}
    harmful = {other: sum(_wrong(record, other) for record in faults) for other in OTHERS}
    return {
        "faults": len(faults),
        "faults never handed over wrong": sum(not any(one.which == "faulty" for one in record.bad()) for record in faults),
        "runs of faults": dict(found),
        "traps": len(records) - len(faults),
        "twins": len(records),
        "twins without a false alarm": sum(not any(one.which == "twin" for one in record.bad()) for record in records.values()),
        "runs of twins": dict(twins),
        "wrong or unservable, and passed by": {other: f"{silent[other]} of {harmful[other]}" for other in OTHERS},
    }


def _wrong(record: Record, other: str) -> bool:
    """Whether the artifact that this check saw was wrong, by the judge; a check that saw none is not asked."""
    bare = "bare dynamo=True" if other == OTHERS[0] else "bare dynamo=False"
    if other not in record.claims:
        return False
    return FAULTS[record.name].kind == "rows" or record.claims.get(bare, "right") != "right"


def main() -> None:
    """Runs the zoo and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="a fault's name, or part of it; may be repeated")
    parser.add_argument(
        "--seeds", type=int, default=20, help="how often each twin is drawn anew (TorchScript and single strategies: fewer)"
    )
    parser.add_argument("--quick", action="store_true", help="ONNX only, without torch_export for itself, two seeds, nothing about others")
    parser.add_argument("--which", choices=("faults", "twins", "both"), default="both", help="only the faults, or only their twins")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write every trial to this file")
    arguments = parser.parse_args()
    names = [name for name in FAULTS if not arguments.only or any(one in name for one in arguments.only)]
    if not names:
        parser.error(f"no fault is called that; there are {', '.join(FAULTS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    console, start = Console(width=None if sys.stdout.isatty() else 220), time.perf_counter()
    seeds = min(arguments.seeds, 2) if arguments.quick else arguments.seeds
    records = run(names, seeds, arguments.quick, arguments.which, arguments.jobs, console, arguments.json)
    console.print(table(records))
    found = totals(records)
    for key, value in found.items():
        console.print(f"{key}: {value}")
    console.print(f"{time.perf_counter() - start:.0f} s on {arguments.jobs} processes, {seeds} seeds")
    sys.exit(any(record.bad() for record in records.values()))


if __name__ == "__main__":
    main()
