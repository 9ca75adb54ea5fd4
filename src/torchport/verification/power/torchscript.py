"""The mutations of a TorchScript file: its weights in place, its code as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from torchport.verification.power._archive import FLOATS, Archive, is_dense
from torchport.verification.power._base import Mutation, Plan, Workshop
from torchport.verification.power._code import code_changes, root_class
from torchport.verification.power._pickled import stored_tensors
from torchport.verification.power._weights import Weight

__all__ = ["TorchScriptWorkshop"]


class TorchScriptWorkshop(Workshop):
    """A ``.ts`` or ``.pt`` file."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._archive = Archive(plan.artifact.path, plan.directory, lambda name: not name.startswith(("data/", "constants/")))

    @property
    def unchanged(self) -> Sequence[Path]:
        """The archive with every record uncompressed."""
        return (self._archive.file,)

    @cached_property
    def weights(self) -> Sequence[Weight]:
        """Parameters, buffers and the constants of the code; their class is the last part of their name and their rank."""
        found = []
        for folder in ("data", "constants"):
            if f"{folder}.pkl" not in self._archive.records:
                continue
            for tensor in stored_tensors(self._archive.read(f"{folder}.pkl")):
                if not tensor.dtype or np.prod(tensor.shape) < 2 or not is_dense(tensor.shape, tensor.strides):
                    continue
                start, _ = self._archive.records[f"{folder}/{tensor.key}"]
                name = tensor.name if folder == "data" else f"constant {tensor.name}"
                found.append(
                    Weight(
                        name=name,
                        role=f"{name.rpartition('.')[2] if folder == 'data' else 'constant'} of {len(tensor.shape)} axes",
                        dtype=FLOATS[tensor.dtype],
                        shape=tensor.shape,
                        file=self._archive.file,
                        offset=start + tensor.offset * FLOATS[tensor.dtype].itemsize,
                        layout=tensor.strides,
                    )
                )
        return found

    def graph_mutations(self) -> Iterator[Mutation]:
        """Ports of the root's ``forward``, calls, constants and sizes of every method's code."""
        records = {
            name: self._archive.read(name).decode() for name in self._archive.records if name.startswith("code/") and name.endswith(".py")
        }
        root = root_class(self._archive.read("data.pkl"))
        for change in code_changes(records, root, self.plan.artifact.signature, self.plan.traced):
            edit = partial(_replaced, change.record, change.start, change.end, change.text)
            yield Mutation(change.kind, change.where, change.words, partial(self._archive.edited, edit))


def _replaced(record: str, start: int, end: int, text: str, records: dict[str, bytes]) -> None:
    code = records[record].decode()
    records[record] = (code[:start] + text + code[end:]).encode()
