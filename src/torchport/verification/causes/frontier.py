"""Finds where a wrong answer begins: the first operation whose inputs are right and whose result is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torchport.verification.causes.eager import Step, Watched
from torchport.verification.causes.fingerprints import Fingerprint, Shelf
from torchport.verification.causes.onnx_values import NodeSeen, Seen

__all__ = ["first_wrong_node", "first_wrong_steps", "of_one_module", "step_before", "wrong_nodes"]

_ONLY_TURNED = frozenset(
    {"transpose", "permute", "t", "swapaxes", "swapdims", "movedim", "contiguous", "detach", "clone", "unsqueeze", "squeeze"}
)
"""Operations whose result an exporter may leave out, for they only say how the same values are read."""


@dataclass
class _Flow:
    """Operations as numbers: what each reads and gives."""

    reads: Sequence[Sequence[int]]
    gives: Sequence[Sequence[int]]
    values: int

    def leading_to(self, targets: Iterable[int]) -> set[int]:
        """The values that the values ``targets`` were made of, and themselves."""
        wanted = set(targets)
        for place in range(len(self.reads) - 1, -1, -1):
            if wanted.intersection(self.gives[place]):
                wanted.update(self.reads[place])
        return wanted

    def healthy(self, matched: Sequence[bool], telling: Sequence[bool]) -> list[bool]:
        """Values that are right: found on the other side, or something that is right and tells was made of them."""
        strong = [one and other for one, other in zip(matched, telling, strict=True)]
        for place in range(len(self.reads) - 1, -1, -1):
            if any(strong[value] for value in self.gives[place]):
                for value in self.reads[place]:
                    strong[value] = True
        return [one or other for one, other in zip(matched, strong, strict=True)]


def _new(values: Iterable[Fingerprint | None], tolerance: float) -> list[bool]:
    """Which values tell that what they were made of is right: not those that were there before, for a detour may lead back to them."""
    before = Shelf(tolerance)
    found = []
    for one in values:
        found.append(one is not None and one.telling and not before.holds(one))
        if one is not None:
            before.put(one)
    return found


def first_wrong_steps(watched: Watched, seen: Shelf, outputs: Iterable[str]) -> list[Step]:
    """The operations of the model where the artifact's values leave the model's, in order.

    Args:
        watched: What the model did.
        seen: The artifact's values.
        outputs: The outputs that are wrong; none: all.
    """
    steps = watched.steps
    flow = _Flow([step.inputs for step in steps], [step.outputs for step in steps], len(watched.values))
    wanted = [watched.outputs[name] for name in outputs if name in watched.outputs] or list(watched.outputs.values())
    matched = [seen.holds(one) and value not in wanted for value, one in enumerate(watched.values)]
    healthy = flow.healthy(matched, _new(watched.values, seen.tolerance))
    for step in steps:
        if step.name in _ONLY_TURNED and all(healthy[value] for value in step.inputs):
            for value in step.outputs:
                healthy[value] = True
    leading = flow.leading_to(wanted)
    return [
        step
        for step in steps
        if any(value in leading and not healthy[value] for value in step.outputs) and all(healthy[value] for value in step.inputs)
    ]


def wrong_nodes(seen: Seen, model: Shelf, outputs: Iterable[str]) -> list[NodeSeen]:
    """The nodes of the file where its values leave the model's, in order.

    Args:
        seen: What the file did.
        model: The model's values.
        outputs: The outputs that are wrong.
    """
    numbers: dict[str, int] = {}
    for node in seen.nodes:
        for name in (*node.inputs, *node.outputs):
            numbers.setdefault(name, len(numbers))
    made = {name for node in seen.nodes for name in node.outputs}
    flow = _Flow(
        [[numbers[name] for name in node.inputs if name in made] for node in seen.nodes],
        [[numbers[name] for name in node.outputs if name] for node in seen.nodes],
        len(numbers),
    )
    names = list(numbers)
    wanted = set(outputs)
    matched = [name in seen.prints and name not in wanted and model.holds(seen.prints[name]) for name in names]
    healthy = flow.healthy(matched, _new([seen.prints.get(name) for name in names], model.tolerance))
    constant = {name for node in seen.nodes if node.operator == "Constant" for name in node.outputs}
    sizes = [name in constant or (name in seen.sizes and name not in wanted) for name in names]
    leading = flow.leading_to([numbers[name] for name in wanted if name in numbers])
    found = []
    for place, node in enumerate(seen.nodes):
        wrong = any(value in leading and not healthy[value] and not sizes[value] for value in flow.gives[place])
        if wrong and all(healthy[value] or sizes[value] for value in flow.reads[place]):
            found.append(node)
    return found


def of_one_module(node: NodeSeen, step: Step) -> bool:
    """Whether a node's name tells the module of a step; exporters leave the names of containers out: ``pos`` for ``encoder.pos``."""
    return node.module == step.module or (bool(node.module) and step.module.endswith(f".{node.module}"))


def first_wrong_node(nodes: Sequence[NodeSeen], step: Step | None) -> NodeSeen | None:
    """The node to name for a step: one of its module where there is one."""
    if step is not None:
        for node in nodes:
            if of_one_module(node, step):
                return node
    return nodes[0] if nodes else None


def step_before(node: NodeSeen, seen: Seen, watched: Watched, tolerance: float) -> Step | None:
    """The last operation of the model whose result a node reads."""
    read = [seen.prints[name] for name in node.inputs if name in seen.prints]
    for step in reversed(watched.steps):
        if any(watched.values[value].equals(one, tolerance) for value in step.outputs for one in read):
            return step
    return None
