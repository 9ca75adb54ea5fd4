"""Whole numbers made of shares of sizes, as Python and torch compute them: in double precision, where exporters write single.

``int(x.shape[1] * 1.3)`` is 117 for a size of 90; in single precision the product falls short of 117, and the file would be one step
off. That is so at about every thirtieth size.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx_ir as ir

__all__ = ["double_of", "round_in_double"]

_EXACT = 2**10
"""A share in so small parts of two is exact in single precision, and so is its product with any size that fits into memory."""

_SHORT = 6
"""So many digits survive single precision: a number that shows no more was written so."""

_SIMPLE, _RARE = 64, 4096
"""Other shares are ratios of whole numbers: up to the first that is more likely than a short number, up to the second than none."""

_THROUGH = frozenset({"Gather", "Squeeze", "Unsqueeze", "Slice", "Reshape", "Concat", "Identity", "Cast"})
"""What lies between a ``Shape`` and the size that is taken from it."""

_WHOLE = frozenset({"Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Neg"})
_REAL = frozenset({"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "Floor", "Ceil"})
"""What sizes, and shares of sizes, are computed with."""

_FX_NODE = "pkg.torch.onnx.fx_node"
"""Under this name torch writes what a node was made of."""

_OF_PYTHON = ("operator.", "math.", "torch.sym_", "_operator.")

_DEPTH = 32
"""Nobody writes a share of a size in more steps; what is longer is left as it is."""

_LONGEST = 100_000
"""No chain of sizes is as long; a graph with a loop would be."""

_TO_WHOLE = (ir.DataType.INT64, ir.DataType.INT32)


def round_in_double(model: ir.Model) -> int:
    """Computes the whole numbers that are made of shares of sizes in double precision.

    Args:
        model: Its ``Constant`` nodes are initializers already; changed in place.

    Returns:
        The number of nodes that round which were replaced.
    """
    replaced, sizes = 0, _Sizes()
    for node in list(model.graph):
        to = node.attributes["to"].as_int() if node.op_type == "Cast" else None
        if node.domain or not (node.op_type in ("Floor", "Ceil") or to in _TO_WHOLE) or node.inputs[0] is None:
            continue
        expression = _Expression(model.graph, node, sizes)
        result = expression.value(node.inputs[0])
        if result is None or not expression.inexact:
            continue
        expression.write(result)
        replaced += 1
    return replaced


def double_of(single: float) -> float:
    """The number in double precision that somebody meant by one in single precision.

    Example:
        >>> double_of(float(np.float32(1.3))), double_of(float(np.float32(1 / 9))) == 1 / 9
        (1.3, True)
    """
    written = str(np.float32(single))
    short = [float(written)] if len(written.replace(".", "").lstrip("0")) <= _SHORT else []
    simple, rare = (float(Fraction(single).limit_denominator(most)) for most in (_SIMPLE, _RARE))
    return next((one for one in (simple, *short, rare) if np.float32(one) == np.float32(single)), single)


class _Expression:
    """What a node rounds, written again in double precision; nothing of it is in the graph until `write`.

    Args:
        graph: The graph.
        rounding: The node.
        sizes: Knows which integers are sizes.

    Attributes:
        inexact: Whether a number in it is another one in single precision.
    """

    def __init__(self, graph: ir.Graph, rounding: ir.Node, sizes: _Sizes) -> None:
        self.inexact = False
        self._depth = 0
        self._sizes = sizes
        self._graph = graph
        self._rounding = rounding
        self._tape = ir.tape.Tape()
        self._numbers: list[ir.Value] = []
        self._known: dict[ir.Value, ir.Value | None] = {}

    def value(self, real: ir.Value) -> ir.Value | None:
        """The same number in double precision; ``None`` where it is not made of sizes and numbers alone."""
        if real not in self._known:
            self._depth += 1
            self._known[real] = self._made(real) if self._depth <= _DEPTH else None
            self._depth -= 1
        return self._known[real]

    def _made(self, real: ir.Value) -> ir.Value | None:
        tensor, node = real.const_value, real.producer()
        if tensor is not None:
            return self._number(tensor) if tensor.dtype == ir.DataType.FLOAT and tensor.size == 1 and not real.is_graph_input() else None
        if node is None or node.domain:
            return None
        if node.op_type == "Cast" and node.inputs[0] is not None:
            if node.inputs[0] in self._sizes:
                return self._tape.op("Cast", [node.inputs[0]], {"to": ir.DataType.DOUBLE})
            return self.value(node.inputs[0]) if node.attributes["to"].as_int() == ir.DataType.FLOAT else None
        if node.op_type not in _REAL or not self._is_of_python(node):
            return None
        inputs = [None if one is None else self.value(one) for one in node.inputs]
        return self._tape.op(node.op_type, inputs) if all(one is not None for one in inputs) else None

    def _is_of_python(self, node: ir.Node) -> bool:
        """Whether Python computed this, in double precision: a tensor of one number is multiplied in single precision in torch, too.

        A graph of torch.export says which function it was. In a trace only ``interpolate`` leaves such products, each cast once more.
        """
        said = node.metadata_props.get(_FX_NODE)
        if said is not None:
            return any(f"target={module}" in said for module in _OF_PYTHON)
        above = None if self._rounding.inputs[0] is None else self._rounding.inputs[0].producer()
        return above is not None and above.op_type == "Cast" and above.inputs[0] in node.outputs

    def _number(self, tensor: ir.TensorProtocol) -> ir.Value:
        single = float(tensor.numpy().reshape(-1)[0])
        self.inexact = self.inexact or bool(np.isfinite(single) and not (single * _EXACT).is_integer())
        number = np.full(tensor.numpy().shape, double_of(single))
        name = f"{self._rounding.name}/share/{len(self._numbers)}"
        value = ir.Value(name=name, shape=ir.Shape(number.shape), type=ir.TensorType(ir.DataType.DOUBLE))
        value.const_value = ir.tensor(number, name=name)
        self._numbers.append(value)
        return value

    def write(self, result: ir.Value) -> None:
        """Puts the expression into the graph, in place of the node that rounds."""
        rounding, output = self._rounding, self._rounding.outputs[0]
        if rounding.op_type == "Cast":
            result = self._tape.op("Cast", [result], {"to": rounding.attributes["to"].as_int()})
        else:
            result = self._tape.op("Cast", [self._tape.op(rounding.op_type, [result])], {"to": ir.DataType.FLOAT})
        for number in self._numbers:
            self._graph.register_initializer(number)
        for made in self._tape.nodes:
            made.name = f"{rounding.name}/{made.op_type}"
            made.metadata_props.update(rounding.metadata_props)
        self._graph.insert_before(rounding, self._tape.nodes)
        result.type, result.shape = output.type, output.shape
        ir.convenience.replace_all_uses_with(output, result, replace_graph_outputs=True)
        self._graph.remove(rounding, safe=True)


class _Sizes:
    """Which integers are sizes of axes, or computed of sizes and numbers; each is looked at once."""

    def __init__(self) -> None:
        self._known: dict[ir.Value, bool] = {}

    def __contains__(self, value: ir.Value | None) -> bool:
        if value is None:
            return False
        waiting = [value]
        while waiting:  # by hand: a chain of sizes may be longer than Python's stack
            one = waiting[-1]
            open_inputs = [] if one in self._known else [each for each in _made_of(one) if each not in self._known]
            if open_inputs and len(waiting) < _LONGEST:
                waiting.extend(open_inputs)
                continue
            if one not in self._known:
                self._known[one] = self._judged(one)
            waiting.pop()
        return self._known[value]

    def _judged(self, value: ir.Value) -> bool:
        node = value.producer()
        if node is None:
            return False
        inputs = [one for one in node.inputs if one is not None]
        if node.op_type in _WHOLE:
            sizes = [self._known.get(one, False) for one in inputs]
            return any(sizes) and all(size or _is_whole(one) for size, one in zip(sizes, inputs, strict=True))
        if node.op_type == "Cast" and node.attributes["to"].as_int() not in _TO_WHOLE:
            return False
        return node.op_type == "Shape" or (node.op_type in _THROUGH and bool(inputs) and self._known.get(inputs[0], False))


def _made_of(value: ir.Value) -> list[ir.Value]:
    """The values that decide whether this one is a size."""
    node = value.producer()
    if node is None or node.domain:
        return []
    inputs = [one for one in node.inputs if one is not None]
    return inputs if node.op_type in _WHOLE else inputs[:1] if node.op_type in _THROUGH else []


def _is_whole(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.dtype in _TO_WHOLE
