"""Runs a TorchScript or ``.pt2`` file in its process so that every inner value is seen, in chunks, as fingerprints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torchport.errors import RuntimeFailure
from torchport.verification._records import Array
from torchport.verification.causes.fingerprints import fingerprint
from torchport.verification.causes.onnx_values import NodeSeen, Seen
from torchport.verification.runtimes._torch_files import TorchFileSession

__all__ = ["see_torch"]

_CHUNK = 48
"""So many inner values are fetched in one run."""

_SIZES = 64
"""Integer tensors of up to so many elements may be shapes."""


def see_torch(session: TorchFileSession, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Seen:
    """Runs the file and looks at every value that its operations give.

    Args:
        session: The opened file.
        inputs: Its inputs.
        outputs: The names of its outputs, in order; the values that are its outputs get these names.

    Raises:
        RuntimeFailure: The process died, or did not answer in time.
    """
    seen, start, count = Seen(()), 0, 1
    while start < count:
        header, arrays = session.watch(inputs, start, start + _CHUNK)
        count = header["count"]
        names = {number: name for number, name in zip(header["outputs"], outputs, strict=False) if number is not None}
        if start == 0:
            seen.nodes = tuple(
                NodeSeen("", operator, "", tuple(_name(one, names) for one in read), tuple(_name(one, names) for one in made))
                for operator, read, made in header["steps"]
            )
            if header["failed"]:
                operator, read = header["failed"]
                seen.failed = NodeSeen("", operator, "", tuple(_name(one, names) for one in read), tuple(outputs))
                seen.nodes += (seen.failed,)
        elif count != sum(len(node.outputs) for node in seen.nodes if node is not seen.failed):
            raise RuntimeFailure("the file does something else each time that it runs")
        for number, array in arrays.items():
            seen.prints[_name(number, names)] = fingerprint(array)
            if array.dtype.kind in "iu" and array.size <= _SIZES:
                seen.sizes[_name(number, names)] = array
        start += _CHUNK
    return seen


def _name(number: int, outputs: Mapping[int, str]) -> str:
    return outputs.get(number, f"%{number}")
