"""Constants of an ONNX file that may be traced sizes, and the file with other numbers in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from torchport.verification._records import Array
from torchport.verification.causes.healing import FailingCase, Right, Suspect, Trial, computed_from, resized
from torchport.verification.causes.onnx_values import NodeSeen, Seen, open_model, run

__all__ = ["OnnxTrial", "short_table", "suspects_of"]

_SHAPING = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Slice": (1, 2),
    "Split": (1,),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "Pad": (1,),
    "OneHot": (1,),
    "Trilu": (1,),
    "TopK": (1,),
    "Concat": tuple(range(16)),
}
"""Operators that take sizes or positions as values, and the inputs that hold them."""

_ELEMENTS = 16
"""A constant of more elements is no shape."""

_GROWN = 2**20
"""A constant of more elements is not made longer or shorter."""

_MOST_RUNS = 160
"""So often the file is run with something put in a constant's place."""

_MOST_SUSPECTS = 48


def suspects_of(
    model: onnx.ModelProto, seen: Seen, around: Sequence[NodeSeen], traced: Mapping[str, int], sizes: Mapping[str, int]
) -> list[Suspect]:
    """Constants that may be a traced size, the likeliest first.

    Args:
        model: The model.
        seen: Its nodes.
        around: The nodes where the answer begins to be wrong: their own constants and those of the shapes that they use count; none: all.
        traced: The traced sizes of the symbols that moved.
        sizes: The sizes of the failing case.
    """
    constants = _constants(model)
    chosen = _with_their_sizes(seen, around) if around else list(seen.nodes)
    nearest = {node.outputs[0] for node in around}
    ranked: list[tuple[tuple[int, int], Suspect]] = []
    for position, node in enumerate(chosen):
        for place, name in enumerate(node.inputs):
            array = constants.get(name)
            if array is None:
                continue
            shaping = place in _SHAPING.get(node.operator, ())
            for rank, suspect in _readings(node, place, array, traced, sizes, shaping, node.outputs[0] in nearest):
                ranked.append(((rank, position), suspect))
    ranked.sort(key=lambda pair: pair[0])
    return [suspect for _, suspect in ranked[:_MOST_SUSPECTS]]


def short_table(
    model: onnx.ModelProto, nodes: Sequence[NodeSeen], traced: Mapping[str, int], sizes: Mapping[str, int]
) -> tuple[NodeSeen, str] | None:
    """The first of ``nodes`` that takes rows of a constant which has fewer than a size of the failing case, and that in words."""
    shapes = {name: array.shape for name, array in _constants(model).items()}
    for node in nodes:
        if node.operator in ("Slice", "Gather") and node.inputs[0] in shapes:
            for symbol, old in traced.items():
                for rows in shapes[node.inputs[0]]:
                    if old <= rows < sizes[symbol]:
                        return node, f"the table {node.inputs[0]!r} has {rows} rows, `{symbol}` is {sizes[symbol]}"
    return None


def _readings(
    node: NodeSeen, place: int, array: Array, traced: Mapping[str, int], sizes: Mapping[str, int], shaping: bool, nearest: bool
) -> Iterator[tuple[int, Suspect]]:
    """What a constant may stand for, with a rank: the lower, the likelier."""
    for symbol, old in traced.items():
        if old < 2:
            continue
        if array.size <= _ELEMENTS and array.dtype.kind in "iuf":
            for index in np.ndindex(array.shape):
                number = array[index].item()
                if number == old:
                    yield 0 if shaping else 1, Suspect(node, place, symbol, old, number, 0 if shaping else 1, index, 0, int)
                elif shaping or nearest:
                    for tier, rule in computed_from(number, old):
                        yield 2 + tier, Suspect(node, place, symbol, old, number, tier, index, 0, rule)
        if array.size <= _GROWN and not (shaping and array.dtype.kind in "iu"):
            for axis, length in enumerate(array.shape):
                if length == old and resized(array, axis, sizes[symbol]) is not None:
                    yield 2 if array.ndim == 1 or nearest else 3, Suspect(node, place, symbol, old, old, 1, None, axis, int)


class OnnxTrial(Trial):
    """A model with the suspected constants as inputs: one session for every attempt.

    Raises:
        Exception: The runtime wants these constants constant.
    """

    def __init__(self, model: onnx.ModelProto, suspects: Sequence[Suspect], cases: Sequence[FailingCase], right: Right) -> None:
        super().__init__(cases, right, _MOST_RUNS)
        constants = _constants(model)
        opened = onnx.ModelProto()
        opened.CopyFrom(model)
        nodes = {node.output[0]: node for node in opened.graph.node}
        self._originals: dict[tuple[str, int], tuple[str, Array]] = {}
        for output, place in dict.fromkeys((one.node.outputs[0], one.place) for one in suspects):
            node = nodes[output]
            name, array = f"torchport_constant_{len(self._originals)}", constants[node.input[place]]
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            opened.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, [None] * array.ndim))
            node.input[place] = name
            self._originals[output, place] = name, array
        del opened.graph.value_info[:]
        for value in opened.graph.output:
            value.type.tensor_type.ClearField("shape")
        self._session = open_model(opened)
        self._names = [value.name for value in opened.graph.output]

    def answer(self, suspects: Sequence[Suspect], case: FailingCase) -> Mapping[str, Array] | None:
        """The outputs with these put right."""
        feeds: dict[str, Array] = {**case.inputs, **dict(self._originals.values())}
        for one in suspects:
            name, _ = self._originals[one.node.outputs[0], one.place]
            feeds[name] = one.mend(feeds[name], case.sizes)
        try:
            return dict(zip(self._names, run(self._session, self._names, feeds), strict=True))
        except Exception:  # noqa: BLE001 - a shape that does not fit is no healing
            return None


def _constants(model: onnx.ModelProto) -> dict[str, Array]:
    """Initializers and the values of ``Constant`` nodes, by name; large ones are left out."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
    found = {}
    for name, tensor in tensors.items():
        if int(np.prod(list(tensor.dims) or [1])) <= _GROWN and tensor.data_type != onnx.TensorProto.STRING:
            found[name] = np.asarray(numpy_helper.to_array(tensor))
    return found


def _with_their_sizes(seen: Seen, around: Sequence[NodeSeen]) -> list[NodeSeen]:
    """Nodes, those that they read from, and those that compute the shapes that they use, the nearest first."""
    makers = {name: node for node in seen.nodes for name in node.outputs}
    found = list(around)
    for node in around:
        found.extend(makers[name] for name in node.inputs if name in makers and makers[name] not in found)
    for node in found:
        for name in node.inputs:
            maker = makers.get(name)
            if maker is not None and maker not in found and name in seen.sizes:
                found.append(maker)
    return found
