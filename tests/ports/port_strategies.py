"""Hypothesis strategies of axes, ports and signatures, for the tests of ports."""

from __future__ import annotations

from hypothesis import strategies as st

from torchport import types
from torchport.ports import Axis, AxisKind, ElementType, NeuralType, Port, Signature

names = st.sampled_from(["batch", "time", "audio_time", "h", "frames", "x1", "T_text"])
kinds = st.sampled_from(list(AxisKind))


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    """Any axis."""
    name = draw(st.one_of(st.just(""), names))
    size = draw(st.one_of(st.none(), st.integers(0, 9)))
    low, step = draw(st.integers(0, 6)), draw(st.integers(1, 4))
    high = draw(st.one_of(st.none(), st.integers(low + step, low + step + 20)))
    dynamic = draw(st.booleans()) if size is None else False
    return Axis(name, size=size, min=low, max=high, multiple_of=step, kind=draw(kinds), dynamic=dynamic)


@st.composite
def elements(draw: st.DrawFn) -> ElementType:
    """Any element type that torch has tensors for, and that asks nothing of the axes of others: offsets are one more than their rows."""
    known = [getattr(types, name) for name in types.__all__ if name != "OffsetsType"]
    made = draw(st.sampled_from([one for one in known if one.dtype != "string"]))
    if issubclass(made, types.AudioSignal) and draw(st.booleans()):
        return made(freq=draw(st.sampled_from([8000, 16000])))
    if issubclass(made, (types.TokenIndex, types.LabelsType, types.Index)) and draw(st.booleans()):
        return made(num_classes=draw(st.integers(1, 30)))
    return made()


dtypes = st.sampled_from([None, "float32", "int64", "bool", "float16", "int32", "uint8"])


@st.composite
def ports(draw: st.DrawFn) -> Port:
    """Any port."""
    some = draw(st.one_of(st.none(), st.lists(axes(), max_size=4)))
    return Port(some, dtype=draw(dtypes), element=draw(elements()), optional=draw(st.booleans()))


@st.composite
def neural_types(draw: st.DrawFn) -> NeuralType:
    """Any neural type of plain kinds."""
    some = draw(st.one_of(st.none(), st.lists(st.sampled_from(["B", "D", "T", "W", "H", "Any", "S"]), max_size=3)))
    return NeuralType(some, draw(elements()), optional=draw(st.booleans()))


sized_axes = st.sampled_from(["batch", "time", "frames", "audio_time", "time{min=2,max=40,multiple_of=2}", "3", "5", "1"])


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    """A signature whose examples can be made: every static size is known; the batch comes first."""
    made = {}
    for index in range(draw(st.integers(1, 4))):
        text = " ".join(["batch", *draw(st.lists(sized_axes.filter(lambda one: one != "batch"), max_size=2))])
        element = draw(elements())
        # Axes of one name cannot be multiples of two in one port and unlimited in a scalar draw: the signature merges them.
        made[f"{draw(st.sampled_from(['x', 'audio', 'length', 'mask']))}_{index}"] = Port(text, element=element)
    return Signature.of(inputs=made, outputs={"y": "batch time"})
