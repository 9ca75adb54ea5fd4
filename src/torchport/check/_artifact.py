"""Tells what became of an artifact: another opset, other ports, exchanged weights, another graph, or damaged bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchport.check._onnx import OnnxFile, read_onnx
from torchport.check._report import Problem

__all__ = ["Changed", "artifact_problems"]

_SHOWN = 3


@dataclass(frozen=True)
class Changed:
    """How a file differs from the manifest.

    Attributes:
        ranges: The blocks that differ, first byte and the byte after the last.
        sizes: The size that it had and the one that it has, where they differ.
        missing: It is not there.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    sizes: tuple[int, int] | None = None
    missing: bool = False

    @property
    def is_damage(self) -> bool:
        """Whether it differs in one place only, as a file does that was damaged on its way."""
        return self.sizes is None and len(self.ranges) == 1

    def text(self) -> str:
        """Where it differs."""
        if self.sizes is not None:
            return f"{self.sizes[1]} bytes instead of {self.sizes[0]}"
        places = [f"{first} to {end - 1}" for first, end in self.ranges[:_SHOWN]]
        return f"differences within bytes {', '.join(places)}" + (" and further on" if len(self.ranges) > _SHOWN else "")


def artifact_problems(directory: Path, artifact: Mapping[str, Any], changed: Mapping[str, Changed]) -> list[Problem]:
    """What is wrong with an artifact's files; what they hold is compared even where their digests are right.

    Args:
        directory: The bundle.
        artifact: Its entry in the manifest.
        changed: The bundle's changed files.
    """
    files = {path: changed[path] for path in artifact["files"] if path in changed}
    if any(one.missing for one in files.values()):
        return []
    if artifact["weights"] is None:
        return [Problem("bytes", path, "the artifact was changed", found=one.text()) for path, one in files.items()]
    path = artifact["files"][0]
    try:
        found = read_onnx(directory / path)
    except (ValueError, OSError) as error:
        where, one = next(iter(files.items()), (path, None))
        told = f"{error}" + (f"; {one.text()}" if one else "")
        return [Problem("bytes", where, "the file is damaged: it is no ONNX model any more", found=told)]
    problems = [*_opset_problems(path, artifact, found), *_port_problems(path, artifact, found)]
    if problems:
        return problems
    weights = list(_weight_problems(path, artifact, found))
    exchanged = [one for one in weights if "each other" in one.message]
    if exchanged:
        return exchanged
    if any(one.is_damage for one in files.values()):
        damaged = next(name for name, one in files.items() if one.is_damage)
        return [Problem("bytes", damaged, f"the file is damaged in one place{_hit(artifact, found, weights)}", found=files[damaged].text())]
    if weights:
        return weights
    if found.nodes != artifact["nodes"]:
        return [Problem("graph", path, "the graph is another one: its operators are not those that were packaged")]
    return [
        Problem("bytes", where, "the file was changed; what it computes with was not", found=one.text()) for where, one in files.items()
    ]


def _opset_problems(path: str, artifact: Mapping[str, Any], found: OnnxFile) -> Iterator[Problem]:
    for domain, version in artifact["opsets"].items():
        got = found.opsets.get(domain)
        if got != version:
            how = "the opset is missing" if got is None else f"the opset was {'downgraded' if got < version else 'raised'}"
            yield Problem("opset", path, how, f"{domain} {version}", "none" if got is None else f"{domain} {got}")
    for domain in sorted(set(found.opsets) - set(artifact["opsets"])):
        yield Problem("opset", path, "the file uses operators of a domain that it did not use", found=f"{domain} {found.opsets[domain]}")


def _port_problems(path: str, artifact: Mapping[str, Any], found: OnnxFile) -> Iterator[Problem]:
    for direction, ports in (("inputs", found.inputs), ("outputs", found.outputs)):
        wanted: Sequence[Mapping[str, Any]] = artifact[direction]
        names, expected = [port["name"] for port in ports], [port["name"] for port in wanted]
        if names != expected:
            how = "stand in another order" if sorted(names) == sorted(expected) else "are not those that were packaged"
            yield Problem("ports", path, f"the {direction} {how}", ", ".join(expected) or "none", ", ".join(names) or "none")
            continue
        for port, one in zip(ports, wanted, strict=True):
            if (port["dtype"], port["axes"]) != (one["dtype"], one["axes"]):
                yield Problem("ports", f"{path}: {port['name']}", f"one of the {direction} was changed", _port_text(one), _port_text(port))


def _port_text(port: Mapping[str, Any]) -> str:
    axes = "any rank" if port["axes"] is None else " ".join(str(axis) for axis in port["axes"])
    return f"{port['dtype']} [{axes}]"


def _weight_problems(path: str, artifact: Mapping[str, Any], found: OnnxFile) -> Iterator[Problem]:
    before = {weight["name"]: weight for weight in artifact["weights"]}
    after = {weight["name"]: weight for weight in found.weights}
    if set(before) != set(after) or len(found.weights) != len(after):
        odd = sorted(set(before) ^ set(after))
        yield Problem("weights", path, "the weights are not those that were packaged", found=_listed(odd) or "one name twice")
        return
    differing = [name for name in before if before[name] != after[name]]
    if not differing:
        return
    kinds = [sorted((one[name]["dtype"], one[name]["shape"], one[name]["sha256"]) for name in differing) for one in (before, after)]
    if kinds[0] == kinds[1]:
        yield Problem("weights", path, "weights were exchanged: they hold each other's values", found=_listed(differing))
        return
    count = f"{len(differing)} of {len(before)} hold other values than those that were packaged"
    yield Problem("weights", path, f"weights were replaced: {count}", found=_listed(differing))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _hit(artifact: Mapping[str, Any], found: OnnxFile, weights: Sequence[Problem]) -> str:
    """What the damage hit, as the end of a sentence."""
    if weights:
        return f": in the weights ({weights[0].found})"
    return ": in the graph" if found.nodes != artifact["nodes"] else ": in what it says about itself"
