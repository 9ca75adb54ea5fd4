"""Makes an ONNX graph fail at sizes outside its limits: inputs go through a ``Reshape`` to their own shape that is invalid there.

A ``Reshape`` keeps an axis where its shape says 0, and moves no data. Its shape is computed from the sizes of the inputs: 0 for an axis
within its limits, else -2, which no runtime accepts wherever it runs: the shape of a ``Reshape`` is read on the CPU, and checked. The name
of the node says the limit; ONNX Runtime shows it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from torchport.ports import Signature
from torchport.ports.limits import AtMost, Limits, SizeLimit, SumAtMost, as_name, places_of

__all__ = ["keep_limits"]

_INVALID = -2
"""As the size in a shape: 0 copies an axis, -1 infers it, numbers above are sizes."""

_ALL = 2**63 - 1


def keep_limits(model: ir.Model, signature: Signature, limits: Limits) -> None:
    """Puts a check of each limit between the inputs and the graph; operators are those of opset 13 and all later ones.

    Args:
        model: Changed in place; its values have their final names.
        signature: The ports of the graph.
        limits: What to check; a symbol that no input in use has cannot be checked.
    """
    used = {str(value.name): value for value in model.graph.inputs if value.uses() and str(value.name) in signature.inputs}
    by_port: dict[str, list[tuple[SizeLimit, tuple[int, ...]]]] = {}
    for limit in limits.sizes:
        place = places_of(signature, limit.symbol, used)
        if place is not None:
            by_port.setdefault(place[0], []).append((limit, place[1]))
    checks = [_Check(model, used[port], "_and_".join(as_name(limit) for limit, _ in found)) for port, found in by_port.items()]
    for check, found in zip(checks, by_port.values(), strict=True):
        check.sizes(found)
    for relation in limits.relations:
        one, other = (places_of(signature, symbol, used) for symbol in relation.symbols)
        if one is not None and other is not None:
            check = _Check(model, used[one[0]], as_name(relation))
            check.relation(relation, one[1][0], used[other[0]], other[1][0])
            checks.append(check)
    # Shapes are taken of the inputs themselves, everything else is computed from what passed the checks.
    made = [node for check in checks for node in check.nodes]
    for port in {id(check.port): check.port for check in checks}.values():
        own = [check for check in checks if check.port is port]
        passed = port
        users = [(node, operand) for node, operand in port.uses() if node not in made]
        for check in own:
            check.reshape.replace_input_with(0, passed)
            passed = check.reshape.outputs[0]
        for node, operand in users:
            node.replace_input_with(operand, passed)
    first = next(iter(model.graph))
    model.graph.insert_before(first, made)


class _Check:
    """The nodes that check one input; ``reshape`` is the last of them."""

    def __init__(self, model: ir.Model, port: ir.Value, name: str) -> None:
        self.port = port
        self.nodes: list[ir.Node] = []
        self._model = model
        self._name = name
        assert port.shape is not None
        self._rank = len(port.shape)

    def sizes(self, limits: Sequence[tuple[SizeLimit, tuple[int, ...]]]) -> None:
        """Each axis within its own limits."""
        least, most, factor = (np.full(self._rank, usual, dtype=np.int64) for usual in (0, _ALL, 1))
        for limit, axes in limits:
            for axis in axes:
                least[axis] = limit.least or 0
                most[axis] = _ALL if limit.most is None else limit.most
                factor[axis] = limit.multiple_of
        found = nearest = self._node("Shape", self.port)
        if factor.max() > 1:
            nearest = self._node("Sub", nearest, self._node("Mod", nearest, self._constant("factors", factor)))
        if least.max() > 0:
            nearest = self._node("Max", nearest, self._constant("least", least))
        if most.min() < _ALL:
            nearest = self._node("Min", nearest, self._constant("most", most))
        self._pass_where(self._node("Equal", found, nearest))

    def relation(self, limit: AtMost | SumAtMost, first: int, other: ir.Value, second: int) -> None:
        """An axis is no greater than what one of this or another input makes it, or both together no greater than a number."""
        left, right = (
            self._node("Gather", self._node("Shape", port), self._constant(f"axis_{place}", np.array([axis], dtype=np.int64)))
            for place, (port, axis) in enumerate(((self.port, first), (other, second)))
        )
        if isinstance(limit, SumAtMost):
            left, right = self._node("Add", left, right), self._constant("most", np.array([limit.most], dtype=np.int64))
        else:
            left, right = self._line(limit, left, right)
        self._pass_where(self._node("LessOrEqual", left, right))

    def _line(self, limit: AtMost, left: ir.Value, right: ir.Value) -> tuple[ir.Value, ir.Value]:
        for number, operator in ((limit.factor, "Mul"), (limit.offset, "Add")):
            if number != (1 if operator == "Mul" else 0):
                right = self._node(operator, right, self._constant(operator.lower(), np.array([number], dtype=np.int64)))
        if limit.divisor > 1:
            left = self._node("Mul", left, self._constant("times", np.array([limit.divisor], dtype=np.int64)))
        return left, right

    def _pass_where(self, good: ir.Value) -> None:
        keep, fail = (self._constant(name, np.full(self._rank, value, dtype=np.int64)) for name, value in (("keep", 0), ("fail", _INVALID)))
        passed = self._node("Reshape", self.port, self._node("Where", good, keep, fail))
        passed.type, passed.shape = self.port.type, ir.Shape(self.port.shape or ())
        reshape = passed.producer()
        assert reshape is not None
        self.reshape = reshape
        reshape.name = self._name

    def _node(self, operator: str, *inputs: ir.Value) -> ir.Value:
        same = sum(node.op_type == operator for node in self.nodes)
        node = ir.Node("", operator, list(inputs), name=f"{self._name}/{operator}{f'_{same}' if same else ''}")
        node.outputs[0].name = f"{node.name}_output_0"
        self.nodes.append(node)
        return node.outputs[0]

    def _constant(self, what: str, array: np.ndarray) -> ir.Value:
        name = f"{self._name}/{what}"
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.INT64), const_value=tensor)
        self._model.graph.register_initializer(value)
        return value
