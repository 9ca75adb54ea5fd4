"""What serving costs: requests a second of Triton's server, with and without dynamic batching, against ONNX Runtime in this process.

    .venv-triton/bin/python benchmarks/serving.py [--seconds 5] [--clients 16] [--models alexnet,fastpitch] [--rounds 3]

It needs the environment that ``make test-triton`` makes. Every request is one row of the model's first golden case. Clients are threads of
a process of their own, each with a connection that it keeps; each waits for its answer before it asks again. The last answer of each is
compared with the model's: a wrong one ends the run. The variants take turns, and medians are shown. All share the machine's cores, the
clients too, so what the clients need counts as well. The server's backend here is the stand-in in Python: the native one needs less.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

MODELS = {"alexnet": "alexnet-small-random", "fastpitch": "fastpitch-random", "speaker-encoder": "speaker-encoder-random"}
LARGEST = 8
VARIANTS = ("in process, one at a time", f"in process, {LARGEST} rows at a time", "served", "served, dynamic batching")


def package(family: str, folder: Path) -> tuple[Path, dict[str, Any], dict[str, Any], dict[str, float]]:
    """The file, one row of inputs with its outputs, and the tolerances."""
    import torchport
    from torchport.models._zoo import families

    model = families[family].load().from_pretrained(MODELS[family]).eval()
    result = torchport.export(model, folder / f"{family}.onnx")
    for name, more in (("served", {}), ("batching", {"dynamic_batching": True, "queue_delay": 1000})):
        result.package(folder / "repository", target="triton", options={"name": f"{family}-{name}", "max_batch_size": LARGEST, **more})
    golden = result.parts[0].goldens[0]
    import onnxruntime

    row = {name: array[:1] for name, array in golden.inputs.items()}
    session = onnxruntime.InferenceSession(result.path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return result.path, row, dict(zip(names, session.run(names, row), strict=True)), dict(golden.tolerances)


def in_process(path: Path, row: dict[str, Any], rows: int, seconds: float) -> float:
    """Rows a second, all cores."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {name: np.repeat(array, rows, 0) for name, array in row.items()}
    session.run(None, inputs)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        session.run(None, inputs)
        count += rows
    return count / (time.perf_counter() - begun)


def load(place: str, model: str, body: bytes, words: int, seconds: float, clients: int, told: Any) -> None:
    """Asks from many threads at once; tells how many answers came a second, the median wait, and one answer of each client."""
    host, _, port = place.partition(":")
    waits: list[float] = []
    answers: list[tuple[bytes, int]] = []
    ends = [0.0]
    barrier = threading.Barrier(clients, action=lambda: ends.__setitem__(0, time.perf_counter() + seconds))

    def client() -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=120)
        headers = {"Inference-Header-Content-Length": str(words), "Content-Type": "application/octet-stream"}
        barrier.wait()
        mine = []
        while time.perf_counter() < ends[0]:
            begun = time.perf_counter()
            connection.request("POST", f"/v2/models/{model}/infer", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(content.decode(errors="replace"))
            mine.append(time.perf_counter() - begun)
        waits.extend(mine)
        answers.append((content, int(answer.headers["Inference-Header-Content-Length"])))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    told.put((len(waits) / (time.perf_counter() - begun), statistics.median(waits) if waits else float("nan"), answers))


def served(
    server: Any, model: str, row: dict[str, Any], expected: dict[str, Any], tolerances: dict[str, float], options: Any
) -> tuple[float, float]:
    """Requests a second, and the median wait of one."""
    from torchport._comparison import compare
    from torchport.serving.client import read_answer, request_body

    ports = {port["name"]: port for port in server.client.config(model)["input"]}
    wire = {name: array.reshape(1, 1) if ports[name].get("reshape") is not None else array for name, array in row.items()}
    words, blobs = request_body(wire, {}, binary=True)
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    address = server.client.url.removeprefix("http://")
    process = context.Process(target=load, args=(address, model, words + blobs, len(words), options.seconds, options.clients, told))
    process.start()
    rate, wait, answers = told.get(timeout=options.seconds + 300)
    process.join()
    for content, length in answers:
        for name, array in read_answer(content, length).items():
            want = expected[name]
            difference = compare(want, array.reshape(want.shape), tolerances[name])
            if difference.kind is not None:
                raise SystemExit(f"{model}: {name} is wrong: {difference}")
    if len(answers) != options.clients:
        raise SystemExit(f"{model}: {options.clients - len(answers)} clients got no answer")
    return rate, wait


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    from torchport.serving import TritonServer

    rows = []
    with tempfile.TemporaryDirectory() as name:
        for family in options.models.split(","):
            folder = Path(name) / family
            folder.mkdir()
            path, row, expected, tolerances = package(family, folder)
            found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            waits: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            for _ in range(options.rounds):
                found[VARIANTS[0]].append(in_process(path, row, 1, options.seconds))
                found[VARIANTS[1]].append(in_process(path, row, LARGEST, options.seconds))
                with TritonServer(folder / "repository") as server:
                    for variant, model in ((VARIANTS[2], f"{family}-served"), (VARIANTS[3], f"{family}-batching")):
                        before = server.client.statistics(model)["execution_count"]
                        rate, wait = served(server, model, row, expected, tolerances, options)
                        found[variant].append(rate)
                        waits[variant].append(wait)
                        counted = server.client.statistics(model)
                        print(
                            json.dumps(
                                {
                                    "model": model,
                                    "requests a second": round(rate, 1),
                                    "runs": counted["execution_count"] - before,
                                    "rows": counted["inference_count"],
                                }
                            ),
                            flush=True,
                        )
            rows.append((family, {variant: statistics.median(rates) for variant, rates in found.items()}, waits))
    show(rows, options)


def show(rows: list[Any], options: Any) -> None:
    print(f"\n{options.clients} clients, {os.cpu_count()} cores, requests (rows) a second; in brackets the median wait of a request\n")
    print("| model | " + " | ".join(VARIANTS) + " |")
    print("|---" * (len(VARIANTS) + 1) + "|")
    for family, rates, waits in rows:
        cells = [
            f"{rates[variant]:.0f}" + (f" ({1000 * statistics.median(waits[variant]):.0f} ms)" if waits[variant] else "")
            for variant in VARIANTS
        ]
        print(f"| {family} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
