"""Contracts made by hand: one line of text a port, as in ``x: float32 [batch 80 time]``."""

from __future__ import annotations

import re

from torchport.contract import AxisTerm, Contract, PortTerm, SizeRange

_PORT = re.compile(r"(?P<name>\w+)(?P<optional>\?)?: (?P<dtype>\w+|-) (?:\[(?P<axes>[^]]*)\]|-)(?: (?P<element>.+))?")


def port(text):
    """``x?: float32 [batch 80 ?] AudioSignal()``; ``-`` for a dtype or axes that are not stated."""
    found = _PORT.fullmatch(text)
    assert found is not None, text
    axes = None
    if found["axes"] is not None:
        axes = tuple(AxisTerm(int(one)) if one.isdigit() else AxisTerm(None, None if one == "?" else one) for one in found["axes"].split())
    return PortTerm(found["name"], None if found["dtype"] == "-" else found["dtype"], axes, found["element"], bool(found["optional"]))


def contract(inputs, outputs="y: float32 [batch 10]", ranges=None, **further):
    """A contract; ports are parted by ``;``."""
    sides = [tuple(port(one.strip()) for one in text.split(";") if one.strip()) for text in (inputs, outputs)]
    names = {axis.symbol for side in sides for one in side for axis in one.axes or () if axis.symbol}
    symbols = {name: SizeRange(*(ranges or {}).get(name, (1,))) for name in sorted(names)}
    defaults = {"format": "onnx", "opsets": {"ai.onnx": 18}, "ir_version": 8}
    return Contract(inputs=sides[0], outputs=sides[1], symbols=symbols, **{**defaults, **further})
