"""A golden case of an ensemble: its models run one after the other here, as the server will run them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack

from torchport.errors import RuntimeFailure
from torchport.packaging._records import Golden, Part
from torchport.packaging._stated import nudged, tolerances_near
from torchport.verification import Session, open_artifact
from torchport.verification._records import Array

__all__ = ["chained_golden"]

Link = tuple[Part, Mapping[str, str]]
"""A part, and the names that its ports have on the server."""


def chained_golden(links: Sequence[Link], outputs: Collection[str], single: Collection[str]) -> Golden | None:
    """The case that the first golden inputs of the parts make together.

    Its outputs are the files' own, and its tolerances come from how far they move when every input moves to a neighbouring number.

    Args:
        links: The models, in their order.
        outputs: The ensemble's outputs.
        single: Ports that hold one number for each row: clients of the ensemble see an axis of size 1 that its models do not.

    Returns:
        ``None`` where the parts' inputs do not go together: then nobody knows a valid case.
    """
    inputs: dict[str, Array] = {}
    given: set[str] = set()
    for part, names in links:
        for name, array in part.goldens[0].inputs.items():
            if names[name] not in given:
                inputs.setdefault(names[name], array)
        given.update(names[name] for name in part.artifact.signature.outputs)
    with ExitStack() as stack:
        sessions = [stack.enter_context(open_artifact(part.artifact.paths, part.artifact.signature)) for part, _ in links]
        try:
            answers = _run(links, sessions, inputs)
            near = _run(links, sessions, {name: nudged(array) for name, array in inputs.items()})
        except RuntimeFailure:
            return None
    tolerances = tolerances_near({name: answers[name] for name in outputs}, {name: near[name] for name in outputs})
    sent, expected = (
        {name: array[:, None] if name in single else array for name, array in arrays.items()}
        for arrays in (inputs, {name: answers[name] for name in outputs})
    )
    return Golden("chained", dict(links[0][0].goldens[0].sizes), sent, expected, tolerances)


def _run(links: Sequence[Link], sessions: Sequence[Session], inputs: Mapping[str, Array]) -> dict[str, Array]:
    values = dict(inputs)
    for (part, names), session in zip(links, sessions, strict=True):
        answer = session.run({name: values[names[name]] for name in part.artifact.signature.inputs})
        values.update({names[name]: array for name, array in answer.items()})
    return values
