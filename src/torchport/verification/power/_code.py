"""Mutations of TorchScript's code, which its archive holds as text: one stretch of the text for another."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from torchport.ports import Port, Signature

__all__ = ["CodeChange", "code_changes", "root_class"]

_INTEGER = re.compile(r"(?<![\w.\"'])-?\d+(?![\w.\"'])")
_FLOAT = re.compile(r"(?<![\w.])-?(?:\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+)(?![\w.])")
_CALL = re.compile(r"torch\.(\w+)\(")
_SIZE = re.compile(r"torch\.size\((\w+), (-?\d+)\)")
_METHOD = re.compile(
    r"^  def forward\(self: (?P<owner>[\w.]+)(?P<parameters>(?:,\s+\w+: [\w\[\], ]+)*)\)[^\n]*:\n(?P<body>(?: {4}.*\n|\n)*)", re.MULTILINE
)
_PARAMETER = re.compile(r",\s+(\w+): ")
_RETURN = re.compile(r"^    return (.+)$", re.MULTILINE)

_KEEPS_SHAPE = {
    "relu", "relu_", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "hardtanh", "softplus", "mish", "exp", "log", "sqrt", "rsqrt",
    "neg", "abs", "square", "sin", "cos", "clamp", "clamp_min", "softmax", "log_softmax", "layer_norm", "batch_norm", "group_norm",
    "instance_norm", "masked_fill", "mul", "add", "sub", "div", "cumsum", "flip", "round", "floor", "ceil", "add_", "mul_", "dropout",
}  # fmt: skip
"""Functions that can be bypassed: their first argument has the shape of their result, in most calls."""

_NO_NUMBERS = re.compile(
    r"^\s*(?:for|while|def|class)\b|torch\.(?:__range_length|__derive_index|to|warn|format)\(|ops\.prim\.(?:data|device)|annotate\("
)
"""Lines whose numbers count loops, or stand for dtypes and devices."""


@dataclass(frozen=True)
class CodeChange:
    """Another text for a stretch of a record.

    Attributes:
        kind: What sort of change.
        where: What it changes.
        words: How, in words.
        record: The record.
        start: Where the stretch begins.
        end: Where it ends.
        text: What stands there instead.
    """

    kind: str
    where: str
    words: str
    record: str
    start: int
    end: int
    text: str


def root_class(content: bytes) -> str:
    """The class of the archive's module: the first that its pickle names."""
    return next(str(value).replace(" ", ".") for code, value, _ in pickletools.genops(content) if code.name == "GLOBAL")


def code_changes(records: Mapping[str, str], root: str, signature: Signature, traced: Mapping[str, int]) -> Iterator[CodeChange]:
    """Every change of the code of ``forward`` methods.

    Args:
        records: The code by record.
        root: The root's class; its ``forward`` has the ports.
        signature: The ports, in order.
        traced: The traced sizes.
    """
    for record, text in records.items():
        for method in _METHOD.finditer(text):
            owner = method["owner"].removeprefix("__torch__.")
            if method["owner"] == root:
                yield from _ports(record, text, method, signature, traced)
            start = method.start("body")
            for line in re.finditer(r"[^\n]+\n", method["body"]):
                yield from _calls(record, owner, line[0], start + line.start())
                if not _NO_NUMBERS.search(line[0]):
                    yield from _numbers(record, owner, line[0], start + line.start())


def _numbers(record: str, owner: str, line: str, base: int) -> Iterator[CodeChange]:
    where = f"{owner}: {line.strip()[:80]}"
    for found in _FLOAT.finditer(line):
        value = float(found[0])
        other = 0.5 if value == 0 else value * (100.0 if abs(value) <= 1e-3 else 1.5)
        words = f"{found[0]} to {other!r}"
        yield CodeChange("float constant changed", where, words, record, base + found.start(), base + found.end(), repr(other))
    for found in _INTEGER.finditer(line):
        value = int(found[0])
        if abs(value) < 2**31:
            words = f"{value} to {value + 1}"
            yield CodeChange("integer constant moved", where, words, record, base + found.start(), base + found.end(), str(value + 1))


