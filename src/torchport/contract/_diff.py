"""Compares two contracts: what changed, and what it means to those who call the artifact."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from torchport.contract._artifact import contract_of
from torchport.contract._axes import compare_axes
from torchport.contract._changes import Change, Changes
from torchport.contract._lock import is_artifact, read_lock
from torchport.contract._ports import compare_ports, paired
from torchport.contract._records import Contract
from torchport.contract._rules import RULES
from torchport.errors import UnknownNameError, UnusablePathError

__all__ = ["diff", "read_contract"]


def read_contract(path: Path) -> Contract:
    """The contract at a path: of an artifact, where the extension is that of a registered format, else of a lock.

    Raises:
        ContractError: It is no artifact and no lock.
        UnusablePathError: There is no such file, or it is not what its extension says.
    """
    path = Path(path)
    if not path.is_file():
        raise UnusablePathError("there is no such file", stage="load", where=str(path), expected="an artifact or a contract lock")
    if is_artifact(path):
        return contract_of(path)
    return read_lock(path)


def diff(before: Contract, after: Contract, *, allow: Iterable[str] = ()) -> Changes:
    """What changed from one contract to the other.

    Args:
        before: What clients were made for.
        after: What they would get.
        allow: Rules by id whose changes are accepted.

    Raises:
        UnknownNameError: ``allow`` names a rule that there is not.

    Example:
        >>> diff(read_contract("m.contract.json"), read_contract("m.onnx")).verdict  # doctest: +SKIP
        'same'
    """
    allow = tuple(allow)
    for name in allow:
        if name not in RULES:
            near = difflib.get_close_matches(name, RULES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else None
            raise UnknownNameError("there is no such rule", stage="load", found=name, expected=", ".join(RULES), hint=hint)
    inputs = paired("input", before.inputs, after.inputs)
    outputs = paired("output", before.outputs, after.outputs)
    found = chain(
        compare_ports("input", before.inputs, after.inputs, inputs),
        compare_ports("output", before.outputs, after.outputs, outputs),
        compare_axes(before, after, (*inputs, *outputs)),
        _file(before, after),
        _told(before, after),
        _content(before, after),
    )
    return Changes.sorted(found, allow)


def _file(before: Contract, after: Contract) -> Iterator[Change]:
    if before.format != after.format:
        yield Change.of("format-changed", "", before.format, after.format)
    # ONNX is called by name; what the other formats return has no names, so that one more value changes what a caller unpacks.
    counts = len(before.outputs), len(after.outputs)
    if counts[0] != counts[1] and {before.format, after.format} != {"onnx"}:
        yield Change.of("output-count-changed", "outputs", *counts)
    if before.format != after.format:
        return
    for domain in sorted({*before.opsets, *after.opsets}):
        versions = before.opsets.get(domain), after.opsets.get(domain)
        if versions[0] is None or versions[1] is None:
            yield Change.of("domain-added" if versions[0] is None else "domain-removed", domain, *(one or "" for one in versions))
        elif versions[0] != versions[1]:
            yield Change.of("opset-raised" if versions[1] > versions[0] else "opset-lowered", domain, *versions)
    layouts = before.ir_version, after.ir_version
    if layouts[0] is not None and layouts[1] is not None and layouts[0] != layouts[1]:
        yield Change.of("ir-version-raised" if layouts[1] > layouts[0] else "ir-version-lowered", "", *layouts)


def _told(before: Contract, after: Contract) -> Iterator[Change]:
    for rule, one, other in (("model-changed", before.model, after.model), ("strategy-changed", before.strategy, after.strategy)):
        if one != other:
            yield Change.of(rule, "", one or "", other or "")
    for library in sorted({*before.writer, *after.writer}):
        if before.writer.get(library) != after.writer.get(library):
            yield Change.of("writer-changed", library, before.writer.get(library, ""), after.writer.get(library, ""))


def _content(before: Contract, after: Contract) -> Iterator[Change]:
    for part in ("weights", "graph", "artifact"):
        one, other = before.digests.get(part), after.digests.get(part)
        comparable = part != "graph" or before.format == after.format
        if one is not None and other is not None and one != other and comparable:
            yield Change.of(f"{part}-changed", "", one, other)
