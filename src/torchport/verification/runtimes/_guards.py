"""What a ``.pt2`` program says when it refuses a size, in words of the ports: a condition that torch.export made of it."""

from __future__ import annotations

import re

from torchport.ports import Signature

__all__ = ["guard_words"]

_GUARD = re.compile(r"Expected input at \*args\[(\d+)\]\.shape\[(\d+)\] to be (>=|<=|equal to) (\d+)")


def guard_words(text: str, signature: Signature | None) -> str | None:
    """The condition and what to do about it; ``None`` where the text is about something else.

    Args:
        text: What the program said.
        signature: Its ports, in order.

    Example:
        >>> signature = Signature.of(inputs={"mel": "batch 80 time"})
        >>> guard_words("Expected input at *args[0].shape[2] to be >= 3, but got 1", signature)
        'torch.export made it a condition that `time` is 3 or more: declare it (time{min=3}), or write .onnx or .ts'
    """
    found = _GUARD.search(text)
    ports = () if signature is None else tuple(signature.inputs.values())
    if found is None or int(found[1]) >= len(ports):
        return None
    axes, place = ports[int(found[1])].axes or (), int(found[2])
    if place >= len(axes) or not axes[place].dynamic:
        return None
    name, size = axes[place].name, found[4]
    if found[3] == "equal to":
        return (
            f"torch.export fixed `{name}` at {size}: the model makes a number of it that torch.export does not follow; write .onnx or .ts"
        )
    least = found[3] == ">="
    limit = f"{name}{{{'min' if least else 'max'}={size}}}"
    said = f"`{name}` is {size} or {'more' if least else 'less'}"
    return f"torch.export made it a condition that {said}: declare it ({limit}), or write .onnx or .ts"