def _calls(record: str, owner: str, line: str, base: int) -> Iterator[CodeChange]:
    for found in _CALL.finditer(line):
        if found[1] not in _KEEPS_SHAPE:
            continue
        arguments, end = _arguments(line, found.end())
        if arguments:
            words = f"{found[1]} gives its input"
            where = f"{owner}: {line.strip()[:80]}"
            yield CodeChange("node dropped", where, words, record, base + found.start(), base + end, arguments[0].strip())


def _arguments(text: str, start: int) -> tuple[list[str], int]:
    """The arguments of the bracket that opened before ``start``, none where it does not close, and where the text goes on behind it."""
    parts: list[str] = []
    depth, begin = 0, start
    for place in range(start, len(text)):
        character = text[place]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            if depth == 0:
                last = text[begin:place]
                return ([*parts, last] if last.strip() else parts), place + 1
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
    return [], len(text)


def _ports(record: str, text: str, method: re.Match[str], signature: Signature, traced: Mapping[str, int]) -> Iterator[CodeChange]:
    names = [(found[1], method.start("parameters") + found.start(1)) for found in _PARAMETER.finditer(method["parameters"])]
    inputs = list(signature.inputs.items())
    if len(names) == len(inputs):
        for one, other in combinations(range(len(names)), 2):
            if _alike(inputs[one][1], inputs[other][1]):
                (first, begin), (second, end) = names[one], names[other]
                between = text[begin + len(first) : end]
                swapped = f"{second}{between}{first}"
                where = f"{inputs[one][0]}, {inputs[other][0]}"
                yield CodeChange(
                    "inputs swapped", where, "each in the place of the other", record, begin, begin + len(first + between + second), swapped
                )
        yield from _frozen(record, method, dict(zip([name for name, _ in names], signature.inputs.values(), strict=True)), traced)
    yield from _outputs(record, method, list(signature.outputs.items()))


def _frozen(record: str, method: re.Match[str], ports: Mapping[str, Port], traced: Mapping[str, int]) -> Iterator[CodeChange]:
    for found in _SIZE.finditer(method["body"]):
        port = ports.get(found[1])
        if port is None or port.axes is None or not -len(port.axes) <= int(found[2]) < len(port.axes):
            continue
        axis = port.axes[int(found[2])]
        if axis.dynamic and axis.name in traced:
            start = method.start("body") + found.start()
            size = traced[axis.name]
            yield CodeChange("axis frozen", found[0], f"{axis.name} to {size}", record, start, start + len(found[0]), str(size))


def _outputs(record: str, method: re.Match[str], outputs: list[tuple[str, Port]]) -> Iterator[CodeChange]:
    body, base = method["body"], method.start("body")
    answers = list(_RETURN.finditer(body))
    if len(answers) != 1:
        return
    value, start = answers[0][1], base + answers[0].start(1)
    if re.fullmatch(r"\w+", value):
        assigned = list(re.finditer(rf"^    {value} = (\(.+\))$", body, re.MULTILINE))
        if len(assigned) != 1:
            return
        value, start = assigned[0][1], base + assigned[0].start(1)
    if not value.startswith("("):
        return
    parts, end = _arguments(value, 1)
    if end != len(value) or len(parts) != len(outputs):
        return
    for one, other in combinations(range(len(parts)), 2):
        if _alike(outputs[one][1], outputs[other][1]):
            mixed = list(parts)
            mixed[one], mixed[other] = mixed[other], mixed[one]
            where = f"{outputs[one][0]}, {outputs[other][0]}"
            yield CodeChange(
                "outputs permuted", where, "each in the place of the other", record, start, start + len(value), f"({','.join(mixed)})"
            )


def _alike(one: Port, other: Port) -> bool:
    rank = None if one.axes is None else len(one.axes)
    return one.dtype == other.dtype and rank == (None if other.axes is None else len(other.axes))
