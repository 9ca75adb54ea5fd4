"""The mutations of a ``.pt2`` file: its weights in place, its program as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from torchport.verification.power._archive import FLOATS, Archive, is_dense
from torchport.verification.power._base import Mutation, Plan, Workshop
from torchport.verification.power._weights import Weight

__all__ = ["ExportedProgramWorkshop"]

_PROGRAM = "models/model.json"
_WEIGHTS = "data/weights"
_DTYPES = {6: "float16", 7: "float32", 8: "float64", 13: "bfloat16"}
"""The numbers of the schema's scalar types."""

_LARGEST = 2**31

Program = dict[str, Any]


class ExportedProgramWorkshop(Workshop):
    """A ``.pt2`` file with one program."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._archive = Archive(plan.artifact.path, plan.directory, lambda name: name.endswith(".json"))
        if _PROGRAM not in self._archive.records:
            raise ValueError("the archive holds its program under another name")
        self._program: Program = json.loads(self._archive.read(_PROGRAM))

    @property
    def unchanged(self) -> Sequence[Path]:
        """The archive with every record uncompressed."""
        return (self._archive.file,)

    @cached_property
    def weights(self) -> Sequence[Weight]:
        """Parameters and buffers; their class is the last part of their name and their rank."""
        config = json.loads(self._archive.read(f"{_WEIGHTS}/model_weights_config.json"))["config"]
        found = []
        for name, entry in config.items():
            meta = entry["tensor_meta"]
            dtype = _DTYPES.get(meta["dtype"])
            sizes, strides = (tuple(int(part.get("as_int", -1)) for part in meta[key]) for key in ("sizes", "strides"))
            if dtype is None or entry["use_pickle"] or np.prod(sizes) < 2 or not is_dense(sizes, strides):
                continue
            start, _ = self._archive.records[f"{_WEIGHTS}/{entry['path_name']}"]
            found.append(
                Weight(
                    name=name,
                    role=f"{name.rpartition('.')[2]} of {len(sizes)} axes",
                    dtype=FLOATS[dtype],
                    shape=sizes,
                    file=self._archive.file,
                    offset=start + int(meta["storage_offset"]["as_int"]) * FLOATS[dtype].itemsize,
                    layout=strides,
                )
            )
        return found

    def graph_mutations(self) -> Iterator[Mutation]:
        """Ports, nodes and their constant arguments."""
        for kind, where, change, make in (*_ports(self._program), *_nodes(self._program)):
            yield Mutation(kind, where, change, partial(self._archive.edited, partial(_edited, make)))


Change = tuple[str, str, str, Callable[[Program], None]]


def _edited(make: Callable[[Program], None], records: dict[str, bytes]) -> None:
    program = json.loads(records[_PROGRAM])
    make(program)
    records[_PROGRAM] = json.dumps(program).encode()


def _ports(program: Program) -> Iterator[Change]:
    graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
    inputs = [name for spec in signature["input_specs"] if (name := _tensor(spec.get("user_input", {}).get("arg")))]
    for one, other in combinations(inputs, 2):
        if _alike(graph, one, other):
            yield "inputs swapped", f"{one}, {other}", "each in the place of the other", partial(_swap_inputs, one, other)
    outputs = [_tensor(argument) for argument in graph["outputs"]]
    for first, second in combinations(range(len(outputs)), 2):
        one_output, other_output = outputs[first], outputs[second]
        if one_output and other_output and _alike(graph, one_output, other_output):
            where = f"{one_output}, {other_output}"
            yield "outputs permuted", where, "each in the place of the other", partial(_swap_outputs, first, second)


def _tensor(argument: Mapping[str, Any] | None) -> str:
    return str(((argument or {}).get("as_tensor") or {}).get("name", ""))


def _alike(graph: Mapping[str, Any], one: str, other: str) -> bool:
    values = graph["tensor_values"]
    return values[one]["dtype"] == values[other]["dtype"] and len(values[one]["sizes"]) == len(values[other]["sizes"])


def _swap_inputs(one: str, other: str, program: Program) -> None:
    _rename_uses(program["graph_module"]["graph"]["nodes"], {one: other, other: one})


def _rename_uses(nodes: list[dict[str, Any]], names: Mapping[str, str]) -> None:
    def rename(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("name") in names and len(value) == 1:
                value["name"] = names[value["name"]]
            for part in value.values():
                rename(part)
        elif isinstance(value, list):
            for part in value:
                rename(part)

    for node in nodes:
        for argument in node["inputs"]:
            rename(argument["arg"])


def _swap_outputs(one: int, other: int, program: Program) -> None:
    graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
    for entries in (graph["outputs"], signature["output_specs"]):
        entries[one], entries[other] = entries[other], entries[one]


def _nodes(program: Program) -> Iterator[Change]:
    graph = program["graph_module"]["graph"]
    for place, node in enumerate(graph["nodes"]):
        where = f"{node['target'].removeprefix('torch.ops.')} {node.get('name') or ''}".strip()
        kept = _bypass(graph, node)
        if kept:
            yield "node dropped", where, f"gives its input {kept}", partial(_drop, place, kept)
        for number, argument in enumerate(node["inputs"]):
            words = _other(json.loads(json.dumps(argument["arg"])))
            if words:
                kind = "float constant changed" if "as_float" in argument["arg"] else "integer constant moved"
                yield kind, where, f"{argument['name']}: {words}", partial(_change_argument, place, number)


def _bypass(graph: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """The input tensor that can stand for the node's one output: of the same dtype and sizes."""
    results = [_tensor(result) for result in node["outputs"]]
    values = graph["tensor_values"]
    if len(results) != 1 or results[0] not in values:
        return ""
    for argument in node["inputs"]:
        name = _tensor(argument["arg"])
        if name in values and all(_facts(values[name])[key] == _facts(values[results[0]])[key] for key in ("dtype", "sizes")):
            return name
    return ""


def _facts(value: Mapping[str, Any]) -> dict[str, Any]:
    sizes = [size["as_int"] if "as_int" in size else str(size.get("as_expr", {}).get("expr_str")) for size in value["sizes"]]
    return {"dtype": value["dtype"], "sizes": sizes}


def _drop(place: int, kept: str, program: Program) -> None:
    graph = program["graph_module"]["graph"]
    result = _tensor(graph["nodes"][place]["outputs"][0])
    graph["nodes"][place] = {
        "target": "torch.ops.aten.clone.default",
        "inputs": [{"name": "self", "arg": {"as_tensor": {"name": kept}}, "kind": 1}],
        "outputs": [{"as_tensor": {"name": result}}],
        "metadata": {},
        "is_hop_single_tensor_return": None,
        "name": result,
    }


def _change_argument(place: int, number: int, program: Program) -> None:
    _other(program["graph_module"]["graph"]["nodes"][place]["inputs"][number]["arg"])


def _other(argument: dict[str, Any]) -> str:
    """Gives a constant argument another value; the change in words, empty where it holds none."""
    value = argument.get("as_float")
    if isinstance(value, float):
        argument["as_float"] = 0.5 if value == 0 else value * (100.0 if abs(value) <= 1e-3 else 1.5)
        return f"{value:g} to {argument['as_float']:g}"
    value = argument.get("as_int")
    if isinstance(value, int) and abs(value) < _LARGEST:
        argument["as_int"] = value + 1
        return f"{value} to {value + 1}"
    values = argument.get("as_ints")
    if values and abs(values[-1]) < _LARGEST:
        before = list(values)
        values[-1] += 1
        return f"{before} to {values}"
    return ""
